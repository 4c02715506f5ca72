"""The tables of docs/peft_study.md from the kept rows; what nothing ran for says so."""

from collections import Counter
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
    made["answer"] = answer(study, rows, cells)
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
    if not rows:
        return "Not run yet.\n"
    lines = [
        "| method | seeds | trainable | accuracy | F1 | AUROC | accuracy minus full | p (Holm) | not inferior "
        "| s/epoch | peak memory | file |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in (*methods, *study.presets, FLOOR):
        lines.append("| " + " | ".join([_title(name), *_costs_and_scores(name, rows, cells)]) + " |")
    formats = " and ".join(sorted({row["precision"] for row in rows}))
    return "\n".join(lines) + f"\n\nTrained in {formats}.\n"


def presets_table(study: Study, rows: Sequence[Row], cells: Sequence[Row]) -> str:
    """A line per step from a preset towards the tuned method, each with those above it."""
    if not any(row["method"].startswith("paper-") for row in rows):
        return "Not run yet.\n"
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
    if not any("+" in row["method"] and not row["method"].startswith("paper-") for row in rows):
        return "Not run yet.\n"
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


def winner(rows: Sequence[Row]) -> str:
    """The method with the highest mean validation AUROC of those that train at most `CAP` of the weights; "" of none.

    By validation windows, so that the test windows judge one method and do not choose the best of many. On the seeds
    that all of them have: each draws validation windows of its own, and some are easier than others.
    """
    scores: dict[str, dict[str, float]] = {}
    for row in rows:
        if float(row["trainable_share"]) <= CAP and "+" not in row["method"] and row["method"] != FLOOR:
            scores.setdefault(row["method"], {})[row["seed"]] = float(row["val_auroc"])
    seeds = set.intersection(*(set(own) for own in scores.values())) if scores else set()
    if not seeds:
        return ""
    return max(scores, key=lambda name: float(np.mean([scores[name][seed] for seed in seeds])))


def default_method(study: Study, rows: Sequence[Row]) -> str:
    """What `ecgtune train` takes without a method: the winner of most shares of the first task; "" before there is one.

    Of methods that win equally often, the one that wins with more labels.
    """
    winners = [winner(_of(rows, study.tasks[0], share)) for share in sorted(study.loops, reverse=True)]
    counts = Counter(name for name in winners if name)
    return max(counts, key=lambda name: counts[name]) if counts else ""  # of equal counts, the first


def answer(study: Study, rows: Sequence[Row], cells: Sequence[Row]) -> str:
    """What the study says of the first task, a line per share of the labels, and which method is the default."""
    lines = []
    for share in sorted(study.loops, reverse=True):
        own, found = _of(rows, study.tasks[0], share), _of(cells, study.tasks[0], share)
        best = winner(own)
        where = f"**{100 * share:g} % of the labels**"
        if not own or all(row["method"] != REFERENCE for row in own):
            lines.append(f"- {where}: not run yet.")
            continue
        lines.append(f"- {where}: {_judged(study, best, own, found)}")
    default = default_method(study, rows)
    if default:
        lines.append(f"- `ecgtune train` without a method takes `{default}`, which won most often.")
    return "\n".join(lines) + "\n"


def _judged(study: Study, best: str, rows: Sequence[Row], cells: Sequence[Row]) -> str:
    """The winner against full fine-tuning, probe and floor, and side tuning against LoRA, as far as they have run."""
    accuracy = {
        (cell["method"], cell["reference"]): cell
        for cell in cells
        if cell["metric"] == "accuracy" and "+" not in cell["method"]
    }
    told = []
    own = accuracy.get((best, REFERENCE))
    if own is not None:
        share = float(next(row["trainable_share"] for row in rows if row["method"] == best))
        verb = "is not inferior" if own["not_inferior"] == "True" else "is not shown to be non-inferior"
        told.append(
            f"of the methods that train at most {100 * CAP:.2f} % of the weights, `{best}` ({100 * share:.2f} %) has "
            f"the highest AUROC on validation windows. Its accuracy on the test windows is "
            f"{100 * float(own['value']):.2f} %, {_points(own)} points beside tuned full fine-tuning, {own['seeds']} "
            f"seeds; at a margin of {100 * study.margin:g} points it {verb}"
        )
    others = {"the frozen probe": "probe", "the small network from scratch": FLOOR}
    beside = [
        f"{_points(accuracy[best, name])} points beside {what}"
        for what, name in others.items()
        if (best, name) in accuracy
    ]
    if beside:
        told.append(f"it has {' and '.join(beside)}")
    side = accuracy.get(("side", "lora"))
    if side is not None:
        told.append(f"side tuning has {_points(side)} points beside LoRA")
    sentences = [sentence[0].upper() + sentence[1:] if number else sentence for number, sentence in enumerate(told)]
    return ". ".join(sentences) + "." if told else "not run yet."


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
