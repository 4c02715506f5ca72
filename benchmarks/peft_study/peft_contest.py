"""Which method `ecgtune train` takes when none is named: the one that wins on validation windows of the first task."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from peft_rows import Row
from peft_settings import REFERENCE, Study
from scipy.stats import sem

#: The share of weights that the published LoRA trains; the published adapters train more.
CAP = 0.0326


def contest(study: Study, rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Validation AUROC on the first task by method and seed: of those that train at most `CAP` of the weights.

    By validation windows, so that the test windows judge one method and do not choose the best of many. One number for
    all shares of the labels, the mean weighted by how many windows there were to choose by: where labels are few, there
    are few dozens. Of methods that ran at all shares, on the seeds that all of them have there: each seed draws
    validation windows of its own, and some are easier than others.
    """
    scores: dict[str, dict[tuple[float, str], tuple[float, int]]] = {}
    for row in _compared(rows, study.tasks[0]):
        if row["method"] in study.compared and float(row["trainable_share"]) <= CAP:
            place = float(row["share"]), row["seed"]
            scores.setdefault(row["method"], {})[place] = float(row["val_auroc"]), int(row["validation_windows"])
    shares = set(study.loops)
    whole = {name: own for name, own in scores.items() if {share for share, _ in own} == shares}
    if not whole:
        return {}
    places = set.intersection(*(set(own) for own in whole.values()))
    seeds = [seed for seed in sorted({seed for _, seed in places}) if all((share, seed) in places for share in shares)]

    def mean(own: Mapping[tuple[float, str], tuple[float, int]], seed: str) -> float:
        values, windows = zip(*(own[share, seed] for share in sorted(shares)), strict=True)
        return float(np.average(values, weights=windows))

    return {name: {seed: mean(own, seed) for seed in seeds} for name, own in whole.items()} if seeds else {}


def winner(study: Study, rows: Sequence[Row]) -> str:
    """The method that `ecgtune train` takes when none is named; "" before those of `always` ran at all shares.

    Of those that had trials (ensembles have none of their own, and train several times), the ones level with the
    highest mean of the contest, and of these the one whose trainings take the least time.
    """
    scores = {name: own for name, own in contest(study, rows).items() if name in study.methods}
    small = {name for name in study.always if name != REFERENCE}
    if not scores or not small <= scores.keys():
        return ""
    highest = max(sorted(scores), key=lambda name: np.mean(list(scores[name].values())))
    level = [name for name in scores if name == highest or _level(*_behind(scores, name, highest))]
    return min(level, key=lambda name: _time(study, rows, name, scores[name]))


def _behind(scores: Mapping[str, Mapping[str, float]], name: str, other: str) -> tuple[float, float]:
    """Mean difference of two methods in points, and its standard error over paired seeds; NaN of one seed."""
    own = [100 * (scores[name][seed] - scores[other][seed]) for seed in scores[other]]
    return float(np.mean(own)), float(sem(own)) if len(own) > 1 else float("nan")


def _level(difference: float, error: float) -> bool:
    return abs(difference) < 2 * error


def _time(study: Study, rows: Sequence[Row], name: str, seeds: Iterable[str]) -> float:
    """Seconds of all trainings of a method that the contest is about."""
    own = [row for row in _compared(rows, study.tasks[0]) if row["method"] == name and row["seed"] in seeds]
    return sum(float(row["seconds"]) for row in own)


def lead(study: Study, rows: Sequence[Row]) -> str:
    """What the others of the contest have beside the winner, in points, ± the standard error over paired seeds."""
    scores, best = contest(study, rows), winner(study, rows)
    told = []
    for name in (name for name in study.compared if name in scores and name != best):
        difference, error = _behind(scores, name, best)
        told.append(f"`{name}` {difference:+.2f}" + ("" if np.isnan(error) else f" ± {error:.2f}"))
    return ", ".join(told)


def _compared(rows: Sequence[Row], task: str) -> list[Row]:
    """Rows of whole methods: not of their parts, nor of steps from a preset."""
    return [row for row in rows if row["task"] == task and "+" not in row["method"]]
