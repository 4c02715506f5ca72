/** WFDB records of one segment: a header `.hea` and the files of samples that it names, as `ecgtune` reads them. */

import {
  ReadError,
  decoded,
  fittingLeads,
  makeRecording,
  millivoltFactor,
  shown,
  statedRate,
} from "./base.js";
import { leadsOfOneRate, wantedLeads } from "./leads.js";
import { BITS, INVALID, steps } from "./wfdb-samples.js";

const HEADER_BYTES = 1 << 20;
const MOST_DIGITS = 15; // of a whole number: what a Number holds exactly
const USUAL_GAIN = 200; // steps per unit, of a header that states none, or 0
const FORMAT = /^(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?$/;
const GAIN = /^(-?\d*\.?\d*(?:e[+-]?\d+)?)(?:\((-?\d+)\))?$/;

export function readWfdb(file, options, files) {
  const header = readHeader(file);
  const notes = [];
  let leads = wantedLeads(
    header.channels.map((each) => each.name),
    options,
    notes,
  );
  const frameRate = header.frameRate ?? 1;
  let rate;
  [leads, rate] = leadsOfOneRate(
    leads,
    header.channels.map((each) => frameRate * each.perFrame),
    options,
    notes,
  );
  rate = statedRate(header.frameRate === null ? null : rate, options);
  const frames = framesOf(header, files);
  const perFrame = header.channels[[...leads.values()][0]].perFrame;
  leads = fittingLeads(leads, frames * perFrame, options);
  const signal = [...leads].map(([lead, number]) => {
    const channel = header.channels[number];
    const factor = millivoltFactor(channel.unit ?? "mV", options);
    const digital = steps(
      content(channel, files),
      channel,
      header.channels.filter((each) => each.file === channel.file),
      frames,
    );
    compareChecksum(lead, channel, digital);
    const invalid = INVALID[channel.format];
    const row = new Float32Array(digital.length);
    for (let index = 0; index < row.length; index++) {
      const step = digital[index];
      row[index] = step === invalid ? NaN : ((step - channel.baseline) / channel.gain) * factor;
    }
    return row;
  });
  return makeRecording(leads.keys(), signal, rate, notes);
}

const last = (name) => name.replaceAll("\\", "/").split("/").at(-1);

const content = (channel, files) => {
  const found = files.find((each) => each.name === channel.file);
  if (!found) {
    throw new ReadError(
      `The header names the file of samples ${shown(channel.file)}: choose both files together, .hea and ${shown(channel.file)}.`,
    );
  }
  return found.bytes;
};

function lines(file) {
  if (file.bytes.length > HEADER_BYTES)
    throw new ReadError(`The header has ${file.bytes.length} bytes; at most ${HEADER_BYTES} are read.`);
  const found = decoded(file.bytes)
    .split(/[\r\n]+/)
    .map((line) => line.trim())
    .filter((line) => line && !line.startsWith("#"));
  if (!found.length)
    throw new ReadError("The header is empty; it should start with a line such as “name 12 500 5000”.");
  return found;
}

/** A whole number of the header. */
function whole(text) {
  if (text.length > MOST_DIGITS) {
    throw new ReadError(`${shown(text)} is a number of ${text.length} digits; the header is damaged.`);
  }
  return Number(text);
}

function readHeader(file) {
  const [first, ...rest] = lines(file);
  const [name, count = "", rateText = "", framesText = "0"] = first.split(/\s+/);
  if (/\/\d+$/.test(name)) {
    throw new ReadError(
      "The record consists of several segments, which this page does not read: choose the files of one segment.",
    );
  }
  const frameRate = rateText ? Number(rateText.split("/")[0]) : null;
  if (!/^\d+$/.test(count) || !/^\d+$/.test(framesText) || Number.isNaN(frameRate)) {
    throw new ReadError(
      `The first line of the header, ${shown(first)}, is no “name 12 500 5000” (channels, Hz, samples).`,
    );
  }
  const promised = whole(count);
  const channels = rest.map(channelOf);
  if (!channels.length || promised !== channels.length) {
    throw new ReadError(`The header promises ${promised} channels, but describes ${channels.length}; it is damaged.`);
  }
  return { frameRate, frames: whole(framesText), channels };
}

function channelOf(line) {
  const [, file, format = "", scale = "", rest = ""] = /^(\S+)\s*(\S*)\s*(\S*)\s*(.*)$/.exec(line);
  const slash = scale.indexOf("/");
  const [gainText, unit] = slash < 0 ? [scale, ""] : [scale.slice(0, slash), scale.slice(slash + 1)];
  const samples = FORMAT.exec(format);
  const gain = GAIN.exec(gainText.toLowerCase());
  if (!samples || !gain)
    throw new ReadError(`The line ${shown(line)} of the header describes no channel; it is damaged.`);
  if (!(samples[1] in BITS)) {
    throw new ReadError(
      `The samples are in the format ${shown(samples[1])}; this page reads the formats ${Object.keys(BITS).join(", ")}.`,
    );
  }
  const numbers = []; // resolution, zero, first value, checksum and block size; all may be missing
  let [name, found] = [rest, null];
  while (numbers.length < 5 && (found = /^(-?\d+|-)(\s+|$)/.exec(name))) {
    numbers.push(found[1] === "-" ? 0 : whole(found[1]));
    name = name.slice(found[0].length);
  }
  const [, zero = 0, first = 0, checksum = 0] = numbers;
  const steps = ["", "-", "."].includes(gain[1]) ? 0 : Number(gain[1]);
  const channel = {
    file: last(file),
    format: samples[1],
    perFrame: whole(samples[2] ?? "1"),
    skew: whole(samples[3] ?? "0"),
    offset: whole(samples[4] ?? "0"),
    gain: steps || USUAL_GAIN,
    baseline: gain[2] === undefined ? zero : whole(gain[2]),
    first,
    unit: unit || null,
    checksum,
    name: name.trim() || null,
  };
  if (channel.perFrame < 1)
    throw new ReadError(`The line ${shown(line)} has no sample in a frame; the header is damaged.`);
  return channel;
}

/** The number of frames, by the header or by the first file's size; every file must hold as many. */
function framesOf(header, files) {
  let stated = header.frames || null;
  for (const name of new Set(header.channels.map((each) => each.file))) {
    const inside = header.channels.filter((each) => each.file === name);
    if (new Set(inside.map((each) => `${each.format}+${each.offset}`)).size > 1) {
      throw new ReadError(`The header gives ${shown(name)} two formats; a file has one.`);
    }
    const size = content(inside[0], files).length - inside[0].offset;
    const bits = BITS[inside[0].format] * inside.reduce((sum, each) => sum + each.perFrame, 0);
    stated ??= Math.floor((Math.max(size, 0) * 8) / bits);
    if (size < Math.ceil((stated * bits) / 8 - 1e-6)) {
      throw new ReadError(
        `The header promises ${stated} samples of ${inside.length} channels, but ${shown(name)} has ${Math.max(size, 0)} bytes of samples; it was cut short, copy it again.`,
      );
    }
  }
  if (stated && header.channels.some((each) => each.skew >= stated)) {
    throw new ReadError("The header has a channel that starts after the end; it is damaged.");
  }
  return stated ?? 0;
}

/** The sum of a channel's samples, modulo 65536, is that of the header; 0 or none: not stated. */
function compareChecksum(lead, channel, digital) {
  let sum = 0;
  for (const step of digital) sum = (sum + step) | 0;
  if (channel.checksum && ((channel.checksum - sum) & 0xffff) !== 0) {
    throw new ReadError(
      `The samples of lead ${lead} do not have the checksum ${channel.checksum} that the header states; copy the record again.`,
    );
  }
}
