/** Probabilities into decisions, and windows into a recording, as `ecgtune.evaluation`. */

/**
 * Per label of the answer its name, threshold (null for several classes, of which the largest decides) and the column
 * of its probability. Of two classes, the second one is reported.
 */
export function labelsOf({ task, classes, decision }) {
  if (task === "binary") return [{ name: classes[1], threshold: decision.value, rule: decision.rule, column: 1 }];
  if (task === "multiclass") return classes.map((name, column) => ({ name, threshold: null, rule: "argmax", column }));
  return classes.map((name, column) => ({
    name,
    threshold: decision.labels[name].value,
    rule: decision.labels[name].rule,
    column,
  }));
}

/** The probability of the recording by those of its windows, (windows, classes). */
export function pooled(probability, rule) {
  return probability[0].map((_, column) => {
    const values = probability.map((row) => row[column]);
    if (rule === "maximum") return values.reduce((most, value) => Math.max(most, value), 0);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return Math.min(1, Math.max(0, mean)); // rounding can move the mean out of 0 to 1
  });
}

/** Whether each label is decided for, by the probabilities of all classes. */
export function decided(labels, probability) {
  const largest = probability.reduce((best, value, column) => (value > probability[best] ? column : best), 0);
  return labels.map(({ threshold, column }) =>
    threshold === null ? column === largest : probability[column] >= threshold,
  );
}
