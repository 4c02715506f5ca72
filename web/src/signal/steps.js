/**
 * Steps of an encoder's preset, as `ecgtune.data.signal.steps`: each takes the leads of a window (an array of
 * Float64Array) and their rate in Hz, and gives both.
 */

import { bandPass, decimated, extendedOddly, mainsNotch } from "./filters.js";
import { resampledByTransform } from "./fourier.js";
import { interpolate, resample, sinc } from "./resample.js";

const TINY = 1e-8; // added to what is divided by

export const STEPS = {
  Resample({ rate: to, method }, rows, rate) {
    if (method !== "fourier") return [rows.map((row) => resample(row, rate, to, method)), to];
    const count = Math.max(1, Math.trunc((rows[0].length * to) / rate));
    return [rows.map((row) => resampledByTransform(row, count)), to];
  },
  Stretch: ({ samples, rate: to }, rows) => [rows.map((row) => interpolate(row, samples)), to],
  Notch: ({ frequency }, rows, rate) => [rows.map((row) => mainsNotch(row, rate, frequency)), rate],
  Butterworth: ({ low, high, order }, rows, rate) => [rows.map((row) => bandPass(row, rate, low, high, order)), rate],
  WindowedSinc({ low, high, seconds }, rows, rate) {
    const count = Math.trunc(seconds * rate);
    const taps = windowedSinc(count + 1 - (count % 2), low, high, rate);
    return [rows.map((row) => filteredBothWays(taps, row)), rate];
  },
  RunningMedian({ seconds }, rows, rate) {
    const width = Math.trunc(seconds * rate) + 1;
    const whole = width + 1 - (width % 2);
    return [rows.map((row) => medians(row, whole).map((median, index) => row[index] - median)), rate];
  },
  StandardiseWindow(_, rows, rate) {
    const [mean, std] = moments(rows);
    return [rows.map((row) => row.map((value) => (value - mean) / (std + TINY))), rate];
  },
  StandardiseLeads(_, rows, rate) {
    const standardised = (row) => {
      const [mean, std] = moments([row]);
      return row.map((value) => (value - mean) / (std + TINY));
    };
    return [rows.map(standardised), rate];
  },
  ScaleLeads(_, rows, rate) {
    const scaled = (row) => {
      const [low, high] = limits([row]);
      return row.map((value) => (2 * (value - low)) / (high - low + TINY) - 1);
    };
    return [rows.map(scaled), rate];
  },
  ScaleWindow(_, rows, rate) {
    const [low, high] = limits(rows);
    return [rows.map((row) => row.map((value) => (value - low) / (high - low + TINY))), rate];
  },
  Ranks: (_, rows, rate) => [
    rows.map((row) => ranks(row).map((rank) => (2 * rank) / Math.max(1, row.length - 1) - 1)),
    rate,
  ],
  Decimate({ factor, leads_in_a_row: together }, rows, rate) {
    const kept = Math.floor(rows[0].length / factor) * factor;
    const cut = rows.map((row) => row.slice(0, kept));
    if (!together) return [cut.map((row) => decimated(row, factor)), rate / factor];
    const whole = new Float64Array(kept * rows.length);
    cut.forEach((row, lead) => whole.set(row, lead * kept));
    const found = decimated(whole, factor);
    return [rows.map((_, lead) => found.slice((lead * kept) / factor, ((lead + 1) * kept) / factor)), rate / factor];
  },
};

/** The leads of a window behind all steps, each `{step, ...settings}`. */
export function runSteps(steps, rows, rate) {
  return steps.reduce(([values, at], { step, ...settings }) => STEPS[step](settings, values, at), [rows, rate])[0];
}

/** The smallest and the largest sample. */
function limits(rows) {
  let [low, high] = [Infinity, -Infinity];
  for (const row of rows) {
    for (const value of row) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  return [low, high];
}

/** Ranks from 0; equal samples have their mean rank. */
function ranks(row) {
  const order = Uint32Array.from(row.keys()).sort((a, b) => row[a] - row[b]);
  const found = new Float64Array(row.length);
  for (let from = 0, to = 0; from < order.length; from = to) {
    while (to < order.length && row[order[to]] === row[order[from]]) to++;
    for (let place = from; place < to; place++) found[order[place]] = (from + to - 1) / 2;
  }
  return found;
}

function moments(rows) {
  const count = rows.length * rows[0].length;
  const sum = (of) => rows.reduce((total, row) => row.reduce((inside, value) => inside + of(value), total), 0);
  const mean = sum((value) => value) / count;
  return [mean, Math.sqrt(sum((value) => (value - mean) ** 2) / count)];
}

/** `scipy.signal.firwin` for a band with a Hamming window. */
function windowedSinc(count, low, high, rate) {
  const [left, right] = [low / (rate / 2), high / (rate / 2)];
  const place = (index) => index - (count - 1) / 2;
  const taps = Float64Array.from({ length: count }, (_, index) => {
    const window = 0.54 - 0.46 * Math.cos((2 * Math.PI * index) / (count - 1));
    return (right * sinc(right * place(index)) - left * sinc(left * place(index))) * window;
  });
  const middle = (left + right) / 2;
  const gain = taps.reduce((sum, tap, index) => sum + tap * Math.cos(Math.PI * place(index) * middle), 0);
  return taps.map((tap) => tap / gain);
}

/** Taps forward and backward from the steady state of the first sample, as `scipy.signal.filtfilt`. */
function filteredBothWays(taps, row) {
  const padding = Math.min(3 * taps.length, row.length - 1);
  const forward = (signal) =>
    Float64Array.from(signal, (_, index) =>
      taps.reduce((sum, tap, each) => sum + tap * signal[Math.max(0, index - each)], 0),
    );
  return forward(forward(extendedOddly(row, padding)).reverse())
    .reverse()
    .slice(padding, padding + row.length);
}

/** The running median over `width` (odd) samples; zeros continue the signal. */
function medians(row, width) {
  const half = width >> 1;
  const at = (index) => (index < 0 || index >= row.length ? 0 : row[index]);
  const sorted = Array.from({ length: width }, (_, index) => at(index - half)).sort((a, b) => a - b);
  const place = (value) => {
    let [low, high] = [0, sorted.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sorted[middle] < value) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  return Float64Array.from(row, (_, index) => {
    if (index > 0) {
      sorted.splice(place(at(index - 1 - half)), 1);
      const next = at(index + half);
      sorted.splice(place(next), 0, next);
    }
    return sorted[half];
  });
}
