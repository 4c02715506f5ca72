/** Elements of a DICOM file: little or big endian, explicit or implicit VR; only what waveforms need. */

import { ReadError, decoded, latin1 } from "./base.js";

const DAMAGED = "The DICOM file ends in the middle of an element; it was cut short or is damaged, copy it again.";
const DEFLATED = "1.2.840.10008.1.2.1.99";
const BIG = "1.2.840.10008.1.2.2";
const IMPLICIT = "1.2.840.10008.1.2";
const LONG = new Set(["OB", "OW", "OF", "OD", "OL", "OV", "SQ", "UC", "UN", "UR", "UT", "SV", "UV"]);
const UNDEFINED = 0xffffffff;
const [ITEM, ITEM_END, SEQUENCE_END] = [0xfffee000, 0xfffee00d, 0xfffee0dd];
const DEEPEST = 16;
const MOST_ITEMS = 4096;

export const TAGS = {
  syntax: 0x00020010,
  waveforms: 0x54000100,
  originality: 0x003a0004,
  channels: 0x003a0005,
  samples: 0x003a0010,
  frequency: 0x003a001a,
  definitions: 0x003a0200,
  source: 0x003a0208,
  label: 0x003a0203,
  sensitivity: 0x003a0210,
  units: 0x003a0211,
  correction: 0x003a0212,
  baseline: 0x003a0213,
  bits: 0x54001004,
  interpretation: 0x54001006,
  padding: 0x5400100a,
  data: 0x54001010,
  offset: 0x00181068,
  code: 0x00080100,
  scheme: 0x00080102,
  meaning: 0x00080104,
};
/** Sequences of an implicit file, which does not say what an element is. */
const SEQUENCES = new Set([TAGS.waveforms, TAGS.definitions, TAGS.source, TAGS.units]);

/** The elements of one data set, by tag. */
class DataSet {
  constructor(little) {
    this.little = little;
    this.values = new Map();
  }

  /** The data sets of a sequence; null where there is none. */
  items(tag) {
    const found = this.values.get(tag);
    return Array.isArray(found) ? found : null;
  }

  bytes(tag) {
    const found = this.values.get(tag);
    return found instanceof Uint8Array ? found : null;
  }

  text(tag) {
    const found = this.bytes(tag);
    return found === null
      ? null
      : decoded(found)
          .replace(/[\0 ]+$/, "")
          .trim();
  }

  /** An unsigned number of 16 or 32 bits. */
  integer(tag) {
    const found = this.bytes(tag);
    if (!found || (found.length !== 2 && found.length !== 4)) return null;
    const view = new DataView(found.buffer, found.byteOffset, found.byteLength);
    return found.length === 2 ? view.getUint16(0, this.little) : view.getUint32(0, this.little);
  }
}

/** The data set of a file with or without preamble. */
export function parseDicom(bytes) {
  const preamble = latin1(bytes.subarray(128, 132)) === "DICM";
  let place = preamble ? 132 : 0;
  const meta = new Cursor(bytes, place, bytes.length, true, true);
  const facts = meta.dataset((tag) => tag >>> 16 === 2);
  place = meta.place;
  const syntax = facts.text(TAGS.syntax);
  if (syntax === DEFLATED)
    throw new ReadError("The DICOM file is deflated, which is not read: write it with explicit VR little endian.");
  const little = syntax === null ? littleEndian(bytes, place) : syntax !== BIG;
  const explicit = syntax === null ? looksExplicit(bytes, place) : syntax !== IMPLICIT;
  return new Cursor(bytes, place, bytes.length, little, explicit).dataset();
}

const looksExplicit = (bytes, place) => /^[A-Z]{2}$/.test(latin1(bytes.subarray(place + 4, place + 6)));
const littleEndian = (bytes, place) => bytes[place] !== 0; // the first group, 8, in two bytes

/** Whether a file without preamble starts with an element of DICOM's first groups. */
export function isBareDicom(start) {
  if (start.length < 8) return false;
  const view = new DataView(start.buffer, start.byteOffset, start.byteLength);
  return [true, false].some((little) => {
    const [group, element] = [view.getUint16(0, little), view.getUint16(2, little)];
    if ((group !== 2 && group !== 8) || element > 0x18) return false;
    const length = view.getUint32(4, little);
    const text = latin1(start.subarray(8, 8 + length)).replace(/\0+$/, "");
    const implicit = little && length > 0 && length <= 64 && /^[\x20-\x7e]*$/.test(text);
    return ["UL", "OB", "CS", "UI", "DA", "LO"].includes(latin1(start.subarray(4, 6))) || implicit;
  });
}

class Cursor {
  constructor(bytes, place, end, little, explicit, depth = 0) {
    Object.assign(this, { bytes, place, end, little, explicit, depth });
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (depth > DEEPEST) throw new ReadError("The DICOM file nests sequences too deeply; it is damaged.");
  }

  need(count) {
    if (this.place + count > this.end) throw new ReadError(DAMAGED);
  }

  tag() {
    const [group, element] = [
      this.view.getUint16(this.place, this.little),
      this.view.getUint16(this.place + 2, this.little),
    ];
    return group * 0x10000 + element;
  }

  /** Elements as long as `wanted` takes their tags, up to the end or the end of an item. */
  dataset(wanted = () => true) {
    const found = new DataSet(this.little);
    while (this.place + 8 <= this.end) {
      const tag = this.tag();
      if (tag === ITEM_END) {
        this.place += 8;
        break;
      }
      if (!wanted(tag)) break;
      this.element(tag, found);
    }
    return found;
  }

  element(tag, into) {
    this.need(8);
    let [vr, length, start] = ["", 0, this.place + 8];
    if (this.explicit && tag >>> 16 !== 0xfffe) {
      vr = latin1(this.bytes.subarray(this.place + 4, this.place + 6));
      if (LONG.has(vr)) {
        this.need(12);
        length = this.view.getUint32(this.place + 8, this.little);
        start += 4;
      } else length = this.view.getUint16(this.place + 6, this.little);
    } else length = this.view.getUint32(this.place + 4, this.little);
    this.place = start;
    const undefinedLength = length === UNDEFINED;
    if (!undefinedLength) this.need(length);
    const isSequence =
      vr === "SQ" || (!this.explicit && (SEQUENCES.has(tag) || undefinedLength)) || (vr === "UN" && undefinedLength);
    if (isSequence) {
      const explicit = this.explicit && vr !== "UN"; // of unknown ones, items are implicit
      const inner = new Cursor(
        this.bytes,
        start,
        undefinedLength ? this.end : start + length,
        this.little,
        explicit,
        this.depth + 1,
      );
      into.values.set(tag, inner.items());
      this.place = undefinedLength ? inner.place : start + length;
      return;
    }
    if (undefinedLength)
      throw new ReadError("The DICOM file holds compressed frames instead of a waveform; it is not read.");
    into.values.set(tag, this.bytes.subarray(start, start + length));
    this.place = start + length;
  }

  items() {
    const found = [];
    while (this.place + 8 <= this.end) {
      const [tag, length] = [this.tag(), this.view.getUint32(this.place + 4, this.little)];
      this.place += 8;
      if (tag === SEQUENCE_END) return found;
      if (tag !== ITEM || found.length >= MOST_ITEMS) throw new ReadError(DAMAGED);
      if (length !== UNDEFINED) this.need(length);
      const stop = length === UNDEFINED ? this.end : this.place + length;
      const inner = new Cursor(this.bytes, this.place, stop, this.little, this.explicit, this.depth + 1);
      found.push(inner.dataset());
      this.place = length === UNDEFINED ? inner.place : stop;
    }
    return found;
  }
}
