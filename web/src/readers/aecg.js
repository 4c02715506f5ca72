/** HL7 Annotated ECG (aECG): the first rhythm series, whose values are origin + scale * digit. */

import {
  ReadError,
  fittingLeads,
  latin1,
  makeRecording,
  millivoltFactor,
  shown,
  statedRate,
} from "./base.js";
import { wantedLeads } from "./leads.js";
import { parseXml, xmlText } from "./xml.js";

const MOST_BYTES = 1 << 24;
const SECONDS = { s: 1, ms: 1e-3, us: 1e-6, "\u00b5s": 1e-6 };

export const isXml = (start) => /^[\s\0\u00ef\u00bb\u00bf\u00fe\u00ff\u00fb]*<\0?[?!a-zA-Z]/.test(latin1(start));

export function readAecg(file, options) {
  if (file.bytes.length > MOST_BYTES)
    throw new ReadError(
      `The XML file has ${file.bytes.length} bytes; at most ${MOST_BYTES} are read: cut the recording.`,
    );
  const root = parseXml(xmlText(file.bytes));
  if (root.name !== "AnnotatedECG") {
    throw new ReadError(
      `The root element of the XML file is ${shown(root.name)}; only HL7 aECG, with “AnnotatedECG”, is read.`,
    );
  }
  const beat = (series) => series.child("code")?.attribute("code").toUpperCase() === "REPRESENTATIVE_BEAT";
  const series = root.all("component/series").find((each) => !beat(each));
  const sequences = series?.child("component/sequenceSet") ? firstSet(series).all("component/sequence") : [];
  const code = (sequence) => sequence.child("code")?.attribute("code") ?? "";
  const times = sequences.filter((each) => code(each).toUpperCase().startsWith("TIME_"));
  const found = sequences.flatMap((each) => {
    const name = /_ECG_LEAD_(.+)$/i.exec(code(each))?.[1];
    return name ? [{ name: name.toUpperCase() === "AVRNEG" ? "-aVR" : name, value: each.child("value") }] : [];
  });
  if (!found.length) throw new ReadError("The aECG file has no lead in a rhythm series; it holds no recording.");
  const notes = [];
  let leads = wantedLeads(
    found.map((each) => each.name),
    options,
    notes,
  );
  const rate = statedRate(rateOf(times[0]), options);
  const rows = new Map([...leads].map(([lead, channel]) => [lead, digits(lead, found[channel].value)]));
  const lengths = [...rows.values()].map((row) => row.length);
  const samples = Math.max(...lengths);
  if (Math.min(...lengths) !== samples) {
    throw new ReadError(
      `The leads of the aECG file have ${Math.min(...lengths)} to ${samples} samples; they must be equally long.`,
    );
  }
  leads = fittingLeads(leads, samples, options);
  const signal = [...leads].map(([lead, channel]) => {
    const { factor, scale, origin } = scaleOf(found[channel].value, options);
    return Float32Array.from(rows.get(lead), (digit) => (digit * scale + origin) * factor);
  });
  return makeRecording(leads.keys(), signal, rate, notes);
}

const firstSet = (series) => series.all("component/sequenceSet")[0];

function rateOf(time) {
  const increment = time?.child("value/increment");
  const step = Number(increment?.attribute("value") || NaN);
  if (!(step > 0 && step < Infinity))
    throw new ReadError("The aECG file does not say the time between its samples; it is damaged.");
  const unit = increment.attribute("unit");
  if (!Object.hasOwn(SECONDS, unit))
    throw new ReadError(
      `The aECG file gives the time between its samples in the unit ${shown(unit)}; seconds, ms or us are read.`,
    );
  return 1 / (step * SECONDS[unit]);
}

function digits(lead, value) {
  const text = value?.child("digits")?.text.trim();
  if (!text) throw new ReadError(`Lead ${lead} of the aECG file has no samples; it is damaged.`);
  const found = text.split(/\s+/).map(Number);
  if (found.some(Number.isNaN))
    throw new ReadError(`Lead ${lead} of the aECG file has samples that are no numbers; it is damaged.`);
  return found;
}

function scaleOf(value, options) {
  const number = (name, usual) => {
    const text = value.child(name)?.attribute("value");
    const found = text ? Number(text) : usual;
    return Number.isFinite(found) ? found : usual;
  };
  const unit = (name) => value.child(name)?.attribute("unit") || null;
  const factor = millivoltFactor(unit("scale"), options);
  const ofOrigin =
    unit("origin") === null || unit("origin") === unit("scale") ? factor : millivoltFactor(unit("origin"), {});
  return { factor, scale: number("scale", 1), origin: (number("origin", 0) * ofOrigin) / factor };
}
