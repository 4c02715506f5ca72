/** The exported file: its metadata and its checksum, which are the last entries of the ONNX model. */

import { ReadError } from "../readers/base.js";

const FORMAT = 1;
const METADATA_PROPS = 14; // field of ModelProto
const [METADATA, CHECKSUM] = ["ecgtune", "ecgtune_sha256"];
const CHANGED = "The model in this page is not the one that was exported (its checksum differs): get the page again.";

/** The metadata of a file; raises ReadError for one that has changed since its export. */
export async function readExported(bytes) {
  const entries = entriesOf(bytes);
  const checksum = entries.find(({ key }) => key === CHECKSUM);
  const metadata = entries.find(({ key }) => key === METADATA);
  if (!checksum || !metadata) throw new ReadError(CHANGED);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes.subarray(0, checksum.start)));
  const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (found !== checksum.value) throw new ReadError(CHANGED);
  const facts = JSON.parse(metadata.value);
  if (facts.format !== FORMAT)
    throw new ReadError(
      `The model has format ${facts.format}; this page reads format ${FORMAT}: write the page again.`,
    );
  return facts;
}

/** The entries of `metadata_props` with the place where each starts. */
function entriesOf(bytes) {
  const entries = [];
  const text = (from, to) => new TextDecoder().decode(bytes.subarray(from, to));
  let place = 0;
  const varint = () => {
    let [value, shift, byte] = [0, 0, 0];
    do {
      byte = bytes[place++];
      if (byte === undefined || shift > 35) throw new ReadError(CHANGED);
      value += (byte & 0x7f) * 2 ** shift;
      shift += 7;
    } while (byte & 0x80);
    return value;
  };
  while (place < bytes.length) {
    const start = place;
    const tag = varint();
    const kind = tag % 8;
    if (kind === 0) varint();
    else if (kind === 1 || kind === 5) place += kind === 1 ? 8 : 4;
    else if (kind === 2) {
      const stop = varint() + place;
      if (Math.floor(tag / 8) === METADATA_PROPS) {
        const pair = [];
        while (place < stop) {
          varint(); // 1, the key, then 2, the value
          const length = varint();
          pair.push(text(place, place + length));
          place += length;
        }
        entries.push({ key: pair[0], value: pair[1], start });
      }
      place = stop;
    } else throw new ReadError(CHANGED);
  }
  return entries;
}
