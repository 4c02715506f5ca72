/** Formats of WFDB's files of samples. */

/** Bits that a sample takes. */
export const BITS = { 8: 8, 16: 16, 24: 24, 32: 32, 61: 16, 80: 8, 160: 16, 212: 12, 310: 32 / 3, 311: 32 / 3 };
/** The step that marks a sample as invalid; format 8 has none. */
export const INVALID = {
  80: -(2 ** 7),
  310: -(2 ** 9),
  311: -(2 ** 9),
  212: -(2 ** 11),
  16: -(2 ** 15),
  61: -(2 ** 15),
  160: -(2 ** 15),
  24: -(2 ** 23),
  32: -(2 ** 31),
};

const signed = (value, bits) => (value << (32 - bits)) >> (32 - bits);

/** Per format a function of (bytes, view, offset) that gives the sample number `index`. */
const READERS = {
  8: (bytes, view, at) => (index) => view.getInt8(at + index),
  16: (bytes, view, at) => (index) => view.getInt16(at + 2 * index, true),
  24: (bytes, view, at) => (index) =>
    bytes[at + 3 * index] | (bytes[at + 3 * index + 1] << 8) | (view.getInt8(at + 3 * index + 2) << 16),
  32: (bytes, view, at) => (index) => view.getInt32(at + 4 * index, true),
  61: (bytes, view, at) => (index) => view.getInt16(at + 2 * index, false),
  80: (bytes, view, at) => (index) => bytes[at + index] - 128,
  160: (bytes, view, at) => (index) => view.getUint16(at + 2 * index, true) - 32768,
  // Two samples in three bytes: the middle one holds the upper four bits of both.
  212: (bytes, view, at) => (index) => {
    const place = at + 3 * (index >> 1);
    return signed(
      index & 1 ? bytes[place + 2] | ((bytes[place + 1] & 0xf0) << 4) : bytes[place] | ((bytes[place + 1] & 0x0f) << 8),
      12,
    );
  },
  // Three samples in two words of 16 bits, of which the third has the upper five bits of each.
  310: (bytes, view, at) => (index) => {
    const place = at + 4 * Math.floor(index / 3);
    const word = (which) => (bytes[place + 2 * which] ?? 0) | ((bytes[place + 2 * which + 1] ?? 0) << 8);
    const part = index % 3;
    return signed(part < 2 ? (word(part) >> 1) & 0x3ff : (word(0) >> 11) | ((word(1) >> 11) << 5), 10);
  },
  // Three samples of ten bits one after the other, lowest first.
  311: (bytes, view, at) => (index) => {
    const place = at + 4 * Math.floor(index / 3);
    const [a, b, c, d] = [0, 1, 2, 3].map((each) => bytes[place + each] ?? 0);
    const part = index % 3;
    return signed(
      part === 0 ? a | ((b & 3) << 8) : part === 1 ? (b >> 2) | ((c & 15) << 6) : (c >> 4) | ((d & 0x3f) << 4),
      10,
    );
  },
};

/**
 * The steps (Int32Array) of `channel` in `bytes`, the content of its file. inside: all channels of that file, in order.
 * A channel that was sampled `skew` frames late is moved; what is then missing at its end is marked as invalid.
 */
export function steps(bytes, channel, inside, frames) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const sample = READERS[channel.format](bytes, view, channel.offset);
  const width = inside.reduce((sum, each) => sum + each.perFrame, 0);
  const first = inside.slice(0, inside.indexOf(channel)).reduce((sum, each) => sum + each.perFrame, 0);
  const found = new Int32Array(frames * channel.perFrame);
  let sum = channel.first; // format 8 holds differences
  for (let frame = 0; frame < frames; frame++) {
    for (let each = 0; each < channel.perFrame; each++) {
      let value = sample(frame * width + first + each);
      if (channel.format === "8") value = sum = (sum + value) | 0;
      if (frame >= channel.skew) found[(frame - channel.skew) * channel.perFrame + each] = value;
    }
  }
  found.fill(INVALID[channel.format] ?? 0, (frames - channel.skew) * channel.perFrame);
  return found;
}
