import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { decided, labelsOf, pooled } from "../src/model/decision.js";
import { readExported } from "../src/model/exported.js";
import { facts } from "../src/page/facts.js";
import { occluded, occlusion, strengths, stretches } from "../src/model/occlusion.js";

const field = (number, content) => Buffer.concat([Buffer.from([(number << 3) | 2]), varint(content.length), content]);
const entry = (key, value) => field(14, Buffer.concat([field(1, Buffer.from(key)), field(2, Buffer.from(value))]));
function varint(value) {
  const bytes = [];
  for (; value >= 0x80; value = Math.floor(value / 128)) bytes.push((value & 0x7f) | 0x80);
  return Buffer.from([...bytes, value]);
}
function sealed(metadata) {
  const body = Buffer.concat([
    Buffer.from([8, 8]),
    field(7, Buffer.alloc(300)),
    entry("ecgtune", JSON.stringify(metadata)),
  ]);
  return new Uint8Array(
    Buffer.concat([body, entry("ecgtune_sha256", createHash("sha256").update(body).digest("hex"))]),
  );
}

test("metadata come with the checksum of the file", async () => {
  const file = sealed({ format: 1, classes: ["N", "AF"] });
  assert.deepEqual((await readExported(file)).classes, ["N", "AF"]);
  for (const place of [0, 200, file.length - 80]) {
    const changed = Uint8Array.from(file);
    changed[place] ^= 1;
    await assert.rejects(readExported(changed), /./);
  }
  await assert.rejects(readExported(file.subarray(0, 250)), /not the one that was exported/);
  await assert.rejects(readExported(sealed({ format: 2 })), /format 2; this page reads format 1/);
});

test("labels, thresholds and recordings are those of the run", () => {
  const binary = labelsOf({ task: "binary", classes: ["N", "AF"], decision: { value: 0.3, rule: "f1" } });
  assert.deepEqual(binary, [{ name: "AF", threshold: 0.3, rule: "f1", column: 1 }]);
  assert.deepEqual(decided(binary, [0.7, 0.3]), [true]);
  const several = labelsOf({ task: "multiclass", classes: ["a", "b", "c"], decision: { rule: "argmax" } });
  assert.deepEqual(decided(several, [0.2, 0.5, 0.3]), [false, true, false]);
  const threshold = (value) => ({ value, rule: "fixed" });
  const labels = labelsOf({
    task: "multilabel",
    classes: ["a", "b"],
    decision: { labels: { a: threshold(0.5), b: threshold(0.1) } },
  });
  assert.deepEqual(decided(labels, [0.4, 0.2]), [false, true]);
  assert.deepEqual(
    pooled(
      [
        [0.2, 0.8],
        [0.4, 0.6],
      ],
      "maximum",
    ),
    [0.4, 0.8],
  );
  assert.ok(
    Math.abs(
      pooled(
        [
          [0.2, 0.8],
          [0.4, 0.6],
        ],
        "mean",
      )[0] - 0.3,
    ) < 1e-12,
  );
});

test("the stretch that a model looks at is found", async () => {
  const row = new Float32Array(400);
  row.fill(1, 200, 220); // 2.0 to 2.2 s at 100 Hz
  const window = { rows: [row], from: 0, samples: 400 };
  const predict = async (values) => [values.reduce((sum, value) => sum + value, 0) / 20];
  let steps = 0;
  const found = await occlusion(window, [1], 100, predict, () => ++steps > 0);
  const most = found.reduce((best, each) => (each.fall[0] > best.fall[0] ? each : best));
  assert.ok(most.start <= 2 && most.end >= 2.2 && most.fall[0] > 0.99);
  assert.equal(steps, stretches(4).starts.length);
  assert.equal(await occlusion(window, [1], 100, predict, () => false), null);
  const parts = strengths(found.map(({ start, end, fall }) => ({ start, end, fall: fall[0] })));
  for (let index = 1; index < parts.length; index++) assert.ok(parts[index].start >= parts[index - 1].end - 1e-9);
  assert.ok(parts.some(({ start, end, strength }) => start <= 2 && end > 2 && strength === 1));
});

test("a stretch becomes a straight line between its neighbours in all leads", () => {
  const rows = [
    Float32Array.from({ length: 10 }, (_, index) => index * index),
    Float32Array.from({ length: 10 }, (_, index) => index),
  ];
  const values = occluded({ rows, from: 0, samples: 10 }, 2, 5);
  assert.deepEqual([...values.subarray(0, 6)], [0, 1, 7, 13, 19, 25]);
  assert.deepEqual([...values.subarray(10)], [...rows[1]]);
});

test("the facts of an ensemble are those of its runs", () => {
  const member = (method, kind, licence) => ({
    run: { name: method, seed: 0, sha256: "0".repeat(64), model: "tiny", method, weights: "shipped" },
    encoder: { licence },
    calibration: { maps: [{ kind }] },
    summary: `weights: shipped\ntest auroc: 0.${method.length}`,
  });
  const one = {
    ...member("probe", "none", "MIT"),
    task: "binary",
    classes: ["N", "AF"],
    decision: { value: 0.5, rule: "mean" },
    input: { leads: ["II"] },
    window: 6,
    step: 6,
    precision: "float32",
    format_of_weights: "float32",
    versions: {},
  };
  const found = (metadata) => Object.fromEntries(facts(metadata));
  assert.equal(found(one).Probabilities, undefined);
  assert.equal(found(one).Method, "probe");
  const both = found({ ...one, members: [one, member("lora", "temperature", "MIT")] });
  assert.equal(both.Probabilities, "mean of 2 trained models");
  assert.equal(both.Method, "probe, lora");
  assert.equal(both.Calibration, "none; temperature, fitted on validation");
  assert.equal(both["Licence of the encoder"], "MIT");
  assert.equal(found(one)["Test of the run"], "auroc: 0.5");
  assert.equal(both["Test of each run"], "probe: auroc: 0.5. lora: auroc: 0.4");
  assert.match(both.Run, /^probe, seed 0.*; lora, seed 0/);
});
