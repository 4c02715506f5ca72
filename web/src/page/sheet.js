/** One sheet of ECG paper as SVG: grid, traces, calibration pulses, windows with their probabilities, stretches. */

import { percent, svg } from "./dom.js";
import {
  LEFT,
  PER_SECOND,
  VIEW_SECONDS,
  lanesHeight,
  layoutsOf,
  rangeOf,
  sheetWidth,
  stripsOf,
  tracePath,
} from "./paper.js";

export class Sheet {
  /** recording: `{leads, signal, samplingRate}`. */
  constructor(recording) {
    this.recording = recording;
    this.seconds = recording.signal[0].length / recording.samplingRate;
    this.layouts = layoutsOf(recording.leads);
    const found = recording.signal.map(rangeOf);
    const ofLead = (name) => Object.fromEntries(recording.leads.map((lead, row) => [lead, found[row][name]]));
    this.middle = ofLead("middle");
    this.ranges = ofLead("range");
  }

  /**
   * The drawing from second `start`. windows: `{start, end, lane, text, value, above}` in seconds of the recording;
   * lanes: their number; stretches: `{start, end, strength}`, strength 0 to 1.
   */
  draw({ layout, start, windows = [], lanes = 1, stretches = [] }) {
    const { strips, height } = stripsOf(layout, this.recording.leads, this.ranges, lanes);
    const end = Math.min(this.seconds, start + VIEW_SECONDS);
    const label = `ECG on paper, ${strips.length === 1 ? `lead ${strips[0].lead}` : `${new Set(strips.map((strip) => strip.lead)).size} leads`}, ${start.toFixed(1)} to ${end.toFixed(1)} s`;
    return svg(
      "svg",
      {
        viewBox: `0 0 ${sheetWidth} ${height}`,
        role: "img",
        "aria-label": label,
        class: "sheet",
        "data-height": height,
      },
      grid(height),
      this.stretches(stretches, start, lanesHeight(lanes) - 1, height),
      strips.map((strip) => this.strip(strip, start)),
      lanes ? this.windows(windows, start) : null,
      times(start, end, height),
    );
  }

  strip(strip, start) {
    const { recording } = this;
    const row = recording.signal[recording.leads.indexOf(strip.lead)];
    const x = LEFT + strip.from * PER_SECOND;
    return svg(
      "g",
      {},
      strip.pulse ? svg("path", { class: "pulse", d: `M${LEFT - 9} ${strip.y}h2v-10h5v10h2` }) : null,
      strip.from > 0 ? svg("path", { class: "divider", d: `M${x} ${strip.y - 6}v12` }) : null,
      svg("path", { class: "trace", d: tracePath(row, recording.samplingRate, start, strip, this.middle[strip.lead]) }),
      svg("text", { class: "lead", x: x + 1.5, y: strip.y - 8 }, strip.lead),
    );
  }

  windows(windows, start) {
    return inView(windows, start).map(({ from, to, each }) => {
      const [x, width] = [LEFT + from * PER_SECOND, (to - from) * PER_SECOND];
      return svg(
        "g",
        { class: each.above ? "window above" : "window" },
        svg("rect", { x: x + 0.3, y: 1 + 6 * each.lane, width: Math.max(0.1, width - 0.6), height: 5, rx: 0.8 }),
        width > 12 ? svg("text", { x: x + 2, y: 4.6 + 6 * each.lane }, width > 45 ? each.text : each.value) : null,
      );
    });
  }

  stretches(stretches, start, top, height) {
    return inView(stretches, start).map(({ from, to, each }) => {
      const place = { x: LEFT + from * PER_SECOND, y: top, width: (to - from) * PER_SECOND, height: height - top - 6 };
      return svg("rect", { ...place, class: "stretch", "fill-opacity": (0.5 * each.strength).toFixed(3) });
    });
  }
}

/** What lies in the sheet from second `start`, with its ends in seconds of the sheet. */
function inView(items, start) {
  return items.flatMap((each) => {
    const [from, to] = [Math.max(0, each.start - start), Math.min(VIEW_SECONDS, each.end - start)];
    return to - from > 1e-6 ? [{ from, to, each }] : [];
  });
}

function grid(height) {
  const lines = (step, total, path) =>
    Array.from({ length: Math.floor(total / step) + 1 }, (_, index) => path(index * step)).join("");
  const both = (step) =>
    lines(step, sheetWidth, (x) => `M${(x + (LEFT % 5)).toFixed(0)} 0v${height}`) +
    lines(step, height, (y) => `M0 ${y}h${sheetWidth}`);
  return svg(
    "g",
    { class: "grid" },
    svg("rect", { class: "paper", width: sheetWidth, height }),
    svg("path", { class: "fine", d: both(1) }),
    svg("path", { class: "coarse", d: both(5) }),
  );
}

function times(start, end, height) {
  const marks = [];
  for (let second = Math.ceil(start - 1e-9); second <= end + 1e-9 && second - start <= VIEW_SECONDS; second++) {
    const x = LEFT + (second - start) * PER_SECOND;
    marks.push(
      svg("path", { class: "mark", d: `M${x} ${height - 5}v1.5` }),
      svg("text", { class: "time", x, y: height - 0.8 }, `${second} s`),
    );
  }
  return svg("g", {}, marks);
}

/** The text on a window: its label and probability. */
export const windowText = (name, value) => `${name} ${percent(value)}`;
