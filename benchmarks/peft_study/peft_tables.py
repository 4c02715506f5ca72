"""The tables of docs/peft_study.md and of peft_study_choices.md from the kept rows; what nothing ran for says so."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from peft_contest import CAP, lead, winner
from peft_rows import Row, read_rows
from peft_settings import FLOOR, PUBLISHED, REFERENCE, Study, tuned
from peft_stages import current, finalists

from ecgtune.config.base import to_table
from ecgtune.recipe.recipe import Recipe, load_recipes
from ecgtune.utils.files import read_json
from ecgtune.utils.formatting import duration, seconds, size

NOT_RUN = "not run"
_DEVICES = {"cpu": "a CPU"}
TASKS = {"abnormal": "Normal against abnormal", "fibrillation": "Atrial fibrillation against the rest"}


def current_rows(study: Study, results: Path) -> list[Row]:
    """The rows of the finals that would be the same today, on the windows that study.json names."""
    facts = results / "study.json"
    data = {task: told["sha256"] for task, told in read_json(facts)["data"].items()} if facts.is_file() else {}
    return current(study, read_rows(results / "finals.csv"), results, data)


def tables(study: Study, results: Path) -> dict[str, str]:
    """Every table of peft_study.md by its name there, Markdown."""
    trials, rows = read_rows(results / "trials.csv"), current_rows(study, results)
    cells = read_rows(results / "statistics.csv")
    made = {}
    shown = [*finalists(study, trials), *study.ensembles]
    for task in study.tasks:
        made[task] = "\n".join(
            f"### {TASKS.get(task, task)}, {100 * share:g} % of the labels\n\n"
            + finals_table(study, shown, _of(rows, task, share), _of(cells, task, share))
            for share in sorted(study.loops)
        )
    share = study.parts_share
    few = _of(rows, study.tasks[0], share), _of(cells, study.tasks[0], share)
    made["presets"], made["parts"] = presets_table(study, tuned(results), *few), parts_table(study, *few)
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
    """A line per method of `methods`, other tuned method that ran, preset and floor: scores with intervals and costs;
    then what ran, minus tuned full. Steps and parts are in tables of their own.
    """
    rows = [row for row in rows if "+" not in row["method"]]
    if not rows:
        return "Not run yet.\n"
    lines = [
        "| method | seeds | trainable | accuracy | F1 | AUROC | epochs | s/epoch | peak memory | file |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    beside = [
        "| minus tuned full, points | accuracy | p (Holm) | over seeds | not inferior | F1 | p (Holm) | over seeds "
        "| AUROC | p (Holm) | over seeds |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    ran = {row["method"] for row in rows}
    others = [name for name in study.methods if name in ran and name not in methods]
    for name in (*methods, *others, *study.presets, FLOOR):
        own = [row for row in rows if row["method"] == name]
        found = _beside(cells, name, REFERENCE)
        told = _scores_and_costs(found, own) if own else [NOT_RUN] * 9
        lines.append("| " + " | ".join([_title(name), *told]) + " |")
        if found and name != REFERENCE:
            beside.append("| " + " | ".join([_title(name), *_differences(study, found)]) + " |")
    return "\n".join(lines) + f"\n\n{_trained_in(rows)}\n\n" + "\n".join(beside) + "\n"


def presets_table(study: Study, found: Mapping[str, Recipe], rows: Sequence[Row], cells: Sequence[Row]) -> str:
    """A line per step from a preset towards the tuned method, each with those above it."""
    if not any(row["method"].startswith("paper-") for row in rows):
        return "Not run yet.\n"
    lines = [
        "| from | change | seeds | accuracy | AUROC | accuracy minus the line above | AUROC minus the line above "
        "| seeds of both | accuracy minus full | AUROC minus full |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    titles = ["as published, on this encoder", *(f"and {title}" for _, title, _ in study.changes)]
    for preset in study.presets:
        for name, title in zip(study.steps(preset), [*titles, _last_change(study, preset, found)], strict=True):
            beside = _beside(cells, name, REFERENCE)
            scores = [_with_interval(beside.get(metric)) for metric in ("accuracy", "auroc")]
            own = [row for row in rows if row["method"] == name]
            told = [preset, title, _seeds(beside, own) if own else NOT_RUN, *scores]
            above = _beside(cells, name, study.step_before(name) or "")
            first = name == preset
            told += ["" if first else _difference(above.get(metric)) for metric in ("accuracy", "auroc")]
            told += ["" if first else above["accuracy"]["seeds"] if above else NOT_RUN]
            lines.append(
                "| " + " | ".join([*told, *(_difference(beside.get(m)) for m in ("accuracy", "auroc"))]) + " |"
            )
    return "\n".join(lines) + "\n"


def _last_change(study: Study, preset: str, found: Mapping[str, Recipe]) -> str:
    """What the tuned method has and the last step from its preset has not."""
    method = preset.removeprefix("paper-")
    if method not in found:
        return "as tuned"
    steps = study.preset(preset, found[method].optimisation.learning_rate)
    last, whole = (
        study.final(recipe, name, study.tasks[0], study.parts_share, 0)
        for name, recipe in ([*steps.items()][-1], (method, found[method]))
    )
    changed = []
    for part in ("method", "model", "training", "augmentation"):
        before, after = (to_table(getattr(recipe, part)) for recipe in (last, whole))
        left = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        changed += [f"{name} {after.get(name, 'unset')} for {before.get(name, 'unset')}" for name in left]
    return f"as tuned: {', '.join(changed)}"


def parts_table(study: Study, rows: Sequence[Row], cells: Sequence[Row]) -> str:
    """A line per method and part: scores, and the difference to the same method as tuned."""
    if not any("+" in row["method"] and not row["method"].startswith("paper-") for row in rows):
        return "Not run yet.\n"
    lines = [
        "| method | change | seeds | accuracy | AUROC | accuracy minus as tuned | AUROC minus as tuned |",
        "|---|---|---|---|---|---|---|",
    ]
    for method in study.methods:
        for part in (part for part in study.parts if method in part.of):
            name = f"{method}+{part.name}"
            found = _beside(cells, name, method)
            scores = [_with_interval(found.get(metric)) for metric in ("accuracy", "auroc")]
            own = [row for row in rows if row["method"] == name]
            seeds = _seeds(found, own) if own else NOT_RUN
            differences = [_difference(found.get(metric)) for metric in ("accuracy", "auroc")]
            lines.append("| " + " | ".join([method, part.title, seeds, *scores, *differences]) + " |")
    return "\n".join(lines) + "\n"


def answer(study: Study, rows: Sequence[Row], cells: Sequence[Row]) -> str:
    """The method that won, and for each task what it and side tuning reach beside others, by share of the labels."""
    best = winner(study, rows)
    shown = [row for row in rows if row["method"] == (best or study.default)]
    if not shown:
        return "Not run yet.\n"
    share = f"{100 * float(shown[0]['trainable_share']):.2f} %"
    told = (
        f"Of the methods that had trials, train at most {100 * CAP:.2f} % of the weights and have run at all shares of "
        f"the labels, **`{best}`** ({share}) has the highest AUROC on validation windows of the first task, a mean "
        "over shares weighted by how many windows they have; `ecgtune fine-tune` takes it by default. Beside "
        f"it lie, in points ± the standard error over seeds, {lead(study, rows)}: what is nearer than two standard "
        "errors is no worse for all that these windows tell, and the rule had to choose."
        if best
        else "No method has won yet, because not all of them have run at all shares of the labels with all seeds, in "
        f"one number format on one device. Here stands `{study.default}` ({share} of the weights), which `ecgtune "
        "train` takes as long as that is so."
    )
    best = best or study.default
    lines = [
        f"{told} The tables have differences on test windows, in points, with 95 % intervals over recordings, each on "
        "the seeds that both methods have:",
        "",
    ]
    for task in study.tasks:
        if any(row["task"] == task for row in rows):
            lines += [f"**{TASKS.get(task, task)}**", "", *_questions(study, task, best, cells), ""]
    return "\n".join(lines)


def _questions(study: Study, task: str, best: str, cells: Sequence[Row]) -> list[str]:
    """A Markdown table: a line per question, of accuracy and then of AUROC; a column per share of the labels."""
    shares = sorted(study.loops)
    found = {
        (cell["metric"], float(cell["share"]), cell["method"], cell["reference"]): cell
        for cell in cells
        if cell["task"] == task
    }
    lines = [
        "| |" + "".join(f" {100 * share:g} % of the labels |" for share in shares),
        "|---|" + "---|" * len(shares),
    ]
    pairs = {
        f"`{best}` minus tuned full fine-tuning": (best, REFERENCE),
        f"`{best}` minus full fine-tuning as published": (best, PUBLISHED),
        f"`{best}` minus the frozen probe": (best, "probe"),
        f"`{best}` minus the network from scratch": (best, FLOOR),
        **{f"`{method}` minus `{rival}`": (method, rival) for method, rival in study.rivals.items()},
    }
    for metric, heading in (("accuracy", "Accuracy"), ("auroc", "AUROC")):
        lines.append(f"| **{heading}** |" + " |" * len(shares))
        for question, (method, reference) in pairs.items():
            if method == reference or method not in study.compared:
                continue
            asked = [found.get((metric, share, method, reference)) for share in shares]
            lines.append(f"| {question} |" + "".join(f" {_difference(cell)} |" for cell in asked))
            if (metric, reference) == ("accuracy", REFERENCE):
                lines.append("| seeds of it |" + "".join(f" {cell['seeds'] if cell else NOT_RUN} |" for cell in asked))
                told = "".join(f" {_verdict(study, cell) if cell else NOT_RUN} |" for cell in asked)
                lines.append(f"| not inferior at {100 * study.margin:g} points |{told}")
    return lines


def _beside(cells: Sequence[Row], method: str, reference: str) -> dict[str, Row]:
    """What the statistics say of a method beside another, by metric; empty where not both have run."""
    return {cell["metric"]: cell for cell in cells if (cell["method"], cell["reference"]) == (method, reference)}


def _verdict(study: Study, cell: Row) -> str:
    """Whether a difference to full fine-tuning lies above the margin: for other recordings, and for other seeds too."""
    if cell["not_inferior"] != "True":
        return "not shown"
    return "yes" if float(cell["seeds_low"]) > -study.margin else "for these seeds"


def _scores_and_costs(found: Mapping[str, Row], own: Sequence[Row]) -> list[str]:
    return [
        _seeds(found, own),
        f"{100 * float(own[0]['trainable_share']):.2f} %",
        *(_with_interval(found.get(metric)) for metric in ("accuracy", "f1", "auroc")),
        own[0]["epochs"],
        seconds(float(np.median([float(row["seconds_per_epoch"]) for row in own]))),
        size(max(float(row["peak_memory_bytes"]) for row in own)),
        size(max(float(row["file_bytes"]) for row in own)),
    ]


def _differences(study: Study, found: Mapping[str, Row]) -> list[str]:
    """Of each metric the difference, Holm's p-value and the interval over seeds; of accuracy the verdict too."""
    told = []
    for metric, cell in ((metric, found[metric]) for metric in ("accuracy", "f1", "auroc")):
        told += [_points(cell), f"{float(cell['p_holm']):.3f}" if cell["p_holm"] else "", _between(cell, "seeds")]
        told += [_verdict(study, cell)] if metric == "accuracy" else []
    return told


def _seeds(found: Mapping[str, Row], rows: Sequence[Row]) -> str:
    """How many seeds the numbers of a line are from: those that its reference has too."""
    return found["accuracy"]["seeds"] if "accuracy" in found else str(len(rows))


def _trained_in(rows: Sequence[Row]) -> str:
    """How many of the runs of a table were trained in which number format, and on what."""
    counts = Counter(f"{row['precision']} on {_DEVICES.get(row['device'], row['device'])}" for row in rows)
    if len(counts) == 1:
        return f"Trained in {next(iter(counts))}."
    told = (f"{name} ({count} run{'s' * (count > 1)})" for name, count in sorted(counts.items()))
    return f"Trained in {' and '.join(told)}."


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
    """A difference in points, hundredths of the metric, with its interval over recordings."""
    return f"{100 * float(cell['difference']):+.2f} ({_between(cell, 'difference')})"


def _between(cell: Row, name: str) -> str:
    """Both ends of an interval in points; "" where a single seed has none."""
    low, high = (100 * float(cell[f"{name}_{end}"]) for end in ("low", "high"))
    return "" if np.isnan(low) else f"{low:+.2f} to {high:+.2f}"


def _short(value: str) -> str:
    try:
        return f"{float(value):.3g}"
    except ValueError:
        return value
