/** Zero-phase filters: Butterworth and Chebyshev low-pass, high-pass and band, and a mains notch, as scipy computes them. */

import { ReadError } from "../readers/base.js";

const NOTCH_QUALITY = 30; // centre / width
const ORDER = 2; // of a signal path's band
const DECIMATION = { order: 8, ripple: 0.05, edge: 0.8 }; // scipy's low-pass before samples are left out

/** Keep `low` to `high` (Hz), either of them null for no edge. */
export function bandPass(signal, rate, low, high, order = ORDER) {
  if ([low, high].some((edge) => edge !== null && !(edge > 0 && edge < rate / 2))) {
    throw new ReadError(
      `The model keeps ${low ?? 0} to ${high ?? "all"} Hz, which a recording of ${rate} Hz does not have.`,
    );
  }
  if (low === null && high === null) return signal;
  const edges = [low, high].map((edge) => (edge === null ? null : edge / (rate / 2)));
  return bothWays(sections(butterworth(order), ...edges), signal);
}

/** Remove `mains` (Hz); a signal with a rate too low for the frequency is returned as it is. */
export function mainsNotch(signal, rate, mains) {
  if (mains >= rate / 2) return signal;
  const centre = (2 * Math.PI * mains) / rate;
  const gain = 1 / (1 + Math.tan(centre / NOTCH_QUALITY / 2));
  const cosine = Math.cos(centre);
  return bothWays([[gain, -2 * gain * cosine, gain, -2 * gain * cosine, 2 * gain - 1]], signal);
}

/** Keep one sample of `factor` behind a Chebyshev low-pass. */
export function decimated(signal, factor) {
  const { order, ripple, edge } = DECIMATION;
  const filtered = bothWays(sections(chebyshev(order, ripple), null, edge / factor, 10 ** (-ripple / 20)), signal);
  return filtered.filter((_, index) => index % factor === 0);
}

/** Poles of an analog low-pass with the edge 1, those with an imaginary part of 0 or more: of a pair, one. */
function butterworth(order) {
  return upper(order, (angle) => ({ re: -Math.cos(angle), im: Math.sin(angle) }));
}

/** The same with a ripple (dB) before the edge. */
function chebyshev(order, ripple) {
  const mu = Math.asinh(1 / Math.sqrt(10 ** (ripple / 10) - 1)) / order;
  return upper(order, (angle) => ({ re: -Math.sinh(mu) * Math.cos(angle), im: Math.cosh(mu) * Math.sin(angle) }));
}

function upper(order, pole) {
  const angles = Array.from({ length: order }, (_, index) => (Math.PI * (2 * index + 1 - order)) / (2 * order));
  return angles
    .filter((angle) => angle > -1e-12)
    .map((angle) => (Math.abs(angle) < 1e-12 ? { re: pole(0).re, im: 0 } : pole(angle)));
}

/**
 * Second-order sections [b0, b1, b2, a1, a2] of a digital filter by the bilinear transform. low, high: edges as
 * fractions of half the rate, null for none. level: the gain where the filter passes.
 */
function sections(poles, low, high, level = 1) {
  const [a, b] = [low, high].map((edge) => (edge === null ? null : 4 * Math.tan((Math.PI * edge) / 2)));
  const made = poles.flatMap((pole) => {
    if (a === null) return [section([{ re: pole.re * b, im: pole.im * b }], pole.im === 0, [-1, -1])];
    if (b === null) return [section([divided({ re: a, im: 0 }, pole)], pole.im === 0, [1, 1])];
    // Each pole becomes two around the centre; with a zero at 0 Hz and one at half the rate.
    const half = { re: (pole.re * (b - a)) / 2, im: (pole.im * (b - a)) / 2 };
    const root = squareRoot({ re: half.re ** 2 - half.im ** 2 - a * b, im: 2 * half.re * half.im });
    const both = [1, -1].map((sign) => ({ re: half.re + sign * root.re, im: half.im + sign * root.im }));
    return pole.im === 0 ? [section(both, true, [1, -1])] : both.map((each) => section([each], false, [1, -1]));
  });
  const centre = a === null ? 0 : b === null ? Math.PI : 2 * Math.atan(Math.sqrt(a * b) / 4);
  const gain = level / made.reduce((product, each) => product * magnitude(each, centre), 1);
  return made.map(([b0, b1, b2, a1, a2], index) =>
    index ? [b0, b1, b2, a1, a2] : [gain * b0, gain * b1, gain * b2, a1, a2],
  );
}

/** A section of a pole and its conjugate, of two poles, or of a single real pole (`alone`). */
function section(poles, alone, zeros) {
  const found = poles.map(({ re, im }) => divided({ re: 4 + re, im }, { re: 4 - re, im: -im }));
  if (found.length === 2) {
    // Two real poles, or a pair.
    const [p, q] = found;
    return [1, -(zeros[0] + zeros[1]), zeros[0] * zeros[1], -(p.re + q.re), p.re * q.re - p.im * q.im];
  }
  const [{ re, im }] = found;
  if (alone) return [1, -zeros[0], 0, -re, 0];
  return [1, -(zeros[0] + zeros[1]), zeros[0] * zeros[1], -2 * re, re * re + im * im];
}

function magnitude([b0, b1, b2, a1, a2], angle) {
  const at = (c0, c1, c2) =>
    Math.hypot(c0 + c1 * Math.cos(angle) + c2 * Math.cos(2 * angle), c1 * Math.sin(angle) + c2 * Math.sin(2 * angle));
  return at(b0, b1, b2) / at(1, a1, a2);
}

function squareRoot({ re, im }) {
  const size = Math.hypot(re, im);
  return { re: Math.sqrt((size + re) / 2), im: Math.sign(im || 1) * Math.sqrt((size - re) / 2) };
}

function divided(first, second) {
  const size = second.re ** 2 + second.im ** 2;
  return {
    re: (first.re * second.re + first.im * second.im) / size,
    im: (first.im * second.re - first.re * second.im) / size,
  };
}

/** Sections forward and backward, with an odd extension at both ends, as `scipy.signal.sosfiltfilt`. */
function bothWays(made, signal) {
  const zeros = Math.min(made.filter((each) => each[2] === 0).length, made.filter((each) => each[4] === 0).length);
  const padding = Math.min(3 * (2 * made.length + 1 - zeros), signal.length - 1);
  const extended = extendedOddly(signal, padding);
  const filtered = forward(made, forward(made, extended).reverse()).reverse();
  const result = filtered.slice(padding, padding + signal.length);
  return signal instanceof Float32Array ? Float32Array.from(result) : result;
}

/** The signal with `padding` samples at both ends, turned around the first and the last one. */
export function extendedOddly(signal, padding) {
  const length = signal.length;
  const extended = new Float64Array(length + 2 * padding);
  const round = signal instanceof Float32Array ? Math.fround : (value) => value;
  for (let index = 0; index < padding; index++) {
    extended[index] = round(2 * signal[0] - signal[padding - index]);
    extended[padding + length + index] = round(2 * signal[length - 1] - signal[length - 2 - index]);
  }
  extended.set(signal, padding);
  return extended;
}

/** Cascade of second-order sections from the steady state of the first sample. */
function forward(made, signal) {
  let scale = signal[0];
  let current = signal;
  for (const [b0, b1, b2, a1, a2] of made) {
    const gain = (b0 + b1 + b2) / (1 + a1 + a2);
    let z1 = (gain - b0) * scale;
    let z2 = (b2 - a2 * gain) * scale;
    current = Float64Array.from(current, (x) => {
      const y = b0 * x + z1;
      z1 = b1 * x - a1 * y + z2;
      z2 = b2 * x - a2 * y;
      return y;
    });
    scale *= gain;
  }
  return current;
}
