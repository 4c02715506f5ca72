"""Which method gains by several members over one encoder, judged on recordings that judge no final.

    python benchmarks/peft_study/few_label_members.py ../shared/data/cinc2017_windows.npz

trains at 1 % and 10 % of the labels as `few_label_lengths.py` does, on three quarters of the training recordings, and
keeps how each arm answers on the other quarter, in benchmarks/results/peft_study/few_label_members.csv and in
docs/peft_study_choices.md. Arms with members are so small that all of them together train at most 3.26 % of the
weights. What stands there is not run again, and commands with different --shares, --arms or --seeds can share the work.
"""

import argparse
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from few_label_lengths import Length, metrics_of, recipe_of, scores_of, without_a_quarter
from peft_rows import Row, abnormal, add_row, into_page, key, read_rows
from peft_settings import Study
from peft_stages import points
from peft_study import CHOICES, RESULTS

from ecgtune.data.dataset import Dataset
from ecgtune.recipe.recipe import Recipe
from ecgtune.recipe.space import with_settings

FILE = RESULTS / "few_label_members.csv"
SHARES = (0.01, 0.1)
PLACE = ("share", "arm", "seed")
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

#: By share of the labels: what was tried where, and with how many seeds.
TRIED = {0.01: ("full", "lora", "lora-r1-x3", "side", "side-w12-x3"), 0.1: tuple(ARMS)}
SEEDS = {0.01: range(5), 0.1: range(2)}


def own_recipe(study: Study, share: float, arm: Arm, seed: int) -> Recipe:
    """The method as finals train it at a share, on as many labels of the three quarters, with the arm's changes."""
    loop = study.own_loops.get(arm.method, study.loops)[share]
    views = study.own_views.get(arm.method, {}).get(share)
    return with_settings(recipe_of(study, arm.method, share, Length(loop.epochs, views), seed), arm.changed)


def measured(recipe: Recipe, seed: int, dataset: Dataset) -> Row:
    """What one training came to."""
    metrics = metrics_of(recipe, seed, dataset)
    return {
        "title": metrics["title"],
        "trainable_share": f"{metrics['parameters']['trainable_fraction']:.5f}",
        "seconds": f"{metrics['training']['seconds']:.1f}",
        **scores_of(metrics),
    }


def table(rows: Sequence[Row]) -> str:
    """A line per share and arm: means over seeds, and Student's interval of the paired differences to the first arm."""
    return arms_table(rows, dict.fromkeys(ARMS, next(iter(ARMS))), "full")


def arms_table(rows: Sequence[Row], reference: Mapping[str, str], beside: str) -> str:
    """A line per share and arm. reference: by arm, what it is compared with; beside: what the heading calls that."""
    lines = [
        f"| labels | arm | seeds | trainable | seconds | accuracy | AUROC | accuracy minus {beside} "
        f"| AUROC minus {beside} |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    by_place = {
        (share, arm): {row["seed"]: row for row in rows if (float(row["share"]), row["arm"]) == (share, arm)}
        for share in SHARES
        for arm in reference
    }
    for (share, arm), own in by_place.items():
        if not own:
            continue
        other = by_place[share, reference[arm]]
        first = next(iter(own.values()))
        means = [np.mean([float(row[score]) for row in own.values()]) for score in SCORES]
        seconds = np.mean([float(row["seconds"]) for row in own.values()])
        shared = [seed for seed in own if seed in other and own[seed]["precision"] == other[seed]["precision"]]
        told = [points([float(own[seed][score]) - float(other[seed][score]) for seed in shared]) for score in SCORES]
        trainable = f"{100 * float(first['trainable_share']):.2f} %"
        cells = [f"{100 * share:g} %", first["title"], str(len(own)), trainable, f"{seconds:.0f}"]
        cells += [f"{100 * means[0]:.2f} %", f"{means[1]:.4f}", *told]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else "Not run yet.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("windows", nargs="?", type=Path, help="cinc2017_windows.npz; only the page is made without it")
    parser.add_argument("--shares", nargs="+", type=float, choices=SHARES, default=SHARES)
    parser.add_argument("--arms", nargs="+", choices=ARMS)
    parser.add_argument("--seeds", nargs="+", type=int)
    asked = parser.parse_args()
    study = Study()
    if asked.windows:
        dataset = without_a_quarter(abnormal(asked.windows))
        for share in asked.shares:
            for seed, name in product(asked.seeds or SEEDS[share], asked.arms or TRIED[share]):
                recipe = own_recipe(study, share, ARMS[name], seed)
                own = {"share": f"{share:g}", "arm": name} | key(recipe, seed, dataset.source.sha256)
                if not any(own.items() <= row.items() for row in read_rows(FILE)):
                    add_row(FILE, own | measured(recipe, seed, dataset), COLUMNS, PLACE)
    into_page(CHOICES, "few_label_members", table(read_rows(FILE)))


if __name__ == "__main__":
    main()
