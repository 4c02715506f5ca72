/** The model's facts and its verification, for the foot of the page. */

import { labelsOf } from "../model/decision.js";
import { html, seconds } from "./dom.js";

const RULES = {
  fixed: "fixed",
  f1: "largest F1 on validation",
  youden: "largest recall + specificity on validation",
  argmax: "the largest probability decides",
  unfitted: "not fitted",
  mean: "mean of several runs",
};
const small = (value) =>
  value === 0
    ? "0"
    : Number(value) < 1e-3
      ? Number(value).toExponential(1)
      : Number(Number(value).toPrecision(3)).toString();

/** Pairs of a term and its text. */
export function facts(metadata) {
  const { input, versions } = metadata;
  const members = metadata.members ?? [metadata];
  const each = (text) => [...new Set(members.map(text).filter(Boolean))];
  const licence = each(({ encoder }) => [encoder.licence, encoder.terms].filter(Boolean).join("; "));
  const format = metadata.format_of_weights === metadata.precision ? "" : ` (${metadata.format_of_weights})`;
  const labels = labelsOf(metadata).map(({ name, threshold, rule }) =>
    threshold === null
      ? name
      : `${name} (threshold ${small(threshold)}, ${RULES[rule] ?? rule.replace("sensitivity:", "recall of at least ")})`,
  );
  return [
    ["Labels", labels.join(", ")],
    ["Reads", `${input.leads.join(", ")}; windows of ${seconds(metadata.window)} every ${seconds(metadata.step)}`],
    [
      "Recording",
      metadata.recording === "maximum" ? "largest probability of its windows" : "mean probability of its windows",
    ],
    ["Model", `${each(({ run }) => run.model).join(", ")}, ${metadata.precision}${format}`],
    ...(members.length > 1 ? [["Probabilities", `mean of ${members.length} trained models`]] : []),
    ["Method", each(({ run }) => run.method).join(", ")],
    ["Weights", each(({ run }) => run.weights).join("; ")],
    ["Calibration", each((member) => calibration(member.calibration)).join("; ")],
    ...(licence.length ? [["Licence of the encoder", licence.join("; ")]] : []),
    [
      "Run",
      members.map(({ run }) => `${run.name}, seed ${run.seed}, sha256 ${run.sha256.slice(0, 16)}…`).join("; "),
    ],
    [
      "Versions",
      Object.entries(versions)
        .map(([name, version]) => `${name} ${version}`)
        .join(", "),
    ],
    ...testResults(members),
  ];
}

/** How the probabilities were calibrated. */
function calibration(found) {
  const kinds = [...new Set((found?.maps ?? []).map(({ kind }) => kind))].filter((kind) => kind !== "none");
  return kinds.length ? `${kinds.join(", ")}, fitted on validation` : "none";
}

/** The lines of the summary of each run on its test metrics. */
function testResults(members) {
  const tests = members.map(({ run, summary }) => {
    const lines = (summary ?? "").split("\n").filter((line) => line.startsWith("test "));
    const text = lines.map((line) => line.slice(5)).join("; ");
    return members.length > 1 ? `${run.name}: ${text}` : text;
  });
  const term = members.length > 1 ? "Test of each run" : "Test of the run";
  return tests.some((text) => text) ? [[term, tests.join(". ")]] : [];
}

/** The verification of the export: a sentence and a table; nothing where the file has none. */
export function verification({ verification }) {
  if (!verification) return [];
  const rows = Object.entries(verification.kernels).flatMap(([kernel, found]) =>
    [found, found.recordings].filter(Boolean).map((each) => ({ kernel, ...each })),
  );
  const several = Object.keys(verification.kernels).length > 1;
  const cells = ({ kernel, of, count, largest_difference, changed_decisions, auroc }) => [
    `${count} ${of}${several ? `, ${kernel} kernels` : ""}`,
    small(largest_difference),
    String(changed_decisions),
    auroc ? `${auroc.before.toFixed(4)} / ${auroc.after.toFixed(4)}` : "–",
  ];
  const heads = ["Compared", "Largest difference", "Changed decisions", "AUROC before / after"];
  const sentence = `The exported model was compared with the trained one on ${verification.windows} (${verification.runtime}, ${verification.processor}).`;
  const table = html(
    "table",
    {},
    html(
      "thead",
      {},
      html(
        "tr",
        {},
        heads.map((text, index) => html("th", { scope: "col", class: index ? "number" : "" }, text)),
      ),
    ),
    html(
      "tbody",
      {},
      rows.map((row) =>
        html(
          "tr",
          {},
          cells(row).map((text, index) =>
            html(index ? "td" : "th", index ? { class: "number" } : { scope: "row" }, text),
          ),
        ),
      ),
    ),
  );
  return [
    html("p", {}, sentence),
    html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Verification" }, table),
  ];
}
