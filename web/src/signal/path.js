/** From a recording to windows, in the order of `ecgtune.data.signal.path.SignalPath`. */

import { FROM_LIMBS } from "../readers/leads.js";
import { ReadError, roundHalfEven, short } from "../readers/base.js";
import { bandPass, mainsNotch } from "./filters.js";
import { betweenGaps, fillGaps, hasGap, saturated } from "./quality.js";
import { resample, zscore } from "./resample.js";

const SHORTEST_FRACTION = 0.5; // of a window, below which a recording is too short to be repeated

/** The signal path of a model, by the metadata of its exported file. */
export function signalPath(metadata) {
  const { data, input } = metadata;
  const stored = data.signal_path ?? {};
  return {
    samplingRate: data.sampling_rate,
    leads: input.leads,
    resampling: stored.resampling ?? "polyphase",
    window: data.samples / data.sampling_rate,
    step: stored.step ?? null,
    short: stored.short ?? "repeat",
    band: stored.band ?? null,
    mains: stored.mains ?? null,
    longestGap: stored.longest_gap ?? 0.1,
    zscore: stored.zscore ?? false,
  };
}

/**
 * Windows of a recording: `{windows, start, notes}`. windows: of each its place, for `content`; start: seconds from the
 * start of the recording. Raises ReadError for one that gives no window.
 */
export function processed(path, recording) {
  const [signal, leads] = taken(path, recording);
  const rate = recording.samplingRate;
  const length = signal[0].length;
  if (length < 2) throw new ReadError(`The recording has ${length} samples; at least two are needed.`);
  const notes = new Set();
  const parts = partsOf(path, signal, rate);
  if (parts.length === 1 && parts[0][0] === 0 && parts[0][1] === length) {
    return { ...ofPart(path, signal, leads, rate, notes), notes: [...notes] };
  }
  const [windows, start, errors] = [[], [], []];
  for (const [from, to] of parts) {
    try {
      const before = roundHalfEven((from * path.samplingRate) / rate) / path.samplingRate;
      const found = ofPart(
        path,
        signal.map((row) => row.subarray(from, to)),
        leads,
        rate,
        notes,
      );
      for (const window of found.windows) windows.push(window);
      for (const each of found.start) start.push(each + before);
    } catch (error) {
      if (!(error instanceof ReadError)) throw error;
      errors.push(error); // such as a part in which no lead changes
    }
  }
  if (!windows.length) throw errors[0];
  const covered = parts.reduce((sum, [from, to]) => sum + to - from, 0);
  notes.add(
    `${short(((length - covered) / rate).toPrecision(3))} s lie in gaps, or between gaps too near each other for a window.`,
  );
  return { windows, start, notes: [...notes] };
}

/** The leads that are wanted, and I and II where another is derived from them. */
function taken(path, { signal, leads }) {
  const recorded = leads.filter((_, lead) => signal[lead].some((value) => value === value));
  const limbs = recorded.includes("I") && recorded.includes("II");
  const derived = path.leads.filter((lead) => !recorded.includes(lead) && Object.hasOwn(FROM_LIMBS, lead) && limbs);
  if (derived.length) {
    const [first, second] = ["I", "II"].map((lead) => signal[leads.indexOf(lead)]);
    if (!first.some((value, index) => value === value && second[index] === second[index])) {
      throw new ReadError(`Lead ${derived[0]} cannot be derived, because I and II were not recorded together.`);
    }
  }
  const lacking = path.leads.filter((lead) => !recorded.includes(lead) && !derived.includes(lead));
  if (lacking.length) {
    throw new ReadError(
      `The recording has no lead ${lacking.join(", ")}, only ${recorded.join(", ") || "empty ones"}; the model needs ${path.leads.join(", ")}.`,
    );
  }
  const wanted = new Set([...path.leads, ...(derived.length ? ["I", "II"] : [])]);
  const chosen = leads.flatMap((lead, channel) => (wanted.has(lead) ? [channel] : []));
  return [chosen.map((channel) => signal[channel]), chosen.map((channel) => leads[channel])];
}

/** The parts between gaps that are too long to be interpolated; the whole where there is no choice. */
function partsOf(path, signal, rate) {
  const whole = [[0, signal[0].length]];
  if (!signal.some(hasGap)) return whole;
  const shortest = roundHalfEven(path.window * rate);
  const parts = betweenGaps(signal, rate, path.longestGap).filter(([from, to]) => to - from >= shortest);
  return parts.length ? parts : whole;
}

function ofPart(path, signal, leads, rate, notes) {
  const { filled, missing } = fillGaps(signal, leads, rate, path.longestGap);
  leads.forEach((lead, row) => {
    if (!missing.includes(lead) && saturated(filled[row], rate))
      notes.add(`Lead ${lead} was cut off by the recorder at its largest or smallest value.`);
  });
  const there = (lead) => leads.includes(lead) && !missing.includes(lead);
  const lacking = path.leads.filter(
    (lead) => !there(lead) && !(Object.hasOwn(FROM_LIMBS, lead) && there("I") && there("II")),
  );
  if (lacking.length)
    throw new ReadError(
      `The recording has no lead ${lacking.join(", ")} in one of its parts; the model needs ${path.leads.join(", ")}.`,
    );
  const rows = path.leads.map((lead) =>
    there(lead) ? filled[leads.indexOf(lead)] : derivedLead(lead, filled, leads, notes),
  );
  const flat = rows.map(isConstant);
  if (flat.every(Boolean)) throw new ReadError("No lead of the recording ever changes; it holds no signal.");
  const values = rows.map((row, lead) => {
    if (flat[lead]) {
      notes.add(`Lead ${path.leads[lead]} never changes.`);
      row = new Float32Array(row.length);
    }
    return Float32Array.from(prepared(path, row, rate));
  });
  return cutWindows(path, values, notes);
}

function derivedLead(lead, signal, leads, notes) {
  notes.add(`Lead ${lead} was derived from I and II.`);
  const [first, second] = ["I", "II"].map((each) => signal[leads.indexOf(each)]);
  const [a, b] = FROM_LIMBS[lead];
  // numpy rounds each product and the sum to float32.
  return Float32Array.from(first, (value, index) => Math.fround(a * value) + Math.fround(b * second[index]));
}

const isConstant = (row) => row.every((value) => value === row[0]);

/** Filters, rate and z-score of one lead; ECG-FM's preprocessing is in float64. */
function prepared(path, row, rate) {
  let values = path.resampling === "linear" || path.zscore ? Float64Array.from(row) : row;
  const rounded = (next) => (values instanceof Float32Array ? Float32Array.from(next) : next);
  if (path.band) values = bandPass(values, rate, ...path.band);
  if (path.mains) values = mainsNotch(values, rate, path.mains);
  values = rounded(resample(values, rate, path.samplingRate, path.resampling));
  return path.zscore ? zscore(values) : values;
}

/** One window starts every step as long as it fits; a short recording is repeated from its start. */
function cutWindows(path, rows, notes) {
  const samples = roundHalfEven(path.window * path.samplingRate);
  const step = path.step === null ? samples : roundHalfEven(path.step * path.samplingRate);
  const length = rows[0].length;
  const seconds = (count) => short((count / path.samplingRate).toPrecision(3));
  if (length < samples) {
    if (path.short === "refuse" || length < SHORTEST_FRACTION * samples) {
      const allowed =
        path.short === "refuse" ? "" : `, at least half of one (${seconds(SHORTEST_FRACTION * samples)} s)`;
      throw new ReadError(`The recording lasts ${seconds(length)} s; the model needs ${seconds(samples)} s${allowed}.`);
    }
    notes.add(`The recording lasts ${seconds(length)} s and was repeated to fill a window of ${seconds(samples)} s.`);
    rows = rows.map((row) => Float32Array.from({ length: samples }, (_, index) => row[index % length]));
  }
  const [windows, start] = [[], []];
  let still = 0;
  for (let from = 0; from + samples <= rows[0].length; from += step) {
    const parts = rows.map((row) => row.subarray(from, from + samples));
    if (parts.every(isConstant)) {
      still++;
      continue;
    }
    windows.push({ rows, from, samples });
    start.push(from / path.samplingRate);
  }
  if (still) notes.add(`${still} windows in which no lead changes were left out.`);
  if (!windows.length)
    throw new ReadError("There is no window in which a lead changes; the recording holds no signal.");
  return { windows, start };
}

/** The samples of a window as a new Float32Array, its leads one after the other. */
export function content({ rows, from, samples }) {
  const values = new Float32Array(rows.length * samples);
  rows.forEach((row, lead) => values.set(row.subarray(from, from + samples), lead * samples));
  return values;
}
