"""Monotone maps from uncalibrated to calibrated log-odds, and what a run stores of them.

Maps are functions of log-odds in numpy and in torch (`xp`), so that an exported graph computes what a run computes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtune.data.tasks import Task

NONE = "none"
#: Log-odds of the smallest and largest probability that differs from 0 and 1 in float64.
LIMIT = 34.5


@dataclass(frozen=True)
class BetaMap:
    """`a` log p - `b` log(1 - p) + `c`: temperature (a = b, c = 0), Platt (a = b), or beta scaling."""

    kind: str
    a: float = 1.0
    b: float = 1.0
    c: float = 0.0

    def __call__(self, log_odds: Any, xp: Any = np) -> Any:
        return self.b * softplus(log_odds, xp) - self.a * softplus(-log_odds, xp) + self.c


@dataclass(frozen=True)
class IsotonicMap:
    """Straight lines through the points (`x`, `y`), log-odds in rising order, and on with their mean slope."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    kind: str = "isotonic"

    def __call__(self, log_odds: Any, xp: Any = np) -> Any:
        x, y = np.array(self.x), np.array(self.y)
        width = np.diff(x)
        tail = float((y[-1] - y[0]) / (x[-1] - x[0])) if len(x) > 1 else 0.0
        outside = tail * (_above(log_odds - float(x[-1]), xp) - _above(float(x[0]) - log_odds, xp))
        if len(x) == 1:
            return outside + float(y[0])
        lower, width, slope = (xp.asarray(part, dtype=xp.float64) for part in (x[:-1], width, np.diff(y) / width))
        inside = xp.minimum(_above(log_odds[..., None] - lower, xp), xp.zeros_like(lower) + width) * slope
        return outside + inside.sum(-1) + float(y[0])


Map = BetaMap | IsotonicMap
IDENTITY = BetaMap(NONE)


@dataclass(frozen=True)
class Calibration:
    """How uncalibrated probabilities of a run become the ones that it gives.

    maps: one for two classes, one per label, or of several classes one per class, after which probabilities are
    normalised (Zadrozny and Elkan, KDD 2002); temperature scaling of several classes has one for all (Guo et al., ICML
    2017). reasons: why a map is "none", by its position; "" for the others.
    """

    task: Task
    maps: tuple[Map, ...]
    reasons: tuple[str, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether any probability changes."""
        return any(each.kind != NONE for each in self.maps)

    def __call__(self, probability: ArrayLike) -> NDArray[np.float64]:
        """Calibrate `(windows,)` of the positive class, `(windows, classes)` or `(windows, labels)`; same shape."""
        probability = np.asarray(probability, np.float64)
        if not self.changes:
            return probability
        rest = 1 - probability
        if self.task == "multiclass":
            rest = probability @ (1 - np.eye(probability.shape[1]))
        with np.errstate(divide="ignore"):
            result = self.of_log_odds(np.log(probability) - np.log(rest), np)
        if self.task == "multilabel":
            same = [each.kind == NONE for each in self.maps]
            result[:, same] = probability[:, same]  # to the last bit
        return result

    def of_log_odds(self, log_odds: Any, xp: Any) -> Any:
        """Calibrated probabilities of log-odds, float64 arrays of `xp` (numpy or torch), of the same shape."""
        log_odds = xp.clip(log_odds, -LIMIT, LIMIT)
        if self.task == "binary":
            return _logistic(self.maps[0](log_odds, xp), xp)
        first = self.maps[0]
        if self.task == "multiclass" and len(self.maps) == 1 and isinstance(first, BetaMap):
            probability = xp.exp(-first.a * softplus(-log_odds, xp))  # p to the power of 1 / temperature
        else:
            columns = [each(log_odds[:, index], xp) for index, each in enumerate(self.maps)]
            probability = _logistic(xp.stack(columns, -1), xp)
        return probability if self.task == "multilabel" else probability / probability.sum(-1)[..., None]

    def to_dict(self) -> dict[str, Any]:
        """Return the entry `calibration` of model.json."""
        return {"task": self.task, "maps": [asdict(each) for each in self.maps], "reasons": list(self.reasons)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any] | None, task: Task) -> Calibration:
        """Return the calibration of a result of `to_dict`; that of a run without one changes nothing.

        Raises KeyError or TypeError for other values.
        """
        if stored is None:
            return cls(task, (IDENTITY,), ("",))
        maps = tuple(
            IsotonicMap(tuple(each["x"]), tuple(each["y"])) if "x" in each else BetaMap(**each)
            for each in stored["maps"]
        )
        return cls(stored["task"], maps, tuple(stored["reasons"]))

    def sentence(self, classes: Sequence[str]) -> str:
        """Return text for reports: `beta scaling, fitted on validation`, or one per label."""
        texts = [described(each, reason) for each, reason in zip(self.maps, self.reasons, strict=True)]
        if len(set(texts)) == 1:
            return texts[0]
        return "; ".join(f"{name}: {text}" for name, text in zip(classes, texts, strict=True))


def described(fitted: Map, reason: str) -> str:
    """Return text for one map."""
    if isinstance(fitted, IsotonicMap):
        return "isotonic regression, fitted on validation"
    if fitted.kind == NONE:
        return f"not calibrated ({reason})" if reason else "not calibrated"
    if fitted.kind == "temperature":
        return f"temperature scaling ({1 / fitted.a:.3g}), fitted on validation"
    return f"{fitted.kind.capitalize() if fitted.kind == 'platt' else fitted.kind} scaling, fitted on validation"


def softplus(value: Any, xp: Any = np) -> Any:
    """log(1 + exp(value)) without overflow."""
    return _above(value, xp) + xp.log1p(xp.exp(-xp.abs(value)))


def _above(value: Any, xp: Any) -> Any:
    """The larger of `value` and 0."""
    return (value + xp.abs(value)) / 2


def _logistic(log_odds: Any, xp: Any) -> Any:
    return 1 / (1 + xp.exp(-xp.clip(log_odds, -700.0, 700.0)))
