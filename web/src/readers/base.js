/**
 * What all readers share: errors, units, rates, sizes. The rules are those of `ecgtune.io.readers.base`.
 *
 * A reader takes `(file, options, files)` and returns a recording
 * `{leads, signal, samplingRate, notes}`: names of leads, one Float32Array per lead in millivolts (NaN in gaps), Hz.
 * `file` has `name`, `size` and `bytes` (Uint8Array); `files` are all files that were given together.
 * `options`: samplingRate (Hz), unit, leadNames, layout as the user stated them, or null; leads: those that are needed.
 */

/** A sentence for the user. `asks`: facts that the user can state, of "rate", "unit", "leads", "layout". */
export class ReadError extends Error {
  constructor(message, asks = []) {
    super(message);
    this.asks = asks;
  }
}

/** A decimal number as text. */
export const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;
export const UNITS = ["mV", "uV", "V", "nV"];
export const LARGEST_FILE = 1 << 27; // bytes
export const MOST_VALUES = 1 << 24; // leads x samples of a recording
const MOST_CHANNELS = 16; // of a usual recording: an array with more rows, and fewer columns, is taken for a transposed one
const FACTOR = { mv: 1, millivolt: 1, uv: 1e-3, microvolt: 1e-3, v: 1e3, volt: 1e3, nv: 1e-6 };

/** Text of a file as a message shows it. */
export function shown(value) {
  const text = String(value)
    .slice(0, 40)
    .replace(/[\u0000-\u001f\u007f-\u009f]/g, "\ufffd");
  return `“${text}”`;
}

export const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** At most six significant digits. */
export const short = (value) => String(Number(Number(value).toPrecision(6)));

/** As Python rounds: to the even one of two neighbours. */
export function roundHalfEven(value) {
  const low = Math.floor(value);
  return value - low === 0.5 ? low + (low % 2 === 0 ? 0 : 1) : Math.round(value);
}

/** Text in UTF-8, with or without a byte-order mark, or else in Latin-1. */
export function decoded(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder("latin1").decode(bytes);
  }
}

export const latin1 = (bytes) => new TextDecoder("latin1").decode(bytes);

/** The factor to millivolts of the file's unit, or of the one that the user states. */
export function millivoltFactor(stated, options) {
  const name = (stated ?? "")
    .trim()
    .toLowerCase()
    .replace(/[\u00b5\u03bc]/g, "u");
  const factor = FACTOR[name] ?? FACTOR[name.replace(/s$/, "")];
  const given = options.unit ? FACTOR[options.unit.toLowerCase()] : undefined;
  if (factor !== undefined && given !== undefined && factor !== given) {
    throw new ReadError(`The file says that its unit is ${shown(stated)}, but ${options.unit} is stated.`, ["unit"]);
  }
  if (factor === undefined && given === undefined) {
    const why = name ? `The unit ${shown(stated)} of the file is unknown` : "The file does not say its unit";
    throw new ReadError(`${why}: state it, then read the file again.`, ["unit"]);
  }
  return factor ?? given;
}

/** The sampling rate (Hz) of the file, or the one that the user states. */
export function statedRate(inFile, options) {
  const rate = inFile ?? options.samplingRate;
  if (rate === null || rate === undefined) {
    throw new ReadError("The file does not say its sampling rate: state it, then read the file again.", ["rate"]);
  }
  if (options.samplingRate && inFile !== null && inFile !== undefined && inFile !== options.samplingRate) {
    throw new ReadError(
      `The file says that its sampling rate is ${short(inFile)} Hz, but ${short(options.samplingRate)} Hz is stated.`,
      ["rate"],
    );
  }
  if (!(rate > 0 && rate < Infinity)) {
    throw new ReadError(`The sampling rate of the file is ${short(rate)} Hz; above 0 is needed, the file is damaged.`);
  }
  return rate;
}

/** Whether an array of this shape is (samples, leads). Asks for one that looks so. */
export function swappedAxes([rows, columns], options) {
  if (options.layout) return options.layout === "NTC";
  if (rows > MOST_CHANNELS && columns <= MOST_CHANNELS) {
    throw new ReadError(
      `The array has ${rows} rows of ${counted(columns, "value")}: state whether the leads are its columns or its rows.`,
      ["layout"],
    );
  }
  return false;
}

/** Refuses a recording without samples, or with more than are read at once, before memory is taken. */
export function checkSize(leads, samples) {
  if (!(samples >= 1 && leads >= 1)) {
    throw new ReadError(
      `The file holds ${Math.max(samples, 0) || 0} samples of ${counted(leads, "lead")}; at least one of each is needed.`,
    );
  }
  if (leads * samples > MOST_VALUES) {
    throw new ReadError(
      `The file holds ${samples} samples of ${counted(leads, "lead")}; at most ${MOST_VALUES} values are read: cut the recording into shorter ones.`,
    );
  }
}

/**
 * The channels of `leads` (Map of lead to channel) to read: those that are needed where all are too many. Refuses sizes
 * as `checkSize`.
 */
export function fittingLeads(leads, samples, options) {
  let fitting = leads;
  if (leads.size * samples > MOST_VALUES && options.leads) {
    const all = options.leads.every((lead) => leads.has(lead));
    const needed = new Set(all ? options.leads : [...options.leads, "I", "II"]);
    const kept = new Map([...leads].filter(([lead]) => needed.has(lead)));
    fitting = kept.size ? kept : leads;
  }
  checkSize(fitting.size, samples);
  return fitting;
}

/** A recording; infinite values become NaN. */
export function makeRecording(leads, signal, samplingRate, notes = []) {
  for (const row of signal) {
    for (let index = 0; index < row.length; index++) {
      if (row[index] === Infinity || row[index] === -Infinity) row[index] = NaN;
    }
  }
  return { leads: [...leads], signal, samplingRate, notes };
}
