"""Calibration fitted on validation predictions, of the kind with the lowest cross-validated log-loss there.

* temperature: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
* platt: Platt, Advances in Large Margin Classifiers, 1999, with its targets, which are never 0 or 1.
* beta: Kull, Silva Filho and Flach, Electronic Journal of Statistics 11, 2017, 5052-5080.
* isotonic: Zadrozny and Elkan, KDD 2002, on at most 20 groups of neighbouring scores, and interpolated between the
  means of its steps (Oron and Flournoy, Statistics in Biopharmaceutical Research 9, 2017, 258-267), so that it has no
  jumps and hardly changes the order of windows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtune.data.tasks import Task
from ecgtune.evaluation.calibration.maps import IDENTITY, LIMIT, NONE, BetaMap, Calibration, IsotonicMap, Map, softplus
from ecgtune.evaluation.groups import group_index
from ecgtune.evaluation.metrics import checked_predictions

AUTO = "auto"
#: Kinds of maps, simple ones first, of equal losses the first is taken; and the validation windows of the rarest class
#: from which each is a choice: ten per parameter (Peduzzi et al., J. Clin. Epidemiol. 49, 1996, 1373-1379).
KINDS = {NONE: 0, "temperature": 10, "platt": 20, "beta": 30, "isotonic": 100}
FOLDS, STEPS = 5, 20
#: Validation groups from which a kind is chosen.
FEWEST_GROUPS = 10

Array = NDArray[np.float64]


def fit_calibration(
    task: Task, label: ArrayLike, probability: ArrayLike, group: ArrayLike | None = None, kind: str = AUTO
) -> Calibration:
    """Fit the calibration of a run on validation predictions; never pass test windows.

    label, probability: `(windows,)` twice for two classes, `(windows,)` and `(windows, classes)` for more, both
    `(windows, labels)` for labels, where -1 is missing. group: `(windows,)`, patients or recordings; folds of the
    choice keep them together. kind: one of `KINDS`, or "auto", the kind of the lowest mean log-loss in five folds, for
    each label its own, of those with enough windows of the rarest class. With fewer than 10 groups "auto" is "none".
    """
    label, probability = checked_predictions(label, probability)
    index = group_index(group, len(label))[1]
    if task == "multiclass":
        counts = np.bincount(label, minlength=probability.shape[1])
        chosen, reason = _chosen(lambda name: _classes_loss(label, probability, index, name), counts, index, kind)
        maps = _class_maps(label, probability, chosen)
        return Calibration(task, maps, (reason,) * len(maps))
    columns = [(label, probability)] if task == "binary" else list(zip(label.T, probability.T, strict=True))
    fitted = [_column(*column, index, kind) for column in columns]
    return Calibration(task, tuple(each for each, _ in fitted), tuple(reason for _, reason in fitted))


def _column(label: NDArray, probability: Array, index: NDArray, kind: str) -> tuple[Map, str]:
    """The map of one label, and why it is "none"."""
    known = label >= 0
    label, log_odds, index = label[known], log_odds_of(probability[known]), index[known]
    counts = np.bincount(label, minlength=2)

    def loss(name: str) -> float:
        mapped = np.empty_like(log_odds)
        for held in _folds(index):
            mapped[held] = fit_map(name, log_odds[~held], label[~held])(log_odds[held])
        return float(softplus(np.where(label == 1, -mapped, mapped)).mean())

    chosen, reason = _chosen(loss, counts, index, kind)
    return fit_map(chosen, log_odds, label), reason


def _chosen(loss: Callable[[str], float], counts: NDArray, index: NDArray, kind: str) -> tuple[str, str]:
    """The kind to fit, and why it is "none". loss: cross-validated, of a kind. counts: windows of each class."""
    fewest, groups = int(counts.min()), len(np.unique(index))
    if kind == NONE:
        return NONE, ""
    if fewest == 0:
        return NONE, "no validation window of one class"
    if kind != AUTO:
        return kind, ""
    if fewest < KINDS["temperature"] or groups < FEWEST_GROUPS:
        return NONE, (
            f"validation has {fewest} windows of the rarest class and {groups} groups; {KINDS['temperature']} and "
            f"{FEWEST_GROUPS} are needed"
        )
    losses = {name: loss(name) for name, least in KINDS.items() if fewest >= least}
    best = min(losses, key=lambda name: losses[name])
    return best, "no kind lowers the log-loss on validation" if best == NONE else ""


def _folds(index: NDArray) -> list[NDArray[np.bool_]]:
    """Rows that each fold holds out: all windows of a fifth of the groups."""
    units, compact = np.unique(index, return_inverse=True)
    fold = np.random.default_rng(0).permutation(len(units)) % FOLDS
    return [held for number in range(FOLDS) if (held := fold[compact] == number).any()]


def _class_maps(label: NDArray, probability: Array, kind: str) -> tuple[Map, ...]:
    """One map for all classes (none, temperature), or one per class."""
    if kind == NONE:
        return (IDENTITY,)
    if kind == "temperature":
        from scipy.optimize import minimize_scalar

        log_p = np.log(np.clip(probability, np.exp(-LIMIT), 1))
        target = (np.eye(probability.shape[1])[label] * len(label) + 1) / (len(label) + probability.shape[1])

        def loss(log_scale: float) -> float:
            scaled = np.exp(log_scale) * log_p
            return float((np.log(np.exp(scaled).sum(axis=1)) - (target * scaled).sum(axis=1)).mean())

        found: Any = minimize_scalar(loss, bounds=(-4.0, 4.0), method="bounded")
        scale = float(np.exp(found.x))
        return (BetaMap(kind, scale, scale),)
    log_odds = log_odds_of(probability)
    return tuple(
        fit_map(kind, column, (label == number).astype(np.int64)) if (label == number).any() else IDENTITY
        for number, column in enumerate(log_odds.T)
    )


def _classes_loss(label: NDArray, probability: Array, index: NDArray, kind: str) -> float:
    """Cross-validated log-loss of several classes."""
    true = np.empty(len(label))
    for held in _folds(index):
        fitted = Calibration("multiclass", _class_maps(label[~held], probability[~held], kind))
        true[held] = fitted(probability[held])[np.arange(int(held.sum())), label[held]]
    return float(-np.log(np.maximum(true, np.exp(-LIMIT))).mean())


def log_odds_of(probability: Array) -> Array:
    """Log-odds of `(windows,)`, or of each column against the others `(windows, classes)` or `(windows, labels)`."""
    with np.errstate(divide="ignore"):
        return np.clip(np.log(probability) - np.log1p(-probability), -LIMIT, LIMIT)


def fit_map(kind: str, log_odds: Array, label: NDArray) -> Map:
    """Fit one of `KINDS` to log-odds and labels 0 and 1, both `(windows,)`."""
    if kind == NONE or len(np.unique(label)) < 2:
        return IDENTITY
    return _isotonic(log_odds, label) if kind == "isotonic" else _beta(kind, log_odds, label)


def _beta(kind: str, log_odds: Array, label: NDArray) -> BetaMap:
    """Logistic regression with the constraints of the kind; slopes are never negative."""
    from scipy.optimize import minimize

    positives = int(label.sum())
    negatives = len(label) - positives
    target = np.where(label == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    parts = np.stack([-softplus(-log_odds), softplus(log_odds), np.ones_like(log_odds)], axis=1)
    # Columns of free parameters in terms of a, b and c.
    free = {"temperature": [[1, 1, 0]], "platt": [[1, 1, 0], [0, 0, 1]], "beta": np.eye(3)}[kind]
    design = parts @ np.asarray(free, float).T

    def loss(parameters: Array) -> tuple[float, Array]:
        mapped = design @ parameters
        gradient = design.T @ (1 / (1 + np.exp(-np.clip(mapped, -700, 700))) - target)
        return float((softplus(mapped) - target * mapped).mean()), gradient / len(label)

    slopes = design.shape[1] - (kind != "temperature")
    bounds = [(1e-3, 1e3)] * slopes + [(-1e3, 1e3)] * (design.shape[1] - slopes)
    start = np.array([1.0] * slopes + [0.0] * (design.shape[1] - slopes))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-13, "gtol": 1e-9}).x
    return BetaMap(kind, *(float(value) for value in np.asarray(free, float).T @ found))


def _isotonic(log_odds: Array, label: NDArray) -> IsotonicMap:
    """Isotonic regression of groups of neighbouring scores, through the centres of its steps."""
    from scipy.optimize import isotonic_regression

    order = np.argsort(log_odds, kind="stable")
    score, truth = log_odds[order], label[order].astype(np.float64)
    # Equal scores stay together: a group ends where the score changes.
    number = np.searchsorted(score, score, "left") * STEPS // len(score)
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    weight = np.diff(np.append(starts, len(score))).astype(np.float64)
    rate = np.add.reduceat(truth, starts) / weight
    fitted = isotonic_regression(rate, weights=weight)
    steps = np.asarray(fitted.blocks)[:-1]
    sums = [np.add.reduceat(each, steps) for each in (np.add.reduceat(score, starts), weight)]
    least = 1 / (len(score) + 2)
    value = np.clip(np.asarray(fitted.x)[steps], least, 1 - least)
    return IsotonicMap(tuple((sums[0] / sums[1]).tolist()), tuple((np.log(value) - np.log1p(-value)).tolist()))
