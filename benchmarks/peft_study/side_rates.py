"""Why side tuning's rate is searched near its own: higher ones are worse in short trainings and in long ones.

    python benchmarks/peft_study/side_rates.py ../shared/data/cinc2017_windows.npz

trains side tuning at several rates for as long as a trial of the sweep and for as long as a final, and keeps what
validation windows say of every epoch, in benchmarks/results/peft_study/side_rates.csv and in
docs/peft_study_choices.md. What stands there is not run again.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from peft_rows import Row, abnormal, add_row, into_page, key, read_rows
from peft_settings import NOT_AUGMENTED, Loop, Study
from peft_study import CHOICES, RESULTS
from peft_validation import COLUMNS, on_validation

from ecgtune.config.data import DataSettings
from ecgtune.recipe.recipe import Recipe
from ecgtune.recipe.space import with_settings

FILE = RESULTS / "side_rates.csv"
RATES = (0.0005, 0.002, 0.0075, 0.015)
PLACE = ("share", "epochs", "rate", "data", "weights", "settings", "seed")


def recipe_of(study: Study, share: float, loop: Loop, rate: float) -> Recipe:
    """Side tuning as a sweep begins with it, without augmentation, at another rate and for another time."""
    recipe = with_settings(study.swept("side"), {**NOT_AUGMENTED, "optimisation.learning_rate": rate})
    optimisation = replace(recipe.optimisation, epochs=loop.epochs, batch_size=loop.batch_size)
    return replace(recipe, optimisation=optimisation, data=DataSettings(label_fraction=share))


def table(rows: Sequence[Row]) -> str:
    """A line per length and rate."""
    lines = [
        "| labels | epochs | rate | training loss | validation loss | validation AUROC, last epoch | best epoch |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (float(row["share"]), int(row["epochs"]), float(row["rate"]))):
        cells = (
            *(f"{100 * float(row['share']):g} %", row["epochs"], row["rate"]),
            *(row["train_loss"], row["val_loss"], row["val_auroc"]),
            f"{row['best_val_auroc']} ({row['best_epoch']})",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n" if rows else "Not run yet.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("windows", nargs="?", type=Path, help="cinc2017_windows.npz; only the page is made without it")
    asked = parser.parse_args()
    study = Study()
    if asked.windows:
        dataset = abnormal(asked.windows)
        lengths = {study.trial_share: Loop(study.trial_epochs, study.trial_batch), 1.0: study.loops[1.0]}
        for share, loop in lengths.items():
            for rate in RATES:
                recipe = recipe_of(study, share, loop, rate)
                place = {"share": f"{share:g}", "epochs": str(loop.epochs), "rate": f"{rate:g}"}
                own = place | key(recipe, 0, dataset.source.sha256)
                if not any(own.items() <= row.items() for row in read_rows(FILE)):
                    add_row(FILE, own | on_validation(recipe, dataset), (*PLACE, *COLUMNS), ("share", "rate"))
    into_page(CHOICES, "side_rates", table(read_rows(FILE)))


if __name__ == "__main__":
    main()
