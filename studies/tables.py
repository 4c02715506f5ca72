"""Markdown tables of a study, from the rows of its runs and the cells of its statistics."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from differences import by_place, over_seeds, paired
from pages import amount, markdown
from rows import Row, read_rows
from settings import Study, mean_trials

from ecgtune.utils import formatting

NOT_RUN = "not run"
Cells = Mapping[tuple[str, ...], Row]


def contents(study: Study, rows: Sequence[Row]) -> dict[str, str]:
    """Return the Markdown of each section of the page that the setting file defines."""
    cells = {
        tuple(row[name] for name in ("task", "fraction", "variant", "reference", "metric")): row
        for row in read_rows(study.results / "statistics.csv")
    }
    makers = {"runs": runs_table, "pairs": pairs_table, "sweep": sweep_table}
    return {
        section: makers[layout.get("kind", "runs")](study, layout, rows, cells)
        for section, layout in study.tables.get("tables", {}).items()
    }


def sweep_table(study: Study, *_: Any) -> str:
    """Return a table with one row per variant: validation AUROC of first and best trial, settings of the best.

    Of several tasks, the AUROC is the mean.
    """
    lines = []
    for name in study.variants:
        trials = mean_trials(study.trials, name)
        scored = [row for row in trials if row["val_auroc"]]
        if not scored:
            lines.append((name, NOT_RUN, "", "", ""))
            continue
        best = max(scored, key=lambda row: float(row["val_auroc"]))
        settings = ", ".join(
            f"{key.partition('.')[2]} {_short(value)}" for key, value in best.items() if "." in key and value
        )
        first = f"{float(trials[0]['val_auroc']):.4f}" if trials[0]["val_auroc"] else "diverged"
        lines.append((name, str(len(trials)), first, f"{float(best['val_auroc']):.4f}", settings))
    header = ("method", "trials", "validation AUROC, first trial", "best trial", "its settings")
    return markdown(header, lines)


def runs_table(study: Study, layout: Mapping[str, Any], rows: Sequence[Row], cells: Cells) -> str:
    """Return one table per task and fraction, with one row per variant.

    layout: `tasks`, `at` (fractions), `columns` (of `COLUMNS`), `rows` (variants, by default all of the study),
    `differences` (metrics) to `reference`: a variant, "own" (the first reference of the variant) or "above" (the row
    above). alike: columns with equal values in paired runs, by default precision and device.
    """
    found, parts = by_place(rows), []
    names = layout.get("rows", study.variants)
    places = [
        (task, f"{at:g}")
        for task in layout.get("tasks", study.tasks)
        for at in sorted(layout.get("at", study.tasks[task].at or study.at))
    ]
    for place in places:
        runs, lines, before = found.get(place, {}), [], None
        for name in names:
            reference = layout.get("reference")
            reference = {"own": _own(study, name), "above": before}.get(reference, reference)
            if name in runs:
                lines.append([_title(study, name), *_line(layout, runs, name, reference, place, cells)])
            before = name or None  # "" separates rows that are not compared
        if len(places) > 1:
            parts.append(f"### {study.tasks[place[0]].title}, {100 * float(place[1]):g} % of the labels\n")
        header = [COLUMNS[name][0] for name in layout["columns"] if name != "variant"]
        titles = {"own": layout.get("own", "as tuned"), "above": "the line above"}
        title = titles.get(layout.get("reference", ""), layout.get("reference"))
        header += [f"{_METRICS[metric]} minus {title}" for metric in layout.get("differences", ())]
        parts.append(markdown(("variant", "seeds", *header), lines) if lines else "Not run yet.\n")
        if len(places) > 1 and lines:
            parts.append(_trained_on([row for name in names for row in runs.get(name, {}).values()]) + "\n")
    return "\n".join(parts)


def _line(
    layout: Mapping[str, Any], runs: Any, name: str, reference: str | None, place: Any, cells: Cells
) -> list[str]:
    own = list(runs[name].values())
    line = [str(len(own))]
    for column in layout["columns"]:
        if column in _METRICS and (cell := cells.get((*place, name, name, column))):
            line.append(_with_interval(cell))
        elif column != "variant":
            line.append(COLUMNS[column][1](own))
    for metric in layout.get("differences", ()):
        if reference is None or reference == name or reference not in runs:
            line.append("")
        elif cell := cells.get((*place, name, reference, metric)):
            line.append(_difference(cell))
        else:
            pairs = paired(runs[name], runs[reference], layout.get("alike", ("precision", "device")))
            line.append(points([float(one[metric]) - float(two[metric]) for one, two in pairs]))
    return line


def pairs_table(study: Study, layout: Mapping[str, Any], rows: Sequence[Row], cells: Cells) -> str:
    """Return one table per task and metric, with one row per pair of variants and one column per fraction."""
    fractions, parts = [f"{one:g}" for one in sorted(study.at)], []
    for task, described in study.tasks.items():
        for metric in layout["metrics"]:
            lines = []
            for name, reference in layout["pairs"]:
                here = [cells.get((task, fraction, name, reference, metric)) for fraction in fractions]
                lines.append((f"`{name}` minus `{reference}`", *(_difference(c) if c else NOT_RUN for c in here)))
                if (metric, reference) == ("accuracy", "full"):
                    margin = study.tables["margin"]
                    verdicts = [_verdict(cell, margin) if cell else NOT_RUN for cell in here]
                    lines.append((f"... not inferior at {100 * margin:g} points", *verdicts))
            header = [f"{100 * float(fraction):g} % of the labels" for fraction in fractions]
            parts.append(f"**{described.title}, {_METRICS[metric]}**\n\n" + markdown(("", *header), lines))
    return "\n".join(parts)


def points(differences: Sequence[float]) -> str:
    """Format the mean of paired differences of seeds in points with Student's interval; "" for fewer than two."""
    if len(differences) < 2:
        return ""
    low, high = over_seeds(differences)
    return f"{100 * np.mean(differences):+.2f} ({100 * low:+.2f} to {100 * high:+.2f} over seeds)"


def _own(study: Study, name: str) -> str | None:
    variant = study.variants.get(name)
    return variant.reference[0] if variant and variant.reference else None


def _title(study: Study, name: str) -> str:
    return study.variant(name).title or name


def _verdict(cell: Row, margin: float) -> str:
    """Return whether a difference is above -margin by the interval over recordings, and also by that over seeds."""
    if float(cell["difference_ci_low"]) <= -margin:
        return "not shown"
    return "yes" if float(cell["seeds_ci_low"]) > -margin else "for these seeds"


def _with_interval(cell: Row) -> str:
    """Format `0.842 ± 0.004 (0.833 to 0.851)`: mean and standard deviation over seeds, interval over recordings."""
    std = "" if cell["std"] == "nan" else f" ± {float(cell['std']):.3f}"
    return f"{float(cell['value']):.3f}{std} ({float(cell['ci_low']):.3f} to {float(cell['ci_high']):.3f})"


def _difference(cell: Row) -> str:
    """Format a difference in points with its interval over recordings, and marks of two further criteria.

    * : the interval over seeds excludes zero too; ** : also Holm's p-value is below 0.05.
    """
    low, high = (float(cell[f"difference_ci_{end}"]) for end in ("low", "high"))
    seeds_low, seeds_high = (float(cell[f"seeds_ci_{end}"]) for end in ("low", "high"))
    mark = ""
    if (low > 0 or high < 0) and (seeds_low > 0 or seeds_high < 0):
        mark = " **" if cell["p_holm"] and float(cell["p_holm"]) < 0.05 else " *"
    return f"{100 * float(cell['difference']):+.2f} ({100 * low:+.2f} to {100 * high:+.2f}){mark}"


def _trained_on(rows: Sequence[Row]) -> str:
    kinds = {f"{row['precision']} on {row['device']}" for row in rows}
    return f"Trained in {' and '.join(sorted(kinds)).replace('on cpu', 'on a CPU')}."


def _mean(name: str, digits: int = 3) -> Callable[[Sequence[Row]], str]:
    def text(own: Sequence[Row]) -> str:
        values = [float(row[name]) for row in own if row[name]]
        if not values:
            return ""
        std = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
        return f"{np.mean(values):.{digits}f}{std}"

    return text


def _first(name: str, form: Callable[[str], str] = str) -> Callable[[Sequence[Row]], str]:
    return lambda own: form(own[0][name]) if own[0][name] else ""


def _short(value: str) -> str:
    try:
        return f"{float(value):.3g}"
    except ValueError:
        return value


_METRICS = {"accuracy": "accuracy", "f1": "F1", "auroc": "AUROC"}
#: Columns of a table of runs: heading, and a function that formats the runs of one variant.
COLUMNS: Mapping[str, tuple[str, Callable[[Sequence[Row]], str]]] = {
    **{name: (title, _mean(name)) for name, title in _METRICS.items()},
    "lowest accuracy": ("lowest accuracy", lambda own: f"{min(float(row['accuracy']) for row in own):.3f}"),
    "val_auroc": ("validation AUROC", _mean("val_auroc", 4)),
    "last_val_auroc": ("validation AUROC, last epoch", _mean("last_val_auroc", 4)),
    "best_val_auroc": ("best epoch", _mean("best_val_auroc", 4)),
    "best_val_epoch": ("which one", _first("best_val_epoch")),
    "train_loss": ("training loss", _mean("train_loss", 4)),
    "val_loss": ("validation loss", _mean("val_loss", 4)),
    "trainable": ("trainable", _first("trainable_fraction", lambda text: f"{100 * float(text):.2f} %")),
    "epochs": ("epochs", _first("epochs")),
    "s/epoch": (
        "s/epoch",
        lambda own: formatting.seconds(float(np.median([float(row["seconds_per_epoch"]) for row in own]))),
    ),
    "memory": ("peak memory", lambda own: amount(max(float(row["peak_memory_bytes"]) for row in own), "bytes")),
    "file": ("file", lambda own: amount(max(float(row["file_bytes"]) for row in own), "bytes")),
    "parameters": ("parameters", _first("parameters", lambda text: f"{int(text):,}")),
    "token": ("token", _first("token_ms", lambda text: f"{text} ms")),
    "s pretraining": ("s pretraining", _first("pretraining_seconds")),
}
