"""Which method `ecgtune fine-tune` takes by default: the one that wins on validation windows of the first task."""

from collections.abc import Mapping, Sequence

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
    are few dozens. Of methods that ran with all seeds at all shares: each seed draws validation windows of its own, and
    some are easier than others. Empty while runs of a share are of different number formats or devices.
    """
    scores: dict[str, dict[tuple[float, str], tuple[float, int]]] = {}
    formats: dict[str, set[tuple[float, str, str]]] = {}
    for row in rows:
        whole = row["task"] == study.tasks[0] and row["method"] in study.compared
        if whole and float(row["trainable_share"]) <= CAP:
            share = float(row["share"])
            scores.setdefault(row["method"], {})[share, row["seed"]] = (
                float(row["val_auroc"]),
                int(row["validation_windows"]),
            )
            formats.setdefault(row["method"], set()).add((share, row["precision"], row["device"]))
    seeds = [str(seed) for seed in range(study.seeds)]
    places = {(share, seed) for share in study.loops for seed in seeds}
    complete = [name for name, own in scores.items() if own.keys() == places]
    if len(set().union(*(formats[name] for name in complete))) != len(study.loops):
        return {}

    def mean(own: Mapping[tuple[float, str], tuple[float, int]], seed: str) -> float:
        values, windows = zip(*(own[share, seed] for share in sorted(study.loops)), strict=True)
        return float(np.average(values, weights=windows))

    return {name: {seed: mean(scores[name], seed) for seed in seeds} for name in complete}


def winner(study: Study, rows: Sequence[Row]) -> str:
    """The method that `ecgtune fine-tune` takes when none is named; "" before those of `always` ran at all shares.

    The one with the highest mean of the contest, of those that had trials: ensembles have none of their own, and train
    several times.
    """
    means = {name: np.mean(list(own.values())) for name, own in contest(study, rows).items() if name in study.methods}
    small = {name for name in study.always if name != REFERENCE}
    return max(sorted(means), key=lambda name: means[name]) if means and small <= means.keys() else ""


def lead(study: Study, rows: Sequence[Row]) -> str:
    """What the others of the contest have beside the winner, in points, ± the standard error over paired seeds."""
    scores, best = contest(study, rows), winner(study, rows)
    told = []
    for name in (name for name in study.compared if name in scores and name != best):
        own = [scores[name][seed] - scores[best][seed] for seed in scores[best]]
        error = f" ± {100 * sem(own):.2f}" if len(own) > 1 else ""
        told.append(f"`{name}` {100 * np.mean(own):+.2f}{error}")
    return ", ".join(told)
