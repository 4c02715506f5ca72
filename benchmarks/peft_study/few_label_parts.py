"""Whether parts that look helpful in the finals are so on recordings that judge no final.

    python benchmarks/peft_study/few_label_parts.py ../shared/data/cinc2017_windows.npz

trains tuned methods at 10 % of the labels with and without these parts, as `few_label_lengths.py` does, on three
quarters of the training recordings, and keeps how each answers on the other quarter, in
benchmarks/results/peft_study/few_label_parts.csv and in docs/peft_study_choices.md. Of the many parts that finals
measure on the same test windows, the best look better than they are. What stands there is not run again, and commands
with different --arms or --seeds can share the work.
"""

import argparse
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from few_label_lengths import without_a_quarter
from few_label_members import COLUMNS, PLACE, Arm, arms_table, measured, own_recipe
from peft_rows import Row, abnormal, add_row, into_page, key, read_rows
from peft_settings import Study
from peft_study import CHOICES, RESULTS

FILE = RESULTS / "few_label_parts.csv"
SEEDS = range(5)
#: What the finals' table shows above zero by the interval over recordings, in accuracy or AUROC, averaging aside.
CHECKED = {"full": ("head-first", "layer-decay", "crop", "drop-path"), "lora": ("best-epoch", "no-noise")}


def arms(study: Study) -> dict[str, Arm]:
    """The tuned methods, and under NAME+PART each with a part of `CHECKED`."""
    changed = {part.name: part.changed for part in study.parts}
    found = {}
    for method, parts in CHECKED.items():
        found |= {method: Arm(method)} | {f"{method}+{part}": Arm(method, changed[part]) for part in parts}
    return found


def title(study: Study, name: str) -> str:
    """What tables call an arm."""
    method, _, changed = name.partition("+")
    return next((f"{method} {part.title}" for part in study.parts if part.name == changed), f"{method} as tuned")


def table(rows: Sequence[Row]) -> str:
    """A line per arm: means over seeds, and Student's interval of the paired differences to the method as tuned."""
    return arms_table(rows, {name: name.partition("+")[0] for name in arms(Study())}, "as tuned")


def main() -> None:
    study = Study()
    known = arms(study)
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("windows", nargs="?", type=Path, help="cinc2017_windows.npz; only the page is made without it")
    parser.add_argument("--arms", nargs="+", choices=known, default=known)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    asked = parser.parse_args()
    if asked.windows:
        dataset = without_a_quarter(abnormal(asked.windows))
        for seed, name in product(asked.seeds, asked.arms):
            recipe = own_recipe(study, study.parts_share, known[name], seed)
            own = {"share": f"{study.parts_share:g}", "arm": name} | key(recipe, seed, dataset.source.sha256)
            if not any(own.items() <= row.items() for row in read_rows(FILE)):
                row = own | measured(recipe, seed, dataset) | {"title": title(study, name)}
                add_row(FILE, row, COLUMNS, PLACE)
    into_page(CHOICES, "few_label_parts", table(read_rows(FILE)))


if __name__ == "__main__":
    main()
