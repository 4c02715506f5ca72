"""Does the number format of a final matter? The same trainings in bf16 and in float32, seed by seed.

    python benchmarks/peft_study/number_formats.py ../shared/data/cinc2017_windows.npz

Finals are trained in bf16. Here full fine-tuning and LoRA at 10 % of the labels are trained in both; a final is not run
again. Rows are in benchmarks/results/peft_study/number_formats.csv, the table in docs/peft_study_choices.md. The test
windows are looked at, as by the finals: nothing is chosen by it.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from peft_rows import Row, abnormal, add_row, into_page, key, read_rows
from peft_settings import Study
from peft_stages import final_recipes, points
from peft_study import CHOICES, RESULTS

import ecgtune
from ecgtune.data.dataset import Dataset
from ecgtune.recipe.recipe import Recipe
from ecgtune.workflows.environment import now

FILE = RESULTS / "number_formats.csv"
FORMATS = ("bf16", "fp32")
METHODS = ("full", "lora")
SHARE = 0.1
SCORES = ("accuracy", "auroc")
PLACE = ("method", "precision", "seed")
COLUMNS = (*PLACE, "data", "weights", "settings", *SCORES, "date")


def scores_of(recipe: Recipe, own: Row, precision: str, dataset: Dataset) -> Row:
    """Accuracy and AUROC on the test windows: of the final, where it ran in that format, or of a new training."""
    for row in read_rows(RESULTS / "finals.csv"):
        place = {"task": "abnormal", "share": f"{SHARE:g}", "precision": precision, "device": recipe.trainer.device}
        if (own | place).items() <= row.items():
            return {name: row[name] for name in (*SCORES, "date")}
    recipe = replace(recipe, trainer=replace(recipe.trainer, precision=precision))
    with tempfile.TemporaryDirectory() as folder:
        metrics = ecgtune.fine_tune(dataset, recipe, out=Path(folder) / "run", seed=int(own["seed"])).metrics
    return {name: f"{metrics['window']['metrics'][name]['value']:.5f}" for name in SCORES} | {"date": now()[:10]}


def table(rows: Sequence[Row]) -> str:
    """A line per method: bf16 minus float32 in points, with Student's 95 % interval over seeds."""
    lines = ["| method | seeds | accuracy, bf16 minus fp32 | AUROC, bf16 minus fp32 |", "|---|---|---|---|"]
    for method in METHODS:
        bf16, fp32 = (
            {row["seed"]: row for row in rows if (row["method"], row["precision"]) == (method, precision)}
            for precision in FORMATS
        )
        seeds = sorted(bf16.keys() & fp32.keys(), key=int)
        if len(seeds) > 1:
            told = [points([float(bf16[s][score]) - float(fp32[s][score]) for s in seeds]) for score in SCORES]
            lines.append("| " + " | ".join([method, str(len(seeds)), *told]) + " |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else "Not run yet.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("windows", nargs="?", type=Path, help="cinc2017_windows.npz; only the page is made without it")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=range(Study.seeds))
    asked = parser.parse_args()
    study = Study()
    if asked.windows:
        dataset = abnormal(asked.windows)
        recipes = final_recipes(study, RESULTS, "abnormal", SHARE)
        for seed in asked.seeds:
            for method in asked.methods:
                recipe = study.final(recipes[method], method, "abnormal", SHARE, seed)
                own = {"method": method} | key(recipe, seed, dataset.source.sha256)
                for precision in FORMATS:
                    row = own | {"precision": precision}
                    if not any(row.items() <= kept.items() for kept in read_rows(FILE)):
                        add_row(FILE, row | scores_of(recipe, own, precision, dataset), COLUMNS, PLACE)
    into_page(CHOICES, "number_formats", table(read_rows(FILE)))


if __name__ == "__main__":
    main()
