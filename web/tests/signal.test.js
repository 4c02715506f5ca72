import assert from "node:assert/strict";
import { test } from "node:test";
import { resample, resamplingRatio, zscore } from "../src/signal/resample.js";
import { bandPass } from "../src/signal/filters.js";
import { resampledByTransform } from "../src/signal/fourier.js";
import { betweenGaps, fillGaps, implausibleAmplitude, impossibleSamples, saturated } from "../src/signal/quality.js";
import { content, processed, signalPath } from "../src/signal/path.js";

const sine = (count, rate, hertz) =>
  Float32Array.from({ length: count }, (_, index) => Math.sin((2 * Math.PI * hertz * index) / rate));
const close = (found, expected, tolerance) =>
  expected.forEach((value, index) =>
    assert.ok(Math.abs(found[index] - value) <= tolerance, `${index}: ${found[index]} ${value}`),
  );
const metadata = (changes = {}) => ({
  input: { leads: ["I"], sampling_rate: 100 },
  data: {
    sampling_rate: 100,
    samples: 200,
    signal_path: {
      resampling: "polyphase",
      step: null,
      short: "repeat",
      band: null,
      mains: null,
      longest_gap: 0.1,
      zscore: false,
      ...changes,
    },
  },
});

test("ratios of rates have terms of at most 10,000", () => {
  assert.deepEqual(resamplingRatio(360, 500), { up: 25, down: 18 });
  assert.deepEqual(resamplingRatio(300, 100), { up: 1, down: 3 });
  assert.deepEqual(resamplingRatio(1000 / 3, 500), { up: 3, down: 2 });
  assert.throws(() => resamplingRatio(0.001, 500), /cannot be changed from 0.001 to 500 Hz/);
});

test("a slow sine keeps its shape at another rate", () => {
  for (const [from, to] of [
    [500, 100],
    [100, 360],
    [360, 250],
  ]) {
    const found = resample(sine(10 * from, from, 3), from, to);
    assert.equal(found.length, 10 * to);
    close(found.slice(to, 9 * to), sine(10 * to, to, 3).slice(to, 9 * to), 2e-3);
  }
  close(resampledByTransform(sine(500, 500, 3), 123), sine(123, 123, 3), 1e-6);
});

test("a band keeps what lies in it", () => {
  const kept = bandPass(sine(4000, 500, 10), 500, 0.5, 40);
  close(kept.slice(1000, 3000), sine(4000, 500, 10).slice(1000, 3000), 0.02);
  assert.ok(Math.max(...bandPass(sine(4000, 500, 120), 500, null, 40).slice(1000, 3000)) < 0.01);
});

test("a constant has a z-score of 0", () => {
  assert.deepEqual([...zscore(Float64Array.of(3, 3, 3))], [0, 0, 0]);
  close(zscore(Float64Array.of(1, 2, 3)), [-Math.sqrt(1.5), 0, Math.sqrt(1.5)], 1e-12);
});

test("gaps are closed, or divide a recording", () => {
  const row = Float32Array.of(NaN, 1, NaN, 3, 4, NaN);
  assert.deepEqual([...fillGaps([row], ["I"], 10, 0.1).filled[0]], [1, 1, 2, 3, 4, 4]);
  assert.throws(() => fillGaps([row], ["I"], 10, 0.01), /Lead I has a gap of 0.10 s at 0.00 s/);
  assert.deepEqual(betweenGaps([row], 10, 0.05), [
    [1, 2],
    [3, 5],
  ]);
});

test("recorders that cut a lead off, and wrong units, are noticed", () => {
  const cut = sine(1000, 100, 1).map((value) => Math.min(0.5, value));
  assert.ok(saturated(cut, 100));
  assert.ok(!saturated(sine(1000, 100, 1), 100));
  assert.match(implausibleAmplitude([sine(1000, 100, 1).map((value) => 1000 * value)]), /above 20 mV/);
  assert.equal(implausibleAmplitude([sine(1000, 100, 1)]), null);
  assert.match(
    impossibleSamples([Float32Array.of(0, NaN), Float32Array.of(NaN, -1001)], ["I", "V2"]),
    /^Lead V2 has samples beyond 1 V/,
  );
});

test("windows start every step, and a short recording is repeated", () => {
  const recording = (seconds) => ({ leads: ["I"], signal: [sine(100 * seconds, 100, 1.3)], samplingRate: 100 });
  assert.deepEqual(processed(signalPath(metadata({ step: 0.5 })), recording(3.2)).start, [0, 0.5, 1]);
  const short = processed(signalPath(metadata()), recording(1.5));
  const values = content(short.windows[0]);
  assert.equal(values.length, 200);
  assert.equal(values[150], values[0]);
  assert.match(short.notes[0], /lasts 1.5 s and was repeated to fill a window of 2 s/);
  assert.throws(
    () => processed(signalPath(metadata()), recording(0.9)),
    /lasts 0.9 s; the model needs 2 s, at least half of one \(1 s\)/,
  );
  assert.throws(() => processed(signalPath(metadata({ short: "refuse" })), recording(1.5)), /the model needs 2 s\.$/);
});

test("a lead that was not recorded is derived from I and II, or refused", () => {
  const path = { ...signalPath(metadata()), leads: ["aVF"] };
  const recording = { leads: ["I", "II"], signal: [sine(200, 100, 1), sine(200, 100, 2)], samplingRate: 100 };
  const { windows, notes } = processed(path, recording);
  close(
    content(windows[0]),
    recording.signal[1].map((value, index) => value - recording.signal[0][index] / 2),
    1e-6,
  );
  assert.deepEqual(notes, ["Lead aVF was derived from I and II."]);
  assert.throws(
    () => processed({ ...path, leads: ["V1"] }, recording),
    /has no lead V1, only I, II; the model needs V1/,
  );
});
