"""A run on two data sets: metrics on each, differences with intervals, and operating points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.tasks import decided
from ecgtune.errors import DataError
from ecgtune.evaluation.calibration.measures import calibration_measures
from ecgtune.evaluation.decision import Decision, choose_threshold
from ecgtune.evaluation.evaluate import plain
from ecgtune.evaluation.groups import Pooled, group_index, group_predictions
from ecgtune.evaluation.intervals import interval, percentile_interval, resampled_counts
from ecgtune.evaluation.scorer import Key, make_scorer


@dataclass(frozen=True, eq=False)
class Measured:
    """Predictions of a run for one data set, per window or per recording: label and probability as in `evaluate`.

    group: `(windows,)`, the unit of intervals; None for windows alone.
    """

    label: NDArray
    probability: NDArray
    group: NDArray | None

    def per_recording(self, recording: NDArray | None, pooled: Pooled) -> Measured | str:
        """Return one prediction per recording, or the reason why there is none."""
        unit = self.group if recording is None else recording
        found = group_predictions(self.label, self.probability, unit, pooled=pooled)
        if isinstance(found, str):
            return found
        owners = None if recording is None else found.owners(recording, self.group)
        return Measured(found.label, found.probability, owners)

    def select(self, rows: NDArray) -> Measured:
        """Return these rows (indices or a mask)."""
        return Measured(self.label[rows], self.probability[rows], None if self.group is None else self.group[rows])


def scored(
    data: Measured,
    decision: Decision,
    classes: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
    means: Sequence[str] | None = None,
) -> tuple[dict[Key, dict[str, Any]], dict[Key, NDArray]]:
    """Return each metric with its interval, and its values on resamples of the groups `(resamples,)`.

    means: the classes or labels that means are over; all that are present when None.
    """
    scorer = make_scorer(data.label, data.probability, decision, classes, each=True)
    if means is not None:
        scorer = replace(scorer, means=tuple(classes.index(name) for name in means))
    index = group_index(data.group, len(scorer.label))[1]
    chunks: dict[Key, list[NDArray]] = {}
    for counts in resampled_counts(int(index.max()) + 1, len(index), resamples, seed):
        for name, values in scorer(counts[:, index]).items():
            chunks.setdefault(name, []).append(values)
    draws = {name: np.concatenate(each) for name, each in chunks.items()}
    entries = {}
    for name, value in scorer.values().items():
        trials = None if scorer.constant else scorer.trials(name, index)
        found = interval(name, value, draws[name], trials, 0.95, constant=scorer.constant)
        entries[name] = plain({"value": value, **found})
    return entries, draws


def compare_data(
    internal: Measured | None,
    external: Measured,
    decision: Decision,
    classes: Sequence[str],
    moved: Decision | None = None,
) -> dict[str, Any]:
    """Measure a run on its own test data and on others.

    Returns `{"classes", "metrics": {name: {"internal", "external", "difference"}}, "labels": {label: the same}}`, each
    with value and interval. Means of both sides are over the same classes or labels: those that both data sets have
    with and without them. The difference is external minus internal, of independent resamples of both. internal: None
    where the predictions of the run's test data are not known. moved: the decision of the external side, where its
    thresholds are other ones.
    """
    decisions = {"internal": decision, "external": moved or decision}
    sides = {"internal": internal, "external": external}
    present = {name: side for name, side in sides.items() if side is not None}
    common = _common(list(present.values()), classes, decision)
    if not common:
        raise DataError("no class or label is both present and absent in the data, so there is nothing to measure")
    if decision.task == "multilabel":
        kept = [list(classes).index(name) for name in common]
        decisions = {
            name: replace(each, thresholds=tuple(each.thresholds[k] for k in kept)) for name, each in decisions.items()
        }
        present = {
            name: Measured(side.label[:, kept], side.probability[:, kept], side.group) for name, side in present.items()
        }
        classes = common
    found = {
        name: scored(side, decisions[name], classes, seed=number, means=common)
        for number, (name, side) in enumerate(present.items())
    }
    result: dict[str, Any] = {"classes": list(common), "metrics": {}, "labels": {}}
    for key in found["external"][0]:
        name, index = (key, None) if isinstance(key, str) else key
        if index is not None and classes[index] not in common:
            continue
        place = result["metrics"] if index is None else result["labels"].setdefault(classes[index], {})
        entries = {side: of_side[0][key] for side, of_side in found.items()}
        place[name] = {"internal": None, **entries, "difference": _difference(found, key)}
    measures = {
        name: calibration_measures(decision.task, side.label, side.probability, side.group, classes)
        for name, side in present.items()
    }
    result["calibration"] = {"internal": None, **measures}
    return result


def _common(sides: Sequence[Measured], classes: Sequence[str], decision: Decision) -> tuple[str, ...]:
    """Names of the classes or labels with positives and negatives on all sides."""
    both = np.all([decided(side.label, classes) for side in sides], axis=0)
    return tuple(name for name, there in zip(classes, both, strict=True) if there)


def _difference(found: dict[str, tuple[dict, dict]], key: Key) -> dict[str, Any] | None:
    if "internal" not in found:
        return None
    values = [found[side][0][key]["value"] for side in ("external", "internal")]
    if None in values:
        return {"value": None, "ci_low": None, "ci_high": None}
    value = values[0] - values[1]
    return plain(
        {"value": value, **interval(key, value, found["external"][1][key] - found["internal"][1][key], None, 0.95)}
    )


def operating_point(
    validation: Measured, test: Measured, sensitivity: float, prevalence: float | None = None
) -> dict[str, Any]:
    """Return a threshold with a stated sensitivity, and what it gives on other data.

    validation: predictions that the threshold is chosen on, the highest that keeps `sensitivity` there. test: those
    that it is measured on; both `(windows,)` of the positive class. prevalence: of the positives; that of `test` when
    None. "flagged_per_1000" is the expected number of positive decisions among 1,000 at that prevalence, "precision"
    the fraction of them that is right.
    """
    threshold = choose_threshold(validation.label, validation.probability, f"sensitivity:{sensitivity:g}")
    decision = Decision("binary", (threshold,))
    entries, draws = scored(test, decision, ())
    of_test = prevalence is None
    if prevalence is None:
        prevalence = float(np.mean(test.label))

    def flagged(recall: Any, specificity: Any) -> Any:
        return 1000 * (prevalence * recall + (1 - prevalence) * (1 - specificity))

    def precision(recall: Any, specificity: Any) -> Any:
        with np.errstate(invalid="ignore"):
            return 1000 * prevalence * recall / np.float64(flagged(recall, specificity))

    def entry(of: Callable[[Any, Any], Any]) -> dict[str, Any]:
        low, high = percentile_interval(of(draws["recall"], draws["specificity"]), 0.95)
        value = float(of(entries["recall"]["value"], entries["specificity"]["value"]))
        return plain({"value": value, "ci_low": low, "ci_high": high})

    return {
        "wanted": sensitivity,
        "threshold": threshold.value,
        "sensitivity": entries["recall"],
        "specificity": entries["specificity"],
        "precision": entries["precision"] if of_test else entry(precision),
        "prevalence": prevalence,
        "flagged_per_1000": entry(flagged),
    }
