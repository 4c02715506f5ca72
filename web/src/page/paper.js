/** ECG paper: 25 mm/s and 10 mm/mV. All lengths are millimetres of paper. */

export const PER_SECOND = 25;
export const PER_MILLIVOLT = 10;
export const VIEW_SECONDS = 10; // on one sheet
export const LEFT = 12; // for the calibration pulse
const LANE = 6; // of the probabilities of windows
const MOST_LANES = 4;
const BOTTOM = 6; // for the times
const MOST_POINTS = 6000; // of one trace
const RANGE_SAMPLES = 20_000; // of a lead, by which its range is known
const COLUMNS = [
  ["I", "II", "III"],
  ["aVR", "aVL", "aVF"],
  ["V1", "V2", "V3"],
  ["V4", "V5", "V6"],
];
const TWELVE = COLUMNS.flat();

/** Layouts that a recording with these leads can have: value and name. */
export function layoutsOf(leads) {
  const all = TWELVE.every((lead) => leads.includes(lead));
  return [
    ...(all ? [["twelve", "3 × 4 and rhythm strip"]] : []),
    ...(leads.length > 1 ? [["rows", `All ${leads.length} leads in rows`]] : []),
    ...leads.map((lead) => [`lead:${lead}`, `Lead ${lead}`]),
  ];
}

/**
 * The strips of a sheet: `{strips, height}`. A strip shows `lead` from `from` to `to` (seconds from the start of the
 * sheet) around the height `y`. lanes: of windows above the strips. ranges: millivolts below and above the middle of each lead, by its name.
 */
export function stripsOf(layout, leads, ranges, lanes = 1) {
  const top = lanesHeight(lanes);
  if (layout === "twelve") {
    const height = 29;
    const strips = COLUMNS.flatMap((names, column) =>
      names.map((lead, row) => ({
        lead,
        from: column * 2.5,
        to: column * 2.5 + 2.5,
        y: top + height * (row + 0.55),
        pulse: column === 0,
      })),
    );
    strips.push({ lead: "II", from: 0, to: VIEW_SECONDS, y: top + height * 3.55, pulse: true });
    return { strips, height: top + 4 * height + BOTTOM };
  }
  const shown = layout === "rows" ? leads : [layout.slice("lead:".length)];
  let y = top;
  const strips = shown.map((lead) => {
    const [below, above] = ranges[lead];
    const most = shown.length > 1 ? 20 : 60;
    const [up, down] = [above, below].map((value) =>
      Math.min(most, Math.max(shown.length > 1 ? 10 : 15, Math.ceil(value * PER_MILLIVOLT) + 3)),
    );
    const strip = { lead, from: 0, to: VIEW_SECONDS, y: y + up, pulse: true };
    y += up + down;
    return strip;
  });
  return { strips, height: Math.ceil((y + BOTTOM) / 5) * 5 };
}

/** Lanes for windows that overlap: as many as lie at one time; none where that would be too many. */
export function lanesOf(window, step) {
  const lanes = Math.ceil(window / step - 1e-9);
  return lanes > MOST_LANES ? 0 : Math.max(1, lanes);
}

export const lanesHeight = (lanes) => lanes * LANE + 2;

/** The middle of a lead, which is drawn on the strip's line, and millivolts below and above it. */
export function rangeOf(row) {
  const step = Math.ceil(row.length / RANGE_SAMPLES);
  const known = row.filter((value, index) => index % step === 0 && value === value).sort();
  if (!known.length) return { middle: 0, range: [1, 1] };
  const at = (fraction) => known[Math.min(known.length - 1, Math.floor(fraction * known.length))];
  const middle = at(0.5);
  return { middle, range: [middle - at(0.001), at(0.999) - middle] };
}

/** The path of a trace: samples `row` at `rate` Hz from second `start`, in a strip that shows `from` to `to`. */
export function tracePath(row, rate, start, strip, middle) {
  const [first, last] = [
    Math.ceil((start + strip.from) * rate - 1e-6),
    Math.min(row.length - 1, Math.floor((start + strip.to) * rate + 1e-6)),
  ];
  const bucket = Math.max(1, Math.floor((last - first + 1) / MOST_POINTS));
  const parts = [];
  let pen = false;
  const point = (index) => {
    const value = row[index];
    if (value !== value) {
      pen = false;
      return;
    }
    const x = LEFT + (index / rate - start) * PER_SECOND;
    const y = strip.y - (value - middle) * PER_MILLIVOLT;
    parts.push(`${pen ? "L" : "M"}${x.toFixed(2)} ${y.toFixed(2)}`);
    pen = true;
  };
  for (let index = first; index <= last; index += bucket) {
    if (bucket === 1) point(index);
    else extremes(row, index, Math.min(last + 1, index + bucket)).forEach(point);
  }
  return parts.join("");
}

/** Indices of the smallest and largest of some samples, in their order. */
function extremes(row, from, to) {
  let [low, high] = [from, from];
  for (let index = from; index < to; index++) {
    if (row[index] < row[low]) low = index;
    if (row[index] > row[high]) high = index;
  }
  return low < high ? [low, high] : [high, low];
}

export const sheetWidth = LEFT + VIEW_SECONDS * PER_SECOND + 3;

/** A length on paper as time and voltage. */
export const milliseconds = (width) => (Math.abs(width) / PER_SECOND) * 1000;
export const millivolts = (height) => Math.abs(height) / PER_MILLIVOLT;
