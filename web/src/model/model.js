/** The exported model in WebAssembly: windows to probabilities. */

import * as ort from "onnxruntime-web/wasm";
import { ReadError } from "../readers/base.js";
import { resample } from "../signal/resample.js";
import { content, signalPath } from "../signal/path.js";
import { STEPS, runSteps } from "../signal/steps.js";
import { readExported } from "./exported.js";

const [INPUT, OUTPUT] = ["signal", "probability"];

export class Model {
  /** wasm: the runtime's WebAssembly, file: the exported file; both as Uint8Array. */
  static async open(wasm, file) {
    const metadata = await readExported(file);
    const unknown = (metadata.preprocessing.steps ?? []).find(({ step }) => !Object.hasOwn(STEPS, step));
    if (unknown)
      throw new ReadError(
        `The model prepares windows by ${unknown.step}, which this page does not know: write the page again with the version that exported it.`,
      );
    ort.env.wasm.wasmBinary = wasm;
    ort.env.wasm.numThreads = 1; // several threads need a server's headers
    ort.env.wasm.proxy = false;
    ort.env.logLevel = "error";
    const session = await ort.InferenceSession.create(file, { executionProviders: ["wasm"] });
    return new Model(metadata, session);
  }

  constructor(metadata, session) {
    this.metadata = metadata;
    this.session = session;
    this.path = signalPath(metadata);
  }

  /** Probabilities of one window of `processed`, a number for each class. */
  async predict(window) {
    return this.run(content(window), window.samples);
  }

  /** The same of values at the rate of the windows, leads one after the other. */
  async run(values, samples) {
    const leads = this.metadata.input.leads.length;
    const given = this.prepared(values, samples);
    const tensor = new ort.Tensor("float32", given, [1, leads, given.length / leads]);
    try {
      const found = await this.session.run({ [INPUT]: tensor });
      return Array.from(found[OUTPUT].data);
    } catch (error) {
      throw new ReadError(
        `The model cannot predict a window of ${samples} samples (${String(error.message ?? error).slice(0, 120)}).`,
      );
    }
  }

  /** The input of the graph: behind the steps of the encoder's preset, or at the graph's rate. */
  prepared(values, samples) {
    const { input, preprocessing } = this.metadata;
    const steps = preprocessing.steps ?? [];
    const rate = this.path.samplingRate;
    if (!steps.length && input.sampling_rate === rate) return values;
    const rows = input.leads.map((_, lead) => Float64Array.from(values.subarray(lead * samples, (lead + 1) * samples)));
    const made = steps.length
      ? runSteps(steps, rows, rate)
      : rows.map((row) => resample(row, rate, input.sampling_rate));
    const given = new Float32Array(made.length * made[0].length);
    made.forEach((row, lead) => given.set(row, lead * row.length));
    return given;
  }
}
