/** The answer for the recording, and the windows that it is made of. */

import { decided, labelsOf } from "../model/decision.js";
import { html, percent, seconds, svg } from "./dom.js";

const [WIDTH, HEIGHT] = [1000, 120]; // of the chart
const MOST_ROWS = 1000; // of the table of windows

/** The decision in words. */
export function headline(metadata, probability) {
  const labels = labelsOf(metadata);
  const found = decided(labels, probability);
  if (metadata.task === "binary") return `Class of the recording: ${found[0] ? labels[0].name : metadata.classes[0]}`;
  const names = labels.filter((_, index) => found[index]).map(({ name }) => name);
  if (metadata.task === "multiclass") return `Class of the recording: ${names[0]}`;
  return names.length
    ? `Labels of the recording: ${names.join(", ")}`
    : "No label of the recording reaches its threshold";
}

/** The label that is looked at first: decided for, with the largest probability. */
export function firstLabel(metadata, probability) {
  const labels = labelsOf(metadata);
  const found = decided(labels, probability);
  const rank = (index) => Number(found[index]) + probability[labels[index].column];
  return labels.reduce((best, _, index) => (rank(index) > rank(best) ? index : best), 0);
}

/** Rows of the table of labels: name, bar, probability, threshold, decision. */
export function labelRows(metadata, probability) {
  const labels = labelsOf(metadata);
  const found = decided(labels, probability);
  return labels.map(({ name, threshold, column }, index) => {
    const above = found[index];
    const word = threshold === null ? (above ? "largest" : "") : above ? "at or above" : "below";
    return html(
      "tr",
      { class: above ? "above" : "" },
      html("th", { scope: "row" }, name),
      html("td", { class: "bar" }, bar(probability[column], threshold)),
      html("td", { class: "number" }, percent(probability[column])),
      html("td", { class: "number" }, threshold === null ? "–" : Number(threshold.toPrecision(3)).toString()),
      html("td", { class: "decision" }, word),
    );
  });
}

function bar(value, threshold) {
  return svg(
    "svg",
    { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "track", width: 100, height: 10 }),
    svg("rect", { class: "fill", width: (100 * value).toFixed(2), height: 10 }),
    threshold === null ? null : svg("path", { class: "threshold", d: `M${100 * threshold} 0V10` }),
  );
}

/**
 * The probability of one label along the recording. start: seconds of each window; view: `[from, to]` that the sheet
 * shows; go: called with the second that is clicked.
 */
export function chart(label, { start, probability }, windowSeconds, total, view, go) {
  const x = (second) => (second / total) * WIDTH;
  const y = (value) => HEIGHT - 4 - value * (HEIGHT - 8);
  const bars = start.map((from, index) => {
    const value = probability[index][label.column];
    const above = label.threshold !== null && value >= label.threshold;
    const [left, right] = [x(from), x(Math.min(total, from + windowSeconds))];
    return svg("path", {
      class: above ? "level above" : "level",
      d: `M${left.toFixed(2)} ${y(value).toFixed(2)}H${right.toFixed(2)}`,
    });
  });
  const drawing = svg(
    "svg",
    {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: "none",
      class: "chart",
      role: "img",
      "aria-label": `Probability of ${label.name} in ${start.length} windows of ${seconds(windowSeconds)}; the table of windows lists them`,
    },
    svg("rect", { class: "track", width: WIDTH, height: HEIGHT }),
    svg("rect", { class: "view", x: x(view[0]), width: Math.max(4, x(view[1]) - x(view[0])), height: HEIGHT }),
    label.threshold === null ? null : svg("path", { class: "threshold", d: `M0 ${y(label.threshold)}H${WIDTH}` }),
    bars,
  );
  drawing.addEventListener("click", (event) => {
    const box = drawing.getBoundingClientRect();
    go(((event.clientX - box.left) / box.width) * total);
  });
  return drawing;
}

/** The table of windows: head and rows. */
export function windowTable(metadata, { start, probability }, windowSeconds) {
  const labels = labelsOf(metadata);
  const rows = start.slice(0, MOST_ROWS).map((from, index) => {
    const found = decided(labels, probability[index]);
    return html(
      "tr",
      {},
      html("th", { scope: "row" }, `${seconds(from)} to ${seconds(from + windowSeconds)}`),
      labels.map(({ column }, each) =>
        html(
          "td",
          { class: found[each] ? "number above" : "number" },
          `${percent(probability[index][column])}${found[each] ? " ●" : ""}`,
        ),
      ),
    );
  });
  const head = html(
    "tr",
    {},
    html("th", { scope: "col" }, "Window"),
    labels.map(({ name }) => html("th", { scope: "col", class: "number" }, name)),
  );
  const caption = start.length > MOST_ROWS ? `The first ${MOST_ROWS} of ${start.length} windows; ` : "";
  return html(
    "table",
    {},
    html("caption", {}, `${caption}● marks a decision for the label.`),
    html("thead", {}, head),
    html("tbody", {}, rows),
  );
}

/** What the stretches say about a label: where its probability falls most, as a sentence. */
export function stretchSentence(name, probability, stretches, startOf) {
  const most = stretches.reduce((best, each) => (each.fall > best.fall ? each : best));
  if (!(most.fall > 0.005))
    return `No stretch of 0.8 s alone drives ${name}: without any one of them the probability falls by less than 0.005.`;
  const before = probability[most.window];
  const [from, to] = [startOf(most.window) + most.start, startOf(most.window) + most.end];
  return `${seconds(from)} to ${seconds(to)} drives ${name} most: with a straight line in its place the probability is ${percent(Math.max(0, before - most.fall))} instead of ${percent(before)}.`;
}
