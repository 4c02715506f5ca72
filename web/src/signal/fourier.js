/** Fourier transforms of any length (Bluestein 1970), and resampling by them as `scipy.signal.resample`. */

/** Change the number of samples of a real signal to `count`. */
export function resampledByTransform(signal, count) {
  const length = signal.length;
  const spectrum = transform(Float64Array.from(signal), new Float64Array(length), -1);
  const fewer = Math.min(count, length);
  const [re, im] = [new Float64Array(count), new Float64Array(count)];
  const scale = 1 / length;
  for (let bin = 0; bin <= fewer >> 1; bin++) {
    const unpaired = fewer % 2 === 0 && bin === fewer >> 1 && count !== length;
    const factor = scale * (unpaired ? (count < length ? 2 : 0.5) : 1);
    const mirror = (count - bin) % count;
    re[bin] = factor * spectrum.re[bin];
    if (mirror === bin) continue; // 0 Hz, or half the new rate: real
    im[bin] = factor * spectrum.im[bin];
    re[mirror] = re[bin];
    im[mirror] = -im[bin];
  }
  return transform(re, im, 1).re;
}

/** Sum over n of x[n] * exp(sign * 2 pi i k n / N). */
function transform(re, im, sign) {
  const length = re.length;
  let size = 1;
  while (size < 2 * length) size *= 2;
  const [cos, sin] = [new Float64Array(length), new Float64Array(length)];
  for (let index = 0; index < length; index++) {
    const angle = (sign * Math.PI * ((index * index) % (2 * length))) / length;
    [cos[index], sin[index]] = [Math.cos(angle), Math.sin(angle)];
  }
  const [a, b] = [complex(size), complex(size)];
  for (let index = 0; index < length; index++) {
    a.re[index] = re[index] * cos[index] - im[index] * sin[index];
    a.im[index] = re[index] * sin[index] + im[index] * cos[index];
    b.re[index] = b.re[(size - index) % size] = cos[index];
    b.im[index] = b.im[(size - index) % size] = -sin[index];
  }
  powerOfTwo(a, -1);
  powerOfTwo(b, -1);
  for (let index = 0; index < size; index++) {
    const real = a.re[index] * b.re[index] - a.im[index] * b.im[index];
    a.im[index] = a.re[index] * b.im[index] + a.im[index] * b.re[index];
    a.re[index] = real;
  }
  powerOfTwo(a, 1);
  const result = complex(length);
  for (let index = 0; index < length; index++) {
    const [real, imaginary] = [a.re[index] / size, a.im[index] / size];
    result.re[index] = real * cos[index] - imaginary * sin[index];
    result.im[index] = real * sin[index] + imaginary * cos[index];
  }
  return result;
}

const complex = (size) => ({ re: new Float64Array(size), im: new Float64Array(size) });

/** The transform of a power of two, in place (Cooley and Tukey). */
function powerOfTwo({ re, im }, sign) {
  const size = re.length;
  for (let index = 1, mirror = 0; index < size; index++) {
    let bit = size >> 1;
    for (; mirror & bit; bit >>= 1) mirror ^= bit;
    mirror ^= bit;
    if (index < mirror) {
      [re[index], re[mirror]] = [re[mirror], re[index]];
      [im[index], im[mirror]] = [im[mirror], im[index]];
    }
  }
  for (let span = 2; span <= size; span *= 2) {
    const half = span >> 1;
    for (let each = 0; each < half; each++) {
      const angle = (sign * 2 * Math.PI * each) / span;
      const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
      for (let low = each; low < size; low += span) {
        const high = low + half;
        const real = re[high] * cos - im[high] * sin;
        const imaginary = re[high] * sin + im[high] * cos;
        [re[high], im[high]] = [re[low] - real, im[low] - imaginary];
        re[low] += real;
        im[low] += imaginary;
      }
    }
  }
}
