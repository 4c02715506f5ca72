/** A column of times in a CSV recording, compared with the stated sampling rate. */

import { NUMBER, ReadError, short, shown } from "./base.js";

const TIME = /^\W*(elapsed[ _])?(time|seconds|t\b)/i;
const UNITS = { ms: /(?<![a-z])(ms|msec|milliseconds?)(?![a-z])/i, s: /(?<![a-z])(s|secs?|seconds?)(?![a-z])/i };
const PER_SECOND = { s: 1, ms: 1e3 };
const TOLERANCE = 0.02; // of the rate: times are rounded

/** Refuses a rate (Hz) that the times contradict. rows: cells of the first rows; leads: columns that are leads. */
export function checkTimes(rows, names, leads, dialect, rate) {
  const column = names.findIndex((name, index) => name && !leads.has(index) && TIME.test(name));
  if (column < 0) return;
  const step = stepOf(rows.map((cells) => (cells[column] ?? "").replace(dialect.decimal, ".")));
  const unit = Object.keys(UNITS).find((each) => UNITS[each].test(names[column]));
  if (step === null || (!unit && step === 1)) return;
  const possible = (unit ? [unit] : ["s", "ms"]).map((each) => [each, PER_SECOND[each] / step]);
  if (possible.some(([, found]) => Math.abs(found / rate - 1) < TOLERANCE)) return;
  const likely = possible.filter(([, found]) => found >= 20 && found <= 20000);
  const means = (likely.length ? likely : possible)
    .map(([each, found]) => `${Number(found.toPrecision(3))} Hz (times in ${each})`)
    .join(" or ");
  throw new ReadError(
    `The column ${shown(names[column])} rises by ${short(step)} a sample, which means ${means}, but ${short(rate)} Hz is stated.`,
    ["rate"],
  );
}

/** The mean step of the first times; null unless they are numbers that rise evenly. */
function stepOf(cells) {
  if (!cells.every((cell) => NUMBER.test(cell))) return null;
  const steps = cells.slice(1).map((cell, index) => Number(cell) - Number(cells[index]));
  if (steps.length < 2) return null;
  const sorted = [...steps].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  const mean = steps.reduce((sum, each) => sum + each, 0) / steps.length;
  return sorted[0] < 0 || mean <= 0 || sorted.at(-1) > 3 * median ? null : mean;
}
