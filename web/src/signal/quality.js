/** Gaps, and leads that a recorder saturated, as in `ecgtune.data.signal.quality`. */

import { ReadError, short } from "../readers/base.js";

const SATURATED_SECONDS = 0.03; // of a plateau at the limit of a lead
const SATURATED_FRACTION = 0.005; // of samples on such plateaus
const AMPLITUDE_SAMPLES = 1 << 17;
const PLAUSIBLE_MILLIVOLTS = [0.01, 20];
const MOST_MILLIVOLTS = 1000; // of a sample, offsets of electrodes included

/** Starts and stops of each run in which `test(index)` holds. */
export function runsOf(length, test) {
  const runs = [];
  let start = -1;
  for (let index = 0; index <= length; index++) {
    const inside = index < length && test(index);
    if (inside && start < 0) start = index;
    if (!inside && start >= 0) {
      runs.push([start, index]);
      start = -1;
    }
  }
  return runs;
}

const isGap = (row) => (index) => row[index] !== row[index];
export const hasGap = (row) => row.some((value) => value !== value);
const isMissing = (row) => row.every((value) => value !== value);

/** The parts of (leads, samples) in which no recorded lead has a gap longer than `longest` seconds. */
export function betweenGaps(signal, rate, longest) {
  const length = signal[0].length;
  const blocked = new Uint8Array(length);
  for (const row of signal) {
    if (isMissing(row)) continue;
    for (const [start, stop] of runsOf(length, isGap(row))) {
      if ((stop - start) / rate > longest) blocked.fill(1, start, stop);
    }
  }
  return runsOf(length, (index) => !blocked[index]);
}

/** Interpolate gaps of up to `longest` seconds: the rows, and the names of leads that hold only gaps. */
export function fillGaps(signal, leads, rate, longest) {
  const missing = leads.filter((_, lead) => isMissing(signal[lead]));
  const filled = signal.map((row, lead) => {
    if (missing.includes(leads[lead]) || !hasGap(row)) return row;
    const gaps = runsOf(row.length, isGap(row));
    const [start, stop] = gaps.reduce((most, gap) => (gap[1] - gap[0] > most[1] - most[0] ? gap : most));
    if ((stop - start) / rate > longest) {
      const free = Math.max(0, ...betweenGaps(signal, rate, longest).map(([from, to]) => to - from)) / rate;
      const rest = free
        ? `the longest part between longer gaps lasts ${short(free.toPrecision(4))} s`
        : "some lead is missing at any time";
      throw new ReadError(
        `Lead ${leads[lead]} has a gap of ${((stop - start) / rate).toFixed(2)} s at ${(start / rate).toFixed(2)} s; gaps of up to ${longest} s are closed, and ${rest}.`,
      );
    }
    return interpolated(row, gaps);
  });
  return { filled, missing };
}

function interpolated(row, gaps) {
  const result = Float32Array.from(row);
  for (const [start, stop] of gaps) {
    const [before, after] = [start - 1, stop];
    for (let index = start; index < stop; index++) {
      if (before < 0) result[index] = row[after];
      else if (after >= row.length) result[index] = row[before];
      else result[index] = row[before] + ((row[after] - row[before]) / (after - before)) * (index - before);
    }
  }
  return result;
}

/** Whether the recorder cut a lead off at its largest or smallest value. */
export function saturated(row, rate) {
  const run = Math.max(3, Math.ceil(SATURATED_SECONDS * rate));
  let [low, high] = [Infinity, -Infinity];
  for (const value of row) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (!(low < high)) return false;
  const held = [low, high]
    .flatMap((limit) => runsOf(row.length, (index) => row[index] === limit))
    .map(([from, to]) => to - from);
  return held.filter((each) => each >= run).reduce((sum, each) => sum + each, 0) >= SATURATED_FRACTION * row.length;
}

/** A sentence on an amplitude that no ECG has, or null: the usual reason is a wrong unit. */
export function implausibleAmplitude(signal) {
  const step = Math.ceil(signal[0].length / AMPLITUDE_SAMPLES);
  const amplitudes = signal.flatMap((row) => {
    const values = row.filter((value, index) => index % step === 0 && value === value);
    const middle = median(values);
    const found = values.length ? median(values.map((value) => Math.abs(value - middle))) : 0;
    return values.some((value) => value !== values[0]) ? [found] : [];
  });
  const [low, high] = PLAUSIBLE_MILLIVOLTS;
  if (!amplitudes.length || (median(Float32Array.from(amplitudes)) >= low && Math.max(...amplitudes) <= high))
    return null;
  const side = Math.max(...amplitudes) > high ? `above ${high}` : `below ${low}`;
  return `The median absolute amplitude is ${side} mV, implausible for an ECG: check the unit.`;
}

/** A sentence that names leads with samples that no ECG has, or null. */
export function impossibleSamples(signal, leads) {
  const found = leads.filter((_, lead) => signal[lead].some((value) => Math.abs(value) > MOST_MILLIVOLTS));
  return found.length ? `Lead ${found.join(", ")} has samples beyond 1 V, which no ECG has: check the unit.` : null;
}

function median(values) {
  const sorted = Float32Array.from(values).sort();
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
