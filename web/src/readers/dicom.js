/** DICOM waveforms: all original multiplex groups, placed by their time offsets, as `ecgtune` reads them. */

import {
  ReadError,
  fittingLeads,
  makeRecording,
  millivoltFactor,
  roundHalfEven,
  short,
  shown,
  statedRate,
} from "./base.js";
import { LEFT_OUT, knownLead, leadsOfOneRate, wantedLeads } from "./leads.js";
import { isBareDicom, parseDicom, TAGS } from "./dicom-elements.js";

export const isDicom = (start) => String.fromCharCode(...start.subarray(128, 132)) === "DICM" || isBareDicom(start);

/** The last number of MDC ("2:61") and SCP-ECG ("5.6.3-9-61") codes of leads, CID 3001. */
const CODES = {
  1: "I",
  2: "II",
  61: "III",
  62: "aVR",
  63: "aVL",
  64: "aVF",
  3: "V1",
  4: "V2",
  5: "V3",
  6: "V4",
  7: "V5",
  8: "V6",
};
const SAMPLES = {
  "8 SB": "getInt8",
  "8 UB": "getUint8",
  "16 SS": "getInt16",
  "16 US": "getUint16",
  "32 SL": "getInt32",
  "32 UL": "getUint32",
};

export function readDicom(file, options) {
  const dataset = parseDicom(file.bytes);
  const notes = [];
  const pieces = piecesOf(dataset);
  const names = pieces.map((piece) => piece.name);
  const parts = options.leadNames
    ? new Map(pieces.map((_, number) => [number, [number]]))
    : joined(pieces, names, notes);
  const without = new Set([...pieces.keys()].filter((number) => !parts.has(number)));
  let [leads, rate] = leadsOfOneRate(
    wantedLeads(names, options, notes, without),
    pieces.map((piece) => piece.rate),
    options,
    notes,
  );
  const span = () => {
    const chosen = [...leads.values()].flatMap((channel) => parts.get(channel).map((number) => pieces[number]));
    const begin = Math.min(...chosen.map((piece) => piece.start));
    return { begin, samples: Math.max(...chosen.map((piece) => firstOf(piece, begin) + piece.samples)) };
  };
  leads = fittingLeads(leads, span().samples, options);
  const { begin, samples } = span();
  const signal = [...leads.values()].map((channel) => {
    const row = new Float32Array(samples).fill(NaN);
    for (const number of parts.get(channel)) {
      const piece = pieces[number];
      const factor = millivoltFactor(piece.unit, options);
      const start = firstOf(piece, begin);
      for (let index = 0; index < piece.samples; index++) {
        const step = piece.value(index);
        row[start + index] =
          step === piece.padding ? NaN : (step * piece.sensitivity * piece.correction + piece.baseline) * factor;
      }
    }
    return row;
  });
  noteSpans(leads, parts, pieces, begin, notes);
  return makeRecording(leads.keys(), signal, statedRate(rate, options), notes);
}

const firstOf = (piece, begin) => roundHalfEven((piece.start - begin) * piece.rate);
const endOf = (piece) => piece.start + piece.samples / piece.rate;

/** The channels of all groups that are not derived, after a check of the groups' sizes. */
function piecesOf(dataset) {
  let groups = (dataset.items(TAGS.waveforms) ?? []).map((group, number) => [number + 1, group]);
  if (!groups.length)
    throw new ReadError("The DICOM file holds no waveform: choose one of an ECG with a Waveform Sequence.");
  const original = groups.filter(([, group]) => group.text(TAGS.originality) !== "DERIVED");
  if (original.length) groups = original;
  return groups.flatMap(([number, group]) => {
    const [count, samples, bits] = [TAGS.channels, TAGS.samples, TAGS.bits].map((tag) => group.integer(tag) ?? NaN);
    const definitions = group.items(TAGS.definitions) ?? [];
    if (!(count >= 1) || definitions.length !== count) {
      throw new ReadError(
        `Waveform ${number} of the DICOM file promises ${count || 0} channels, but describes ${definitions.length}; it is damaged.`,
      );
    }
    const kind = group.text(TAGS.interpretation) ?? "";
    const method = SAMPLES[`${bits} ${kind}`];
    if (!method) {
      const companded = kind === "MB" || kind === "AB" ? " (companded)" : "";
      throw new ReadError(
        `Waveform ${number} of the DICOM file has samples of the kind ${shown(`${bits} ${kind}`)}${companded}, which are not read: write it with linear samples, such as SS.`,
      );
    }
    const data = group.bytes(TAGS.data) ?? new Uint8Array();
    const promised = (count * samples * bits) / 8;
    if (!(promised <= data.length && data.length <= promised + 1)) {
      throw new ReadError(
        `Waveform ${number} of the DICOM file promises ${samples || 0} samples of ${count} channels, ${promised || 0} bytes, but has ${data.length}; it is damaged, copy it again.`,
      );
    }
    const rate = Number(group.text(TAGS.frequency) ?? NaN);
    if (!(rate > 0 && rate < Infinity))
      throw new ReadError(
        `Waveform ${number} of the DICOM file has ${short(rate)} Hz; above 0 is needed, the file is damaged.`,
      );
    const start = Number(group.text(TAGS.offset) ?? 0) / 1000;
    if (!Number.isFinite(start))
      throw new ReadError(`Waveform ${number} of the DICOM file has no readable time offset; it is damaged.`);
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    const read = (at) => view[method](at, group.little);
    const paddingBytes = group.bytes(TAGS.padding);
    const padding =
      paddingBytes && paddingBytes.length >= bits / 8
        ? new DataView(paddingBytes.buffer, paddingBytes.byteOffset, paddingBytes.byteLength)[method](0, group.little)
        : undefined;
    return definitions.map((definition, channel) => ({
      name: nameOf(definition),
      unit: unitOf(definition),
      sensitivity: numberOf(definition, TAGS.sensitivity, 1),
      correction: numberOf(definition, TAGS.correction, 1),
      baseline: numberOf(definition, TAGS.baseline, 0),
      rate,
      start,
      samples,
      padding,
      value: (index) => read(((index * count + channel) * bits) / 8),
    }));
  });
}

function numberOf(definition, tag, usual) {
  const text = definition.text(tag);
  const value = text === null ? usual : Number(text || NaN);
  if (!Number.isFinite(value))
    throw new ReadError(`A channel of the DICOM file has the scale ${shown(text)}, which is no number; it is damaged.`);
  return value;
}

/**
 * The pieces of each lead, by the first of them. Pieces of one lead follow each other in time; of two at a time the
 * longer is read: a rhythm strip beside the lead's part of a print.
 */
function joined(pieces, names, notes) {
  const parts = new Map();
  const ofLead = new Map();
  const shorter = new Set();
  const seconds = (number) => pieces[number].samples / pieces[number].rate;
  for (const number of [...pieces.keys()].sort((a, b) => seconds(b) - seconds(a))) {
    const lead = knownLead(names[number] ?? "");
    if (lead === null) {
      parts.set(number, [number]);
      continue;
    }
    const piece = pieces[number];
    if (!ofLead.has(lead)) ofLead.set(lead, []);
    const others = ofLead.get(lead).map((other) => pieces[other]);
    const same = (other) =>
      Math.abs(endOf(other) - endOf(piece)) + Math.abs(other.start - piece.start) < 1 / piece.rate;
    if (others.some(same)) {
      throw new ReadError(
        `Two waveforms of the DICOM file hold lead ${lead} at one time: name the leads in order, ${LEFT_OUT} for one of the two.`,
        ["leads"],
      );
    }
    const overlap = (other) =>
      Math.min(endOf(other), endOf(piece)) - Math.max(other.start, piece.start) > 0.5 / other.rate;
    if (others.some((other) => other.rate !== piece.rate || overlap(other))) shorter.add(lead);
    else ofLead.get(lead).push(number);
  }
  if (shorter.size)
    notes.push(`Leads that several waveforms hold at one time are taken from the longest: ${[...shorter].join(", ")}.`);
  for (const kept of ofLead.values()) {
    parts.set(
      Math.min(...kept),
      kept.sort((a, b) => pieces[a].start - pieces[b].start),
    );
  }
  return parts;
}

function noteSpans(leads, parts, pieces, begin, notes) {
  const spans = new Map();
  for (const [lead, channel] of leads) {
    const times = parts
      .get(channel)
      .map((number) => `${short(pieces[number].start - begin)} to ${short(endOf(pieces[number]) - begin)} s`)
      .join(" and ");
    spans.set(times, [...(spans.get(times) ?? []), lead]);
  }
  if (spans.size > 1) {
    const listed = [...spans].map(([times, names]) => `${names.join(", ")} from ${times}`).join("; ");
    notes.push(`The leads were not recorded together, the rest of each is missing: ${listed}.`);
  }
}

/** The lead of a channel by its code, by the meaning of the code, or by its label. */
function nameOf(definition) {
  const source = definition.items(TAGS.source)?.[0];
  if (["MDC", "SCPECG"].includes(source?.text(TAGS.scheme))) {
    const number = (source.text(TAGS.code) ?? "").replaceAll("-", ":").split(":").at(-1);
    if (/^\d+$/.test(number) && Object.hasOwn(CODES, Number(number))) return CODES[Number(number)];
  }
  const names = [source?.text(TAGS.meaning), definition.text(TAGS.label)].map((text) =>
    (text ?? "").split(",")[0].trim(),
  );
  return names.find((name) => name && knownLead(name)) ?? names.find(Boolean) ?? null;
}

/** The unit of a channel; without a sensitivity its samples have none. */
function unitOf(definition) {
  if (definition.text(TAGS.sensitivity) === null) return null;
  return definition.items(TAGS.units)?.[0]?.text(TAGS.code) ?? null;
}
