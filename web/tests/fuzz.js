/**
 * Read damaged files: `node fuzz.js REQUESTS.json COUNT` changes the last file of each request (as for `read.js`) COUNT
 * times. A recording or a sentence must come of each, in seconds; prints how many were read, and how many sentences.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { ReadError } from "../src/readers/base.js";
import { readRecording } from "../src/readers/registry.js";

const TOKENS = ["9".repeat(12), "-1", "\0", "e999", "<", "\n", ",", "\u00ff\u00ff\u00ff\u00ff", "NaN"].map((text) =>
  Buffer.from(text, "latin1"),
);
let seed = 1;
/** A number from 0 to 1; the same ones in every run. */
const random = () => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed / 2 ** 32;
};
const below = (count) => Math.floor(random() * count);

function damaged(bytes) {
  let content = Buffer.from(bytes);
  for (let edits = 1 + below(4); edits > 0; edits--) {
    const place = below(content.length + 1);
    const kind = below(5);
    if (kind === 0) content = content.subarray(0, place);
    else if (kind === 1 && place < content.length) content[place] = below(256);
    else {
      const token = kind === 2 ? Buffer.from([below(256), below(256)]) : TOKENS[below(TOKENS.length)];
      content = Buffer.concat([
        content.subarray(0, place),
        token,
        content.subarray(place + (kind === 3 ? 0 : token.length)),
      ]);
    }
  }
  return new Uint8Array(content);
}

const file = (path, bytes) => ({ name: basename(path), size: bytes.length, bytes });
const counts = { read: 0, sentences: 0 };
for (const { files, options } of JSON.parse(readFileSync(process.argv[2], "utf8"))) {
  const whole = files.map((path) => file(path, new Uint8Array(readFileSync(path))));
  for (let count = Number(process.argv[3]); count > 0; count--) {
    const which = below(whole.length);
    const given = whole.map((each, index) => (index === which ? file(each.name, damaged(each.bytes)) : each));
    const begin = performance.now();
    try {
      const { leads, signal, samplingRate } = readRecording(given, { leads: ["II"], ...options });
      assert.ok(samplingRate > 0 && samplingRate < Infinity);
      assert.equal(leads.length, signal.length);
      assert.equal(new Set(leads).size, leads.length);
      for (const row of signal) assert.ok(row.length === signal[0].length && row.length > 0 && !row.includes(Infinity));
      counts.read++;
    } catch (error) {
      if (!(error instanceof ReadError)) throw error;
      assert.match(error.message, /^[^\n]{10,600}[.]$/);
      counts.sentences++;
    }
    assert.ok(performance.now() - begin < 5000, `${files} took too long`);
  }
}
process.stdout.write(JSON.stringify(counts));
