/** Which stretch of a window drove a label: each stretch is replaced by a straight line and the window predicted again. */

import { content } from "../signal/path.js";

export const STRETCH = 0.8; // seconds that are replaced: about one beat
export const STEP = 0.4; // seconds from one stretch to the next
const STRONG = 0.1; // a fall that is drawn at full strength, where none is larger

/** Starts of the stretches in a window of `seconds`. */
export function stretches(seconds) {
  const length = Math.min(STRETCH, seconds);
  const count = Math.max(1, Math.floor((seconds - length) / STEP + 1e-9) + 1);
  return { length, starts: Array.from({ length: count }, (_, index) => index * STEP) };
}

/** A window's samples in which all leads are a straight line from `from` to `to` (samples). */
export function occluded(window, from, to) {
  const values = content(window);
  const { samples } = window;
  for (let lead = 0; lead < window.rows.length; lead++) {
    const row = values.subarray(lead * samples, (lead + 1) * samples);
    const [left, right] = [row[Math.max(from - 1, 0)], row[Math.min(to, samples - 1)]];
    for (let index = from; index < to; index++)
      row[index] = left + ((right - left) * (index - from + 1)) / (to - from + 1);
  }
  return values;
}

/**
 * How much the probabilities (an array for each stretch) fall when a stretch is replaced.
 * predict: (values, samples) -> probabilities. progress: called after each stretch; gives false to stop, for null.
 */
export async function occlusion(window, probability, rate, predict, progress) {
  const { length, starts } = stretches(window.samples / rate);
  const found = [];
  for (const start of starts) {
    const [from, to] = [Math.round(start * rate), Math.min(window.samples, Math.round((start + length) * rate))];
    const without = await predict(occluded(window, from, to), window.samples);
    found.push({ start, end: start + length, fall: probability.map((value, column) => value - without[column]) });
    if (!progress()) return null;
  }
  return found;
}

/**
 * Parts of the time axis that do not overlap, `{start, end, strength}`: the mean fall of the stretches over each, from 0
 * to 1. stretches: `{start, end, fall}` in seconds.
 */
export function strengths(stretches) {
  const edges = [...new Set(stretches.flatMap(({ start, end }) => [start, end].map((each) => each.toFixed(6))))]
    .map(Number)
    .sort((a, b) => a - b);
  const parts = edges.slice(1).flatMap((end, index) => {
    const start = edges[index];
    const over = stretches.filter((each) => each.start < end - 1e-6 && each.end > start + 1e-6);
    return over.length ? [{ start, end, fall: over.reduce((sum, { fall }) => sum + fall, 0) / over.length }] : [];
  });
  const most = Math.max(STRONG, ...parts.map(({ fall }) => fall));
  return parts.filter(({ fall }) => fall > 0).map(({ start, end, fall }) => ({ start, end, strength: fall / most }));
}
