/** Zero-phase filters of `ecgtune.data.signal.filters`: Butterworth band edges of order 2 and a mains notch. */

const NOTCH_QUALITY = 30; // centre / width

/** Keep `low` to `high` (Hz), either of them null for no edge. */
export function bandPass(signal, rate, [low, high]) {
  if ([low, high].some((edge) => edge !== null && !(edge > 0 && edge < rate / 2))) {
    throw new RangeError(`The model keeps ${low ?? 0} to ${high ?? "all"} Hz, which a recording of ${rate} Hz does not have.`);
  }
  let sections;
  if (low === null) sections = [edge(high, rate, false)];
  else if (high === null) sections = [edge(low, rate, true)];
  else sections = band(low, high, rate);
  return bothWays(sections, signal);
}

/** Remove `mains` (Hz); a signal with a rate too low for the frequency is returned as it is. */
export function mainsNotch(signal, rate, mains) {
  if (mains >= rate / 2) return signal;
  const centre = (2 * Math.PI * mains) / rate;
  const gain = 1 / (1 + Math.tan(centre / NOTCH_QUALITY / 2));
  const cosine = Math.cos(centre);
  return bothWays([[gain, -2 * gain * cosine, gain, -2 * gain * cosine, 2 * gain - 1]], signal);
}

/** One edge: b0, b1, b2, a1, a2 by the bilinear transform of 1 / (s² + √2 s + 1). */
function edge(frequency, rate, high) {
  const w = Math.tan((Math.PI * frequency) / rate);
  const norm = 1 / (1 + Math.SQRT2 * w + w * w);
  const [a1, a2] = [2 * (w * w - 1) * norm, (1 - Math.SQRT2 * w + w * w) * norm];
  return high ? [norm, -2 * norm, norm, a1, a2] : [w * w * norm, 2 * w * w * norm, w * w * norm, a1, a2];
}

/** Two edges: each of the two low-pass poles becomes two poles around the centre; zeros at 0 Hz and half the rate. */
function band(low, high, rate) {
  const [a, b] = [low, high].map((frequency) => 4 * Math.tan((Math.PI * frequency) / rate));
  const [width, centre] = [b - a, Math.sqrt(a * b)];
  const pole = { re: (-Math.SQRT1_2 * width) / 2, im: (Math.SQRT1_2 * width) / 2 }; // and its conjugate
  const root = squareRoot({ re: pole.re ** 2 - pole.im ** 2 - centre ** 2, im: 2 * pole.re * pole.im });
  const poles = [1, -1].map((sign) => bilinear({ re: pole.re + sign * root.re, im: pole.im + sign * root.im }));
  // The gain of the digital filter: width² of the analog one times the bilinear transform's factor.
  const gain = [1, -1].reduce((product, sign) => {
    const [re, im] = [4 - pole.re - sign * root.re, -pole.im - sign * root.im];
    return product / (re * re + im * im);
  }, (width * 4) ** 2);
  return poles.map(({ re, im }, index) => {
    const k = index === 0 ? gain : 1;
    return [k, index === 0 ? 2 * k : -2, k, -2 * re, re * re + im * im];
  });
}

function squareRoot({ re, im }) {
  const size = Math.hypot(re, im);
  const real = Math.sqrt((size + re) / 2);
  return { re: real, im: Math.sign(im || 1) * Math.sqrt((size - re) / 2) };
}

/** (4 + s) / (4 - s): the bilinear transform at a rate of 2. */
function bilinear({ re, im }) {
  const [a, b, c, d] = [4 + re, im, 4 - re, -im];
  const size = c * c + d * d;
  return { re: (a * c + b * d) / size, im: (b * c - a * d) / size };
}

/** The filter forward and backward, with an odd extension at both ends, as `scipy.signal.sosfiltfilt`. */
function bothWays(sections, signal) {
  const length = signal.length;
  const padding = Math.min(3 * (2 * sections.length + 1), length - 1);
  const extended = new Float64Array(length + 2 * padding);
  const round = signal instanceof Float32Array ? Math.fround : (value) => value;
  for (let index = 0; index < padding; index++) {
    extended[index] = round(2 * signal[0] - signal[padding - index]);
    extended[padding + length + index] = round(2 * signal[length - 1] - signal[length - 2 - index]);
  }
  extended.set(signal, padding);
  const filtered = forward(sections, forward(sections, extended).reverse()).reverse();
  const result = filtered.slice(padding, padding + length);
  return signal instanceof Float32Array ? Float32Array.from(result) : result;
}

/** Cascade of second-order sections from the steady state of the first sample. */
function forward(sections, signal) {
  let scale = signal[0];
  let current = signal;
  for (const [b0, b1, b2, a1, a2] of sections) {
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
