/**
 * Read recordings as the page does: `node read.js REQUESTS.json` prints one line of JSON for each request
 * `{files: [path], options, metadata}`; with metadata of an exported file, also the windows of the model, and what the
 * steps in its preprocessing make of them. Samples are float32 in base64.
 */

import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { ReadError } from "../src/readers/base.js";
import { readRecording } from "../src/readers/registry.js";
import { content, processed, signalPath } from "../src/signal/path.js";
import { runSteps } from "../src/signal/steps.js";

const packed = (values) => Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString("base64");

function answer({ files, options = {}, metadata }) {
  const given = files.map((path) => {
    const bytes = new Uint8Array(readFileSync(path));
    return { name: basename(path), size: bytes.length, bytes };
  });
  try {
    const found = readRecording(given, { leads: metadata?.input.leads, ...options });
    const result = {
      leads: found.leads,
      rate: found.samplingRate,
      notes: found.notes,
      signal: found.signal.map(packed),
    };
    if (!metadata) return result;
    const path = signalPath(metadata);
    const { windows, start, notes } = processed(path, found);
    const steps = metadata.preprocessing?.steps ?? [];
    const prepared = (window) => {
      const rows = window.rows.map((row) => Float64Array.from(row.subarray(window.from, window.from + window.samples)));
      return Float32Array.from(runSteps(steps, rows, path.samplingRate).flatMap((row) => [...row]));
    };
    const contents = windows.map(steps.length ? prepared : content);
    return { ...result, windows: contents.map(packed), start, pathNotes: notes };
  } catch (error) {
    if (!(error instanceof ReadError)) throw error;
    return { error: error.message, asks: error.asks };
  }
}

for (const request of JSON.parse(readFileSync(process.argv[2], "utf8"))) {
  process.stdout.write(`${JSON.stringify(answer(request))}\n`);
}
