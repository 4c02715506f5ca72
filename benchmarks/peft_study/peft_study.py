"""Which method, with which recipe, is as good as tuned full fine-tuning? The study of docs/peft_study.md.

    python benchmarks/peft_study/peft_study.py ../shared/data/cinc2017_windows.npz ../shared/data/cinc2017_rhythms.npz

Stage `sweep` tries equally many settings of every method (runs/peft-study/ has its folder), `finals` trains what was
found, the presets as published and the baseline with five seeds at three shares of the labels on two tasks,
`statistics` computes intervals and paired differences, `page` writes tables and figure, `recipes` puts what the sweep
found into the recipes that ecgtune comes with. Rows are kept in benchmarks/results/peft_study/ with what tells a run
from every other: data, weights, all settings, seed. What stands there is not run again, so a stopped command goes on
when it is given again, and commands with different --tasks, --shares, --methods or --seeds can share the work. The runs
of a table are of one device: those with all labels were made with `--shares 1 --device cuda`, the others on a CPU.
Without files of windows, only the page is made anew.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from peft_figure import write_differences, write_shares
from peft_recipes import write_recipes
from peft_rows import abnormal, fibrillation, into_page, read_rows
from peft_settings import Study
from peft_stages import Device, current, device_name, run_finals, run_statistics, run_sweep
from peft_tables import sweep_table, tables

from ecgtune.config.base import require
from ecgtune.data.dataset import Dataset
from ecgtune.utils.files import read_json, write_json
from ecgtune.workflows.environment import machine, now

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "peft_study"
PAGE, CHOICES = ROOT / "docs" / "peft_study.md", ROOT / "docs" / "peft_study_choices.md"
RUNS = Path("runs/peft-study")
STAGES = ("sweep", "finals", "statistics", "page", "recipes")
READERS = {"abnormal": abnormal, "fibrillation": fibrillation}


def main() -> None:
    study = Study()
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("windows", nargs="?", type=Path, help="cinc2017_windows.npz; only the page is made without it")
    parser.add_argument("rhythms", nargs="?", type=Path, help="cinc2017_rhythms.npz, for the second task")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--tasks", nargs="+", choices=study.tasks, default=study.tasks)
    parser.add_argument("--shares", nargs="+", type=float, choices=sorted(study.loops))
    parser.add_argument("--methods", nargs="+", help="of the sweep or the finals, such as lora or paper-lora+head")
    parser.add_argument("--seeds", nargs="+", type=int, choices=range(study.seeds))
    parser.add_argument("--device", choices=("cpu", "cuda"), help="of the finals; makes those of another device again")
    asked = parser.parse_args()
    files = {"abnormal": asked.windows, "fibrillation": asked.rhythms}
    tasks = {name: READERS[name](file) for name, file in files.items() if file is not None and name in asked.tasks}
    choice = {name: getattr(asked, name) for name in ("shares", "methods", "seeds", "device")}
    run(study, tasks, asked.stages, **choice)


def run(
    study: Study,
    tasks: dict[str, Dataset],
    stages: tuple[str, ...] = STAGES,
    *,
    results: Path = RESULTS,
    runs: Path = RUNS,
    page: Path = PAGE,
    choices: Path = CHOICES,
    recipes: Path = ROOT / "recipes",
    shares: list[float] | None = None,
    methods: list[str] | None = None,
    seeds: list[int] | None = None,
    device: Device | None = None,
) -> None:
    """The stages in their order, on the windows of `tasks`; the pages alone when there are none."""
    for name, dataset in tasks.items():
        own = dataset.split is not None
        require(own, f"the windows of {name} have no split of their own; with one, all seeds are tested on the same")
    results.mkdir(parents=True, exist_ok=True)
    facts = read_json(results / "study.json") if (results / "study.json").is_file() else {"data": {}}
    if tasks:
        facts = {
            "date": now(),
            "machines": facts.get("machines", {}) | {device_name(device or study.device): machine()},
            "data": facts["data"] | {n: asdict(d.source) for n, d in tasks.items()},
        }
        write_json(results / "study.json", facts)
    if "sweep" in stages and study.tasks[0] in tasks:
        run_sweep(study, tasks[study.tasks[0]], results, runs, methods=methods)
    if "finals" in stages:
        run_finals(study, tasks, results, runs, shares=shares, methods=methods, seeds=seeds, device=device)
    if "statistics" in stages and tasks:
        data = {name: told["sha256"] for name, told in facts["data"].items()}
        run_statistics(study, current(study, read_rows(results / "finals.csv"), results, data), tasks, results)
    if "page" in stages:
        for name, text in tables(study, results).items():
            into_page(page, name, text)
        into_page(choices, "sweep", sweep_table(study, read_rows(results / "trials.csv")))
        cells = read_rows(results / "statistics.csv")
        if any(cell["method"] != cell["reference"] for cell in cells):
            write_differences(results / "differences.svg", study, cells)
            write_differences(results / "auroc_differences.svg", study, cells, "auroc")
            write_shares(results / "shares.svg", study, cells)
    if "recipes" in stages:
        write_recipes(study, results, recipes)


if __name__ == "__main__":
    main()
