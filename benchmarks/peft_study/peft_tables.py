"""The tables of docs/peft_study.md from the kept rows; what nothing ran for says so."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from peft_rows import Row, read_rows
from peft_settings import FLOOR, REFERENCE, Study
from peft_stages import current, finalists

from ecgtune.files import read_json
from ecgtune.recipe import load_recipes
from ecgtune.reporting.numbers import duration, seconds, size

NOT_RUN = "not run"
#: The largest share of trainable weights that the published comparison allowed itself.
CAP = 0.0326
TASKS = {"abnormal": "Normal against abnormal", "fibrillation": "Atrial fibrillation against the rest"}


def tables(study: Study, results: Path) -> dict[str, str]:
    """Every table of the page by its name there, Markdown."""
    facts = results / "study.json"
    data = {task: told["sha256"] for task, told in read_json(facts)["data"].items()} if facts.is_file() else {}
    trials = read_rows(results / "trials.csv")
    rows = current(study, read_rows(results / "finals.csv"), results, data)
    cells = read_rows(results / "statistics.csv")
    made = {"sweep": sweep_table(study, trials)}
    for task in study.tasks:
        made[task] = "\n".join(
            f"### {TASKS.get(task, task)}, {100 * share:g} % of the labels\n\n"
            + finals_table(study, finalists(study, trials), _of(rows, task, share), _of(cells, task, share))
            for share in sorted(study.loops)
        )
    share = study.parts_share
    few = _of(rows, study.tasks[0], share), _of(cells, study.tasks[0], share)
    made["presets"], made["parts"] = presets_table(study, *few), parts_table(study, *few)
    share = max(study.loops)
    made["answer"] = answer(study, _of(rows, study.tasks[0], share), _of(cells, study.tasks[0], share))
    return made


def sweep_table(study: Study, trials: Sequence[Row]) -> str:
    """A line per method: what its recipe gave as it was, what the best trial gave, and with which settings."""
    lines = [
        "| method | trials | validation AUROC, as it was | and best | time of all trials | best settings |",
        "|---|---|---|---|---|---|",
    ]
    for name in study.methods:
        own = [row for row in trials if row["method"] == name]
        scored = [row for row in own if row["val_auroc"]]
        if not scored:
            lines.append(f"| {name} | {len(own) or NOT_RUN} |" + f" {NOT_RUN} |" * 4)
            continue
        best = max(scored, key=lambda row: float(row["val_auroc"]))
        settings = ", ".join(
            f"{key.partition('.')[2]} {_short(value)}" for key, value in best.items() if "." in key and value
        )
        first = f"{float(own[0]['val_auroc']):.4f}" if own[0]["val_auroc"] else "diverged"
        spent = duration(sum(float(row["seconds"] or 0) for row in own))
        lines.append(f"| {name} | {len(own)} | {first} | {float(best['val_auroc']):.4f} | {spent} | {settings} |")
    return "\n".join(lines) + "\n"


def finals_table(study: Study, methods: Sequence[str], rows: Sequence[Row], cells: Sequence[Row]) -> str:
    """A line per finalist, preset and floor: scores with intervals, difference to tuned full fine-tuning, costs."""
    lines = [
        "| method | seeds | trainable | accuracy | F1 | AUROC | accuracy minus full | p (Holm) | not inferior "
        "| s/epoch | peak memory | file |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in (*methods, *study.presets, FLOOR):
        lines.append("| " + " | ".join([_title(name), *_costs_and_scores(name, rows, cells)]) + " |")
    return "\n".join(lines) + "\n"


def presets_table(study: Study, rows: Sequence[Row], cells: Sequence[Row]) -> str:
    """A line per step from a preset towards the tuned method, each with those above it."""
    lines = ["| from | change | seeds | accuracy | AUROC | accuracy minus full |", "|---|---|---|---|---|---|"]
    for preset in study.presets:
        steps = [(preset, "as published, on this encoder")]
        steps += [(f"{preset}+{step}", f"and {title}") for step, title, _ in study.changes]
        steps += [(preset.removeprefix("paper-"), "as tuned: size and the rest")]
        for name, title in steps:
            found = {cell["metric"]: cell for cell in cells if (cell["method"], cell["reference"]) == (name, REFERENCE)}
            scores = [_with_interval(found.get(metric)) for metric in ("accuracy", "auroc")]
            seeds = str(sum(row["method"] == name for row in rows) or NOT_RUN)
            lines.append("| " + " | ".join([preset, title, seeds, *scores, _difference(found.get("accuracy"))]) + " |")
    return "\n".join(lines) + "\n"


def parts_table(study: Study, rows: Sequence[Row], cells: Sequence[Row]) -> str:
    """A line per method and part: scores, and the difference to the same method as tuned."""
    lines = ["| method | change | seeds | accuracy | AUROC | accuracy minus as tuned |", "|---|---|---|---|---|---|"]
    for method in study.methods:
        for part in (part for part in study.parts if method in part.of):
            name = f"{method}+{part.name}"
            found = {cell["metric"]: cell for cell in cells if (cell["method"], cell["reference"]) == (name, method)}
            scores = [_with_interval(found.get(metric)) for metric in ("accuracy", "auroc")]
            seeds = str(sum(row["method"] == name for row in rows) or NOT_RUN)
            told = [method, part.title, seeds, *scores, _difference(found.get("accuracy"))]
            lines.append("| " + " | ".join(told) + " |")
    return "\n".join(lines) + "\n"


def answer(study: Study, rows: Sequence[Row], cells: Sequence[Row]) -> str:
    """The non-inferiority statement about the best method that trains at most `CAP` of the weights."""
    small = {row["method"] for row in rows if float(row["trainable_share"]) <= CAP and "+" not in row["method"]}
    accuracy = [
        cell
        for cell in cells
        if (cell["metric"], cell["reference"]) == ("accuracy", REFERENCE) and cell["method"] in small
    ]
    points = f"{100 * study.margin:g} points"
    if not accuracy:
        return f"Not run yet: whether a method with at most {100 * CAP:.2f} % of the weights is within {points}.\n"
    best = max(accuracy, key=lambda cell: float(cell["value"]))
    verb = "is not inferior" if best["not_inferior"] == "True" else "is not shown to be non-inferior"
    return (
        f"Of the methods that train at most {100 * CAP:.2f} % of the weights, {best['method']} has the highest "
        f"accuracy, {100 * float(best['value']):.2f} %: {_points(best)} points against tuned full fine-tuning, "
        f"{best['seeds']} seeds. At a margin of {points} of accuracy it {verb}.\n"
    )


def _costs_and_scores(name: str, rows: Sequence[Row], cells: Sequence[Row]) -> list[str]:
    own = [row for row in rows if row["method"] == name]
    if not own:
        return [NOT_RUN] * 11
    found = {cell["metric"]: cell for cell in cells if (cell["method"], cell["reference"]) == (name, REFERENCE)}
    accuracy = found.get("accuracy")
    tested = accuracy is not None and name != REFERENCE
    return [
        str(len(own)),
        f"{100 * float(own[0]['trainable_share']):.2f} %",
        *(_with_interval(found.get(metric)) for metric in ("accuracy", "f1", "auroc")),
        "reference" if name == REFERENCE else _difference(accuracy),
        f"{float(accuracy['p_holm']):.3f}" if tested and accuracy["p_holm"] else "",
        {"True": "yes", "False": "not shown"}[accuracy["not_inferior"]] if tested else "",
        seconds(float(np.median([float(row["seconds_per_epoch"]) for row in own]))),
        size(max(float(row["peak_memory_bytes"]) for row in own)),
        size(max(float(row["file_bytes"]) for row in own)),
    ]


def _of(rows: Sequence[Row], task: str, share: float) -> list[Row]:
    return [row for row in rows if row["task"] == task and float(row["share"]) == share]


def _title(name: str) -> str:
    return load_recipes(name)[0].label if name.startswith("paper-") or name == FLOOR else name


def _with_interval(cell: Row | None) -> str:
    """`0.842 ± 0.004 (0.833 to 0.851)`: mean and spread over seeds, interval over recordings."""
    if cell is None:
        return NOT_RUN
    spread = "" if cell["spread"] == "nan" else f" ± {float(cell['spread']):.3f}"
    return f"{float(cell['value']):.3f}{spread} ({float(cell['low']):.3f} to {float(cell['high']):.3f})"


def _difference(cell: Row | None) -> str:
    return NOT_RUN if cell is None else _points(cell)


def _points(cell: Row) -> str:
    """A difference of accuracies in points with its interval."""
    value, low, high = (100 * float(cell[name]) for name in ("difference", "difference_low", "difference_high"))
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f})"


def _short(value: str) -> str:
    try:
        return f"{float(value):.3g}"
    except ValueError:
        return value
