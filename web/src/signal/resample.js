/** Resampling and the z-score of `ecgtune.data.signal.filters`, in float64. */

import { ReadError } from "../readers/base.js";

const LARGEST_FACTOR = 10_000; // of the ratio of two rates
const FLAT = 1e-9; // a standard deviation below this fraction of the largest sample is rounding, not signal

/** Change the rate of `signal` (Float32Array or Float64Array) from `from` to `to` Hz; gives a Float64Array. */
export function resample(signal, from, to, method = "polyphase") {
  if (from === to) return signal;
  if (method === "linear") return interpolate(signal, Math.max(1, Math.floor((signal.length * to) / from)));
  const { up, down } = resamplingRatio(from, to);
  const length = signal.length;
  const start = signal[0];
  // numpy computes start and slope in the type of the signal, and the line in float64.
  const round = signal instanceof Float32Array ? Math.fround : (value) => value;
  const slope = round(round(signal[length - 1] - start) / Math.max(1, length - 1));
  const level = new Float64Array(length);
  for (let index = 0; index < length; index++) level[index] = signal[index] - (start + slope * index);
  const factor = Math.max(up, down);
  const taps = lowPass(factor);
  const half = 10 * factor;
  const count = Math.ceil((length * up) / down);
  const result = new Float64Array(count);
  for (let index = 0; index < count; index++) {
    // Sample k of the input is weighted with the tap half + index * down - k * up.
    const place = half + index * down;
    const first = Math.max(0, Math.ceil((place - 2 * half) / up));
    const last = Math.min(length - 1, Math.floor(place / up));
    let sum = 0;
    for (let each = first; each <= last; each++) sum += level[each] * taps[place - each * up];
    result[index] = sum * up + (start + slope * (index * (down / up)));
  }
  return result;
}

const kept = new Map();

/** The filter of `scipy.signal.resample_poly`: 20 * factor + 1 taps, window Kaiser 5.0. */
function lowPass(factor) {
  if (!kept.has(factor)) {
    const half = 10 * factor;
    const taps = Float64Array.from({ length: 2 * half + 1 }, (_, index) => {
      const at = index - half;
      const ratio = at / half;
      return (sinc(at / factor) / factor) * (bessel(5 * Math.sqrt(Math.max(0, 1 - ratio * ratio))) / bessel(5));
    });
    const sum = taps.reduce((total, tap) => total + tap, 0);
    kept.set(
      factor,
      taps.map((tap) => tap / sum),
    );
  }
  return kept.get(factor);
}

export const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

/** The modified Bessel function of order 0. */
function bessel(x) {
  let [sum, term] = [1, 1];
  for (let k = 1; term > sum * 1e-17; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

/** to / from as a fraction with terms of at most 10,000, by continued fractions as Python's `limit_denominator`. */
export function resamplingRatio(from, to) {
  const [a, b] = [fraction(to), fraction(from)];
  const [numerator, denominator] = limited(a[0] * b[1], a[1] * b[0]);
  const [up, down] = [Number(numerator), Number(denominator)];
  if (up === 0 || up > LARGEST_FACTOR)
    throw new ReadError(`The sampling rate cannot be changed from ${from} to ${to} Hz, the rate of the model.`);
  return { up, down };
}

/** A number as the fraction that it is in binary. */
function fraction(value) {
  let denominator = 1n;
  while (!Number.isInteger(value)) {
    value *= 2;
    denominator *= 2n;
  }
  return [BigInt(value), denominator];
}

function limited(numerator, denominator) {
  const gcd = (a, b) => (b ? gcd(b, a % b) : a);
  const common = gcd(numerator, denominator);
  [numerator, denominator] = [numerator / common, denominator / common];
  const most = BigInt(LARGEST_FACTOR);
  if (denominator <= most) return [numerator, denominator];
  let [p0, q0, p1, q1, n, d] = [0n, 1n, 1n, 0n, numerator, denominator];
  for (;;) {
    const a = n / d;
    const q2 = q0 + a * q1;
    if (q2 > most) break;
    [p0, q0, p1, q1] = [p1, q1, p0 + a * p1, q2];
    [n, d] = [d, n - a * d];
  }
  const k = (most - q0) / q1;
  // Of the two bounds the closer one; the convergent where both are as close.
  return 2n * d * (q0 + k * q1) <= denominator ? [p1, q1] : [p0 + k * p1, q0 + k * q1];
}

/** Linear interpolation at `count` points, the first and last on the first and last sample. */
export function interpolate(signal, count) {
  const last = signal.length - 1;
  const step = count > 1 ? last / (count - 1) : 0;
  return Float64Array.from({ length: count }, (_, index) => {
    const position = count > 1 && index === count - 1 ? last : index * step;
    const left = Math.min(Math.floor(position), Math.max(last - 1, 0));
    const right = Math.min(left + 1, last);
    return signal[left] + (signal[right] - signal[left]) * (position - left);
  });
}

/** (x - mean) / standard deviation; 0 where the signal is constant. */
export function zscore(signal) {
  let [sum, largest] = [0, 0];
  for (const value of signal) {
    sum += value;
    largest = Math.max(largest, Math.abs(value));
  }
  const mean = sum / signal.length;
  const centred = Float64Array.from(signal, (value) => value - mean);
  const std = Math.sqrt(centred.reduce((total, value) => total + value * value, 0) / signal.length);
  return std <= FLAT * largest ? centred.fill(0) : centred.map((value) => value / std);
}
