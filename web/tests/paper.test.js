import assert from "node:assert/strict";
import { test } from "node:test";
import { measured } from "../src/page/caliper.js";
import { LEFT, lanesOf, layoutsOf, rangeOf, stripsOf, tracePath } from "../src/page/paper.js";

const TWELVE = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"];
const ranges = Object.fromEntries(TWELVE.map((lead) => [lead, [0.5, 1]]));

test("layouts follow from the leads", () => {
  assert.deepEqual(layoutsOf(TWELVE)[0], ["twelve", "3 × 4 and rhythm strip"]);
  assert.deepEqual(layoutsOf(["II"]), [["lead:II", "Lead II"]]);
  assert.equal(layoutsOf(["I", "II"])[0][0], "rows");
});

test("3 x 4 shows 2.5 s of each lead, one after the other, and a rhythm strip", () => {
  const { strips, height } = stripsOf("twelve", TWELVE, ranges);
  assert.equal(strips.length, 13);
  assert.deepEqual(
    strips.filter(({ lead }) => lead === "V1").map(({ from, to }) => [from, to]),
    [[5, 7.5]],
  );
  assert.deepEqual(strips.at(-1), { ...strips.at(-1), lead: "II", from: 0, to: 10 });
  assert.ok(strips.every(({ y }) => y > 0 && y < height));
});

test("a second is 25 mm and a millivolt 10 mm", () => {
  const row = Float32Array.from([0, 1, 0, NaN, 0.5, 0]);
  const path = tracePath(row, 2, 0, { from: 0, to: 10, y: 50 }, 0);
  const points = [...path.matchAll(/([ML])([\d.]+) ([\d.]+)/g)].map(([, pen, x, y]) => [
    pen,
    Number(x) - LEFT,
    Number(y),
  ]);
  assert.deepEqual(points, [
    ["M", 0, 50],
    ["L", 12.5, 40],
    ["L", 25, 50],
    ["M", 50, 45],
    ["L", 62.5, 50],
  ]);
  assert.equal(
    measured([
      [LEFT, 20],
      [LEFT + 25, 30],
    ]),
    "1000 ms, 1.00 mV, as an interval between beats 60 per minute",
  );
  assert.equal(
    measured([
      [LEFT, 20],
      [LEFT + 1, 20],
    ]),
    "40 ms, 0.00 mV",
  );
});

test("long recordings keep their peaks with few points", () => {
  const row = new Float32Array(1_000_000);
  row[500_123] = 2;
  const path = tracePath(row, 100_000, 0, { from: 0, to: 10, y: 50 }, 0);
  assert.ok(path.includes(" 30.00") && path.length < 400_000);
  const { middle, range } = rangeOf(Float32Array.from({ length: 100_000 }, (_, index) => 1 + Math.sin(index)));
  assert.ok(Math.abs(middle - 1) < 0.02 && Math.abs(range[0] - 1) < 0.02);
});

test("windows that overlap lie in lanes", () => {
  assert.equal(lanesOf(10, 10), 1);
  assert.equal(lanesOf(10, 4), 3);
  assert.equal(lanesOf(10, 1), 0);
});
