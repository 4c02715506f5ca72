"""How long the finals train where all labels are there: longer trainings of some methods, on validation windows.

    python benchmarks/peft_study/final_lengths.py ../shared/data/cinc2017_windows.npz

trains what the sweep found for several numbers of epochs and keeps what validation windows say of every epoch, in
benchmarks/results/peft_study/final_lengths.csv and in docs/peft_study_choices.md. What stands there is not run again,
and commands with different --methods or --epochs can share the work.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from peft_rows import Row, abnormal, add_row, into_page, key, read_rows
from peft_settings import FLOOR, Study, tuned
from peft_study import CHOICES, RESULTS
from peft_validation import COLUMNS, on_validation

from ecgtune.recipe.recipe import Recipe

FILE = RESULTS / "final_lengths.csv"
METHODS: dict[str, tuple[int, ...]] = {"full": (10,), "lora": (4, 10), FLOOR: (14, 28)}
PLACE = ("method", "epochs", "data", "weights", "settings", "seed")


def recipe_of(study: Study, name: str, epochs: int) -> Recipe:
    """A final of the first task with all labels, for another time."""
    recipe = study.floor() if name == FLOOR else tuned(RESULTS)[name]
    recipe = study.final(recipe, name, study.tasks[0], 1.0, 0)
    return replace(recipe, optimisation=replace(recipe.optimisation, epochs=epochs))


def table(rows: Sequence[Row]) -> str:
    """A line per method and length."""
    lines = [
        "| method | epochs | training loss | validation loss | validation AUROC, last epoch | best epoch |",
        "|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (list(METHODS).index(row["method"]), int(row["epochs"]))):
        cells = (
            *(row[name] for name in ("method", "epochs", "train_loss", "val_loss", "val_auroc")),
            f"{row['best_val_auroc']} ({row['best_epoch']})",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n" if rows else "Not run yet.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("windows", nargs="?", type=Path, help="cinc2017_windows.npz; only the page is made without it")
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=tuple(METHODS))
    parser.add_argument("--epochs", nargs="+", type=int, help="of the lengths, only these")
    asked = parser.parse_args()
    study = Study()
    if asked.windows:
        dataset = abnormal(asked.windows)
        for name in asked.methods:
            for epochs in METHODS[name]:
                if asked.epochs and epochs not in asked.epochs:
                    continue
                recipe = recipe_of(study, name, epochs)
                own = {"method": name, "epochs": str(epochs), **key(recipe, 0, dataset.source.sha256)}
                if not any(own.items() <= row.items() for row in read_rows(FILE)):
                    add_row(FILE, own | on_validation(recipe, dataset), (*PLACE, *COLUMNS), ("method", "epochs"))
    into_page(CHOICES, "final_lengths", table(read_rows(FILE)))


if __name__ == "__main__":
    main()
