"""Which method gains by several members over one encoder, judged on recordings that judge no final.

    python benchmarks/peft_study/few_label_members.py ../shared/data/cinc2017_windows.npz

trains at 10 % of the labels as `few_label_lengths.py` does, on three quarters of the training recordings, and keeps how
each arm answers on the other quarter, in benchmarks/results/peft_study/few_label_members.csv and in docs/peft_study.md.
Each arm with members is so small that all of them together train at most 3.26 % of the weights. What stands there is
not run again, and commands with different --arms or --seeds can share the work.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from few_label_lengths import Length, metrics_of, recipe_of, scores_of, without_a_quarter
from peft_rows import Row, abnormal, add_row, into_page, key, read_rows
from peft_settings import Study
from peft_stages import over_seeds
from peft_study import RESULTS, ROOT

from ecgtune.data import Dataset
from ecgtune.recipe import Recipe, with_settings

FILE = RESULTS / "few_label_members.csv"
SHARE = 0.1
SEEDS = range(5)
PLACE = ("arm", "seed")
SCORES = ("accuracy", "auroc")
COLUMNS = (*PLACE, "data", "weights", "settings", "title", "trainable_share", "seconds", *SCORES, "precision", "date")


class Arm(NamedTuple):
    """A method as the sweep left it, with changes."""

    method: str
    changed: Mapping[str, Any] = {}


ARMS = {
    "full": Arm("full"),
    "lora": Arm("lora"),
    "lora-r1-x3": Arm("lora", {"method.rank": 1, "model.members": 3}),
    "lora-r1-x4": Arm("lora", {"method.rank": 1, "model.members": 4}),
    "oft": Arm("oft"),
    "oft-b8-x2": Arm("oft", {"method.block": 8, "model.members": 2}),
    "side": Arm("side"),
    "side-w12-x3": Arm("side", {"method.width": 12, "model.members": 3}),
}


def own_recipe(study: Study, arm: Arm, seed: int) -> Recipe:
    """The method as finals train it at this share, on as many labels of the three quarters, with the arm's changes."""
    loop = study.own_loops.get(arm.method, study.loops)[SHARE]
    views = study.own_views.get(arm.method, {}).get(SHARE)
    return with_settings(recipe_of(study, arm.method, SHARE, Length(loop.epochs, views), seed), arm.changed)


def measured(recipe: Recipe, seed: int, dataset: Dataset) -> Row:
    """What one training came to."""
    metrics = metrics_of(recipe, seed, dataset)
    return {
        "title": metrics["title"],
        "trainable_share": f"{metrics['parameters']['share']:.5f}",
        "seconds": f"{metrics['training']['seconds']:.1f}",
        **scores_of(metrics),
    }


def table(rows: Sequence[Row]) -> str:
    """A line per arm: means over seeds, and Student's interval of the paired differences to the first arm."""
    by_arm = {arm: {row["seed"]: row for row in rows if row["arm"] == arm} for arm in ARMS}
    reference = next(iter(ARMS))
    lines = [
        "| arm | seeds | trainable | seconds | accuracy | AUROC | accuracy minus full | AUROC minus full |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for own in (rows_of for rows_of in by_arm.values() if rows_of):
        first = next(iter(own.values()))
        means = [np.mean([float(row[score]) for row in own.values()]) for score in SCORES]
        seconds = np.mean([float(row["seconds"]) for row in own.values()])
        shared = [seed for seed in own if seed in by_arm[reference]]
        beside = [
            points([float(own[seed][score]) - float(by_arm[reference][seed][score]) for seed in shared])
            for score in SCORES
        ]
        cells = (
            *(first["title"], str(len(own)), f"{100 * float(first['trainable_share']):.2f} %", f"{seconds:.0f}"),
            *(f"{100 * means[0]:.2f} %", f"{means[1]:.4f}", *beside),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else "Not run yet.\n"


def points(differences: Sequence[float]) -> str:
    """The mean in hundredths, with Student's 95 % interval over seeds."""
    if len(differences) < 2 or not any(differences):
        return ""
    low, high = over_seeds(differences)
    return f"{100 * np.mean(differences):+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("windows", nargs="?", type=Path, help="cinc2017_windows.npz; only the page is made without it")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    asked = parser.parse_args()
    study = Study()
    if asked.windows:
        dataset = without_a_quarter(abnormal(asked.windows))
        for seed in asked.seeds:
            for name in asked.arms:
                recipe = own_recipe(study, ARMS[name], seed)
                own = {"arm": name} | key(recipe, seed, dataset.source.sha256)
                if not any(own.items() <= row.items() for row in read_rows(FILE)):
                    add_row(FILE, own | measured(recipe, seed, dataset), COLUMNS, PLACE)
    into_page(ROOT / "docs" / "peft_study.md", "few_label_members", table(read_rows(FILE)))


if __name__ == "__main__":
    main()
