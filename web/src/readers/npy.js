/** NumPy's `.npy` array of one recording: (samples,), (leads, samples) or (samples, leads). Pickles are never read. */

import {
  ReadError,
  fittingLeads,
  latin1,
  makeRecording,
  millivoltFactor,
  shown,
  statedRate,
  swappedAxes,
} from "./base.js";
import { wantedLeads } from "./leads.js";

const HEADER =
  /^\{\s*'descr':\s*'([<>|=]?)([a-zA-Z])(\d*)',\s*'fortran_order':\s*(True|False),\s*'shape':\s*\(([\d,\s]*)\),?\s*\}\s*$/;
/** Per kind and bytes: the method of a DataView. */
const METHODS = {
  i1: "getInt8",
  i2: "getInt16",
  i4: "getInt32",
  i8: "getBigInt64",
  u1: "getUint8",
  u2: "getUint16",
  u4: "getUint32",
  u8: "getBigUint64",
  f2: "half",
  f4: "getFloat32",
  f8: "getFloat64",
};

export const isNpy = (start) => start[0] === 0x93 && latin1(start.subarray(1, 6)) === "NUMPY";

export function readNpy(file, options) {
  const { shape, fortran, method, little, width, start } = header(file.bytes);
  if (shape.length < 1 || shape.length > 2) {
    throw new ReadError(`The array has ${shape.length} axes; (leads, samples) or (samples,) is needed.`);
  }
  let [channels, samples] = shape.length === 2 ? shape : [1, shape[0]];
  const swapped = shape.length === 2 && swappedAxes(shape, options);
  if (swapped) [channels, samples] = [samples, channels];
  const notes = [];
  let leads = wantedLeads(Array(channels).fill(null), options, notes);
  const factor = millivoltFactor(null, options);
  const rate = statedRate(null, options);
  leads = fittingLeads(leads, samples, options);
  const view = new DataView(file.bytes.buffer, file.bytes.byteOffset + start);
  const get =
    method === "half" ? (place) => half(view.getUint16(place, little)) : (place) => Number(view[method](place, little));
  const together = fortran === swapped; // whether the samples of a lead follow each other
  const signal = [...leads.values()].map((channel) => {
    const row = new Float32Array(samples);
    const [first, step] = together ? [channel * samples, 1] : [channel, channels];
    for (let index = 0; index < samples; index++) row[index] = get((first + index * step) * width) * factor;
    return row;
  });
  return makeRecording(leads.keys(), signal, rate, notes);
}

function header(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const major = bytes[6];
  if (bytes.length < 12 || (major !== 1 && major !== 2))
    throw new ReadError("The NumPy file has no whole header; it is damaged, copy it again.");
  const at = major === 1 ? 10 : 12;
  const length = major === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const start = at + length;
  const text = latin1(bytes.subarray(at, Math.min(start, at + 10000)));
  const found = start <= bytes.length ? HEADER.exec(text) : null;
  if (!found) {
    const pickled = /'descr':\s*'\|?O/.test(text);
    throw new ReadError(
      pickled
        ? "The NumPy file holds Python objects, which are not read: save it as numbers."
        : "The NumPy file does not hold plain numbers, or its header is damaged.",
    );
  }
  const [, order, kind, size, fortran, shapeText] = found;
  const method = METHODS[`${kind}${size}`];
  if (!method)
    throw new ReadError(
      `The NumPy file holds values of the type ${shown(kind + size)}; integers or floating-point numbers are needed.`,
    );
  const shape = shapeText
    .split(",")
    .map((part) => part.trim())
    .filter(Boolean)
    .map(Number);
  const width = Number(size);
  if (start + shape.reduce((product, each) => product * each, 1) * width !== bytes.length) {
    throw new ReadError(
      `The array should have the shape (${shape.join(", ")}), but its data have another length; the file was cut short, copy it again.`,
    );
  }
  return { shape, fortran: fortran === "True", method, little: order !== ">", width, start };
}

/** A number of 16 bits (IEEE 754). */
function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
}
