"""The probability above which a window counts as positive: 0.5, or fitted on the validation windows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ecgtune.errors import DataError, SettingError
from ecgtune.evaluation.metrics import checked_predictions

RULES = {"fixed": "fixed", "f1": "largest F1", "youden": "largest recall + specificity"}
#: Followed by a number: the recall that must be reached on validation, `sensitivity:0.95`.
SENSITIVITY = "sensitivity:"
#: The rule of a label that the validation windows cannot tell anything about.
UNFITTED = "unfitted"


@dataclass(frozen=True)
class Threshold:
    """`value` in [0, 1]: a window is positive when its probability is at or above it. `rule`: how it was chosen."""

    value: float
    rule: str

    @property
    def sentence(self) -> str:
        """What tables and reports print, such as `0.5, fixed` or `0.37, fitted on validation (largest F1)`."""
        if self.rule == "fixed":
            return f"{self.value:.3g}, fixed"
        if self.rule == UNFITTED:
            return f"{self.value:.3g}, not fitted: no validation windows with and without it"
        if self.rule.startswith(SENSITIVITY):
            return f"{self.value:.3g}, fitted on validation (recall of {self.rule.removeprefix(SENSITIVITY)} or more)"
        return f"{self.value:.3g}, fitted on validation ({RULES[self.rule]})"


def choose_threshold(label: ArrayLike, probability: ArrayLike, rule: str = "fixed") -> Threshold:
    """The threshold that a rule picks from validation predictions; never call it with test windows.

    label: `(windows,)` of 0 or 1. probability: `(windows,)` of the second class. Rules: "fixed" (0.5, the
    predictions are not looked at), "f1" (largest F1), "youden" (largest recall + specificity - 1; Youden 1950),
    "sensitivity:0.95" (the highest with that recall or more). A fitted value lies midway between two neighbouring
    scores; of equally good ones the nearest to 0.5 is taken.
    Raises SettingError for another rule, DataError when a class to fit on is missing.
    """
    wanted = wanted_recall(rule)
    if rule == "fixed":
        return Threshold(0.5, rule)
    label, probability = checked_predictions(label, probability)
    positives = int(label.sum())
    negatives = len(label) - positives
    if positives == 0 or negatives == 0:
        raise DataError(
            f"the {len(label)} validation windows hold one class only, so the threshold rule '{rule}' has nothing to "
            "fit; use 'fixed' or a validation split with both classes"
        )
    order = np.argsort(-probability, kind="stable")
    score = probability[order]
    ends = np.flatnonzero(np.append(np.diff(score) != 0, True))
    true_positive = np.cumsum(label[order])[ends]
    false_positive = ends + 1 - true_positive
    if wanted is not None:
        # The first threshold that is low enough; beyond it only false positives are to be had.
        quality = (np.arange(len(ends)) == np.argmax(true_positive >= wanted * positives - 1e-9)).astype(np.float64)
    elif rule == "f1":
        quality = 2 * true_positive / (true_positive + false_positive + positives)
    else:
        quality = true_positive / positives - false_positive / negatives
    upper = score[ends]
    lower = np.append(upper[1:], upper[-1])
    middle = (upper + lower) / 2
    # Between two neighbouring floats there is no middle; the upper one still divides them.
    candidate = np.where(middle > lower, middle, upper)
    best = np.flatnonzero(quality >= quality.max() - 1e-12)
    value = candidate[best[np.argmin(np.abs(candidate[best] - 0.5))]]
    return Threshold(float(value), rule)


def wanted_recall(rule: str) -> float | None:
    """The recall that a rule `sensitivity:0.95` demands, None for the other rules. Raises SettingError for no rule."""
    if rule in RULES:
        return None
    if rule.startswith(SENSITIVITY):
        try:
            wanted = float(rule.removeprefix(SENSITIVITY))
        except ValueError:
            wanted = 0.0
        if 0 < wanted <= 1:
            return wanted
    allowed = ", ".join(f"'{name}'" for name in RULES)
    raise SettingError(
        f"threshold rule '{rule}'; allowed values are {allowed} and 'sensitivity:0.95' (above 0 up to 1)"
    )
