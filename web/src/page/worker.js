/** The worker: opens the model, reads files, predicts windows, and replaces stretches; the page stays responsive. */

import { Model } from "../model/model.js";
import { labelsOf, pooled } from "../model/decision.js";
import { STEP, occlusion } from "../model/occlusion.js";
import { ReadError } from "../readers/base.js";
import { checkFiles, readRecording } from "../readers/registry.js";
import { implausibleAmplitude, impossibleSamples } from "../signal/quality.js";
import { processed } from "../signal/path.js";

const REPORT = 100; // milliseconds between two reports of progress
let model = null;
let current = 0; // number of the request that counts; others stop
let recording = null; // windows and probabilities of the last answer

/** Let messages come in; a timer would wait for milliseconds. */
const pause = () =>
  new Promise((done) => {
    const channel = new MessageChannel();
    channel.port1.onmessage = done;
    channel.port2.postMessage(null);
  });

const ACTIONS = {
  async open({ runtime, file }) {
    model = await Model.open(await inflated(runtime), await inflated(file));
    postMessage({ kind: "ready", metadata: model.metadata });
  },

  async read({ id, files, options }) {
    recording = null;
    checkFiles(files);
    const contents = await Promise.all(
      files.map(async (file) => ({
        name: file.name,
        size: file.size,
        bytes: new Uint8Array(await file.arrayBuffer()),
      })),
    );
    if (id !== current) return;
    const found = readRecording(contents, { ...options, leads: model.path.leads });
    const remarks = [implausibleAmplitude(found.signal), impossibleSamples(found.signal, found.leads)];
    const notes = [...found.notes, ...remarks.filter(Boolean)];
    postMessage({ kind: "recording", id, recording: { ...found, notes } });
    const cut = processed(model.path, found);
    const progress = reporter(id, cut.windows.length);
    const probability = [];
    for (const window of cut.windows) {
      probability.push(await model.predict(window));
      await pause();
      if (!progress()) return;
    }
    recording = { windows: cut.windows, probability };
    const whole = pooled(probability, model.metadata.recording);
    postMessage({ kind: "answer", id, start: cut.start, probability, pooled: whole, notes: cut.notes });
  },

  /** How much the probability of a label falls in some windows (indices) when a stretch is replaced. */
  async explain({ id, windows, label }) {
    if (!recording) return;
    const { column } = labelsOf(model.metadata)[label];
    const { windows: all, probability } = recording;
    const rate = model.path.samplingRate;
    const each = Math.ceil(model.path.window / STEP); // about as many stretches
    const progress = reporter(id, windows.length * each);
    const found = [];
    for (const index of windows) {
      const predict = async (...window) => {
        await pause();
        return model.run(...window);
      };
      const falls = await occlusion(all[index], probability[index], rate, predict, progress);
      if (falls === null) return;
      found.push(...falls.map(({ start, end, fall }) => ({ window: index, start, end, fall: fall[column] })));
    }
    postMessage({ kind: "explained", id, label, stretches: found });
  },
};

/** A function that counts a step, reports it now and then, and gives false when another request counts. */
function reporter(id, total) {
  let [done, last] = [0, performance.now()];
  return () => {
    done++;
    if (performance.now() - last > REPORT) {
      last = performance.now();
      postMessage({ kind: "progress", id, fraction: Math.min(1, done / total) });
    }
    return id === current;
  };
}

/** Bytes of a text in base64, unpacked from gzip. */
async function inflated(text) {
  const packed = Uint8Array.fromBase64
    ? Uint8Array.fromBase64(text)
    : Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

let queue = Promise.resolve();
onmessage = ({ data }) => {
  if (data.id) current = data.id;
  if (data.kind === "stop") return;
  queue = queue.then(async () => {
    if (data.id && data.id !== current) return;
    try {
      await ACTIONS[data.kind](data);
    } catch (error) {
      const known = error instanceof ReadError;
      const message = known
        ? error.message
        : data.kind === "open"
          ? `The model cannot be opened in this browser (${error.message ?? error}).`
          : `The recording cannot be read (${error.message ?? error}).`;
      postMessage({ kind: "failed", id: data.id ?? 0, of: data.kind, message, asks: known ? error.asks : [] });
    }
  });
};
