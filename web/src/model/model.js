/** The exported model in WebAssembly: windows to probabilities. */

import * as ort from "onnxruntime-web/wasm";
import { ReadError } from "../readers/base.js";
import { resample } from "../signal/resample.js";
import { content, signalPath } from "../signal/path.js";
import { readExported } from "./exported.js";

const [INPUT, OUTPUT] = ["signal", "probability"];

export class Model {
  /** wasm: the runtime's WebAssembly, file: the exported file; both as Uint8Array. */
  static async open(wasm, file) {
    const metadata = await readExported(file);
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
    const { input } = this.metadata;
    const leads = input.leads.length;
    let given = values;
    if (input.sampling_rate !== this.path.samplingRate) {
      const rows = input.leads.map((_, lead) =>
        resample(Float64Array.from(values.subarray(lead * samples, (lead + 1) * samples)), this.path.samplingRate, input.sampling_rate),
      );
      given = new Float32Array(leads * rows[0].length);
      rows.forEach((row, lead) => given.set(row, lead * row.length));
    }
    const tensor = new ort.Tensor("float32", given, [1, leads, given.length / leads]);
    try {
      const found = await this.session.run({ [INPUT]: tensor });
      return Array.from(found[OUTPUT].data);
    } catch (error) {
      throw new ReadError(`The model cannot predict a window of ${samples} samples (${String(error.message ?? error).slice(0, 120)}).`);
    }
  }
}
