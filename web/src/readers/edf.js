/** EDF, EDF+ and BDF, continuous or interrupted, as `ecgtune.io.readers.edf_files` reads them. */

import {
  ReadError,
  counted,
  decoded,
  fittingLeads,
  latin1,
  makeRecording,
  millivoltFactor,
  roundHalfEven,
  short,
  shown,
  statedRate,
} from "./base.js";
import { leadsOfOneRate, wantedLeads } from "./leads.js";

const MAX_CHANNELS = 1000;
const FIXED = 256; // bytes of the header before, and per channel in, the part about channels
/** Fields of the header about channels, and their bytes per channel. */
const FIELDS = {
  label: 16,
  transducer: 80,
  unit: 8,
  physicalMin: 8,
  physicalMax: 8,
  digitalMin: 8,
  digitalMax: 8,
  prefilter: 80,
  samples: 8,
  reserved: 32,
};
const BIOSEMI = "\u00ffBIOSEMI";
const version = (bytes) => String.fromCharCode(...bytes.subarray(0, 8));
const DAMAGED = "copy it again.";

export function isEdf(start) {
  const size = latin1(start.subarray(184, 192)).trim();
  const count = latin1(start.subarray(252, 256)).trim();
  if (version(start) === BIOSEMI) return true;
  return (
    version(start) === "0       " &&
    /^\d+$/.test(size) &&
    /^\d+$/.test(count) &&
    Number(size) === FIXED * (Number(count) + 1)
  );
}

export function readEdf(file, options) {
  const notes = [];
  const header = readHeader(file.bytes, notes);
  const labels = header.channels.map((each) => each.label);
  const rates = header.channels.map((each) => Number((each.samples / (header.seconds || 1)).toFixed(9)));
  let [leads, rate] = leadsOfOneRate(wantedLeads(labels, options, notes), rates, options, notes);
  rate = statedRate(header.seconds ? rate : null, options);
  const count = header.channels[[...leads.values()][0]].samples;
  const missing = missingBefore(file.bytes, header, count, rate, notes);
  const samples = header.records * count + missing[header.records - 1];
  leads = fittingLeads(leads, samples, options);
  const factors = new Map(
    [...leads.values()].map((number) => [number, millivoltFactor(header.channels[number].unit, options)]),
  );
  const view = new DataView(file.bytes.buffer, file.bytes.byteOffset + header.start);
  const signal = [...leads.values()].map((number) => {
    const channel = header.channels[number];
    const { step, offset } = scale(channel);
    const row = new Float32Array(samples).fill(NaN);
    for (let record = 0; record < header.records; record++) {
      const place = (record * header.recordSamples + channel.first) * header.width;
      const begin = record * count + missing[record];
      for (let index = 0; index < count; index++) {
        const at = place + index * header.width;
        const value =
          header.width === 2 ? view.getInt16(at, true) : view.getUint16(at, true) | (view.getInt8(at + 2) << 16);
        row[begin + index] = step * (offset + value) * factors.get(number);
      }
    }
    return row;
  });
  return makeRecording(leads.keys(), signal, rate, notes);
}

/** Step and offset of a channel's scale. */
function scale({ label, ends }) {
  const [physicalMin, physicalMax, digitalMin, digitalMax] = ends.map((text) => (text.trim() ? Number(text) : NaN));
  const step = (physicalMax - physicalMin) / (digitalMax - digitalMin);
  const offset = physicalMax / step - digitalMax;
  if (!Number.isFinite(step * offset)) {
    throw new ReadError(
      `The channel ${shown(label)} has no scale; its ends are ${ends.map((text) => text.trim() || "nothing").join(", ")}.`,
    );
  }
  return { step, offset };
}

function readHeader(bytes, notes) {
  const text = (from, to) => latin1(bytes.subarray(from, to)).replaceAll("\0", " ").trim();
  const whole = (value) => (/^[+-]?\d+$/.test(value) ? Number(value) : NaN);
  const count = whole(text(252, 256));
  let records = whole(text(236, 244));
  const start = whole(text(184, 192));
  const seconds = text(244, 252) ? Number(text(244, 252)) : NaN;
  const all =
    count > 0 && count < MAX_CHANNELS && bytes.length >= FIXED * (count + 1)
      ? channelsOf(bytes.subarray(FIXED), count, whole)
      : [];
  if (Number.isNaN(records + start + seconds) || !all.length || all.some((each) => Number.isNaN(each.samples))) {
    throw new ReadError(`The file cannot be read as EDF (no whole header); it is damaged, ${DAMAGED}`);
  }
  if (start !== FIXED * (count + 1)) {
    throw new ReadError(
      `The EDF file states a header of ${start} bytes for ${counted(count, "channel")}; it is damaged, ${DAMAGED}`,
    );
  }
  const width = version(bytes) === BIOSEMI ? 3 : 2;
  const recordSamples = all.reduce((sum, each) => sum + each.samples, 0);
  const there = Math.floor((bytes.length - start) / Math.max(recordSamples * width, 1));
  if (records === -1) {
    records = there;
    notes.push("The header does not state the number of records; the whole ones in the file are read.");
  }
  if (records < 1 || recordSamples < 1 || all.some((each) => each.samples < 0)) {
    throw new ReadError(
      `The EDF file holds ${counted(records, "record")} of ${recordSamples} samples; at least one of each is needed.`,
    );
  }
  if (!(seconds >= 0 && seconds < Infinity))
    throw new ReadError(`The EDF file says that a record lasts ${short(seconds)} s; it is damaged, ${DAMAGED}`);
  if (there < records) {
    throw new ReadError(
      `The EDF file promises ${counted(records, "record")} of ${recordSamples} samples, ${start + records * recordSamples * width} bytes, but has ${bytes.length}; it was cut short, ${DAMAGED}`,
    );
  }
  if (there > records) notes.push("The file has more records than its header promises; only those are read.");
  const annotation = (each) => ["EDF Annotations", "BDF Annotations"].includes(each.label);
  return {
    start,
    records,
    seconds,
    width,
    recordSamples,
    interrupted: /^[EB]DF\+D/.test(text(192, 197)),
    channels: all.filter((each) => !annotation(each)),
    annotations: all.filter(annotation),
  };
}

function channelsOf(content, count, whole) {
  const texts = {};
  let place = 0;
  for (const [name, size] of Object.entries(FIELDS)) {
    texts[name] = Array.from({ length: count }, (_, number) =>
      decoded(content.subarray(place + size * number, place + size * (number + 1))).replace(/^[ \0]+|[ \0]+$/g, ""),
    );
    place += size * count;
  }
  let first = 0;
  return texts.label.map((label, number) => {
    const samples = whole(texts.samples[number].trim());
    const ends = [texts.physicalMin, texts.physicalMax, texts.digitalMin, texts.digitalMax].map((each) => each[number]);
    const channel = { label, unit: texts.unit[number], ends, samples, first };
    first += samples;
    return channel;
  });
}

/** Number of missing samples before each record of `count` samples. */
function missingBefore(bytes, header, count, rate, notes) {
  const missing = new Float64Array(header.records);
  if (!header.interrupted) return missing;
  const annotation = header.annotations[0];
  let [most, origin] = [-Infinity, 0];
  for (let record = 0; record < header.records; record++) {
    const place = annotation ? header.start + (record * header.recordSamples + annotation.first) * header.width : 0;
    const text = annotation
      ? latin1(bytes.subarray(place, place + annotation.samples * header.width))
          .split("\x14")[0]
          .trim()
      : "";
    const onset = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(text) ? Number(text) : NaN;
    if (Number.isNaN(onset))
      throw new ReadError("The EDF file is interrupted (EDF+D), but a record does not say when it starts.");
    if (record === 0) origin = onset;
    const late = roundHalfEven((onset - origin) * rate) - record * count;
    most = Math.max(most, late);
    if (!(most - late <= 1))
      throw new ReadError(`A record of the EDF file starts before the one before it ends; it is damaged, ${DAMAGED}`); // times are rounded
    missing[record] = Math.min(most, 2 ** 48);
  }
  if (most > 0) notes.push("The recording was interrupted (EDF+D); the interruptions are missing samples.");
  return missing;
}
