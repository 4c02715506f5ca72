"""report.html of a run, a pretraining and a comparison: one file with everything inside, for screens and paper."""

import re
from collections.abc import Mapping
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ecgtune.errors import RunError
from ecgtune.reporting import pretraining_wording, tables, tasks, wording
from ecgtune.reporting.reading import Comparison, PretrainingRun, Run, read_comparison, read_pretraining, read_run
from ecgtune.reporting.style import baseline_colours, method_colours
from ecgtune.utils import formatting
from ecgtune.utils.files import write_text

#: Functions of `utils.formatting` that the templates use as filters.
_FORMATS = (
    *("score", "std", "interval", "percent", "count", "rate"),
    *("seconds", "duration", "significant", "size"),
)


def write_run_report(folder: Path | str) -> Path:
    """Write `report.html` of a finished run folder from its files and `figures/`; returns the file.

    Raises RunError when the run is not finished.
    """
    run = read_run(folder)
    page = environment().get_template("run.html.j2")
    file = run.folder / "report.html"
    write_text(file, page.render(**run_facts(run)))
    return file


def write_comparison_report(folder: Path | str) -> Path:
    """Write `report.html` of a comparison folder from results.json, its runs and `figures/`; returns the file.

    Raises RunError when results.json or one of its runs is missing.
    """
    comparison = read_comparison(folder)
    page = environment().get_template("comparison.html.j2")
    file = comparison.folder / "report.html"
    write_text(file, page.render(**_comparison_facts(comparison)))
    return file


def write_pretraining_report(folder: Path | str) -> Path:
    """Write `report.html` of a finished pretraining from its files and `figures/`; returns the file.

    Raises RunError when it is not finished.
    """
    run = read_pretraining(folder)
    page = environment().get_template("pretraining.html.j2")
    file = run.folder / "report.html"
    write_text(file, page.render(**pretraining_facts(run)))
    return file


@cache
def environment() -> Environment:
    """The templates of this package with the formats of `utils.formatting` as filters; undefined names are errors."""
    found = Environment(
        loader=PackageLoader("ecgtune.reporting"),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for name in _FORMATS:
        found.filters[name] = getattr(formatting, name)
    found.filters["kept_epoch"] = wording.kept_epoch
    found.filters["markdown"] = tables.escape_markdown
    found.filters["capital"] = lambda text: text[:1].upper() + text[1:]
    found.filters["value"] = plain_value
    return found


def run_facts(run: Run) -> dict[str, Any]:
    """What the templates of one run are filled with."""
    return {
        "run": run,
        "metrics": run.metrics,
        "headline": wording.run_headline(run.metrics),
        "banner": wording.weights_banner(run.metrics["weights"]),
        "unit": tables.unit_name(run.metrics["split"]),
        "pooled_unit": tables.pooled_unit(run.metrics),
        "metric_titles": tasks.metric_titles(run.metrics),
        "threshold": tasks.decision_sentence(run.metrics),
        **_task_facts(run.metrics),
        "shown": shown_folder(run.folder),
        "environment": flat(run.environment),
        "figure": lambda name, alt: inline_figure(run.folder / "figures", name, alt),
    }


def pretraining_facts(run: PretrainingRun) -> dict[str, Any]:
    """What the templates of one pretraining are filled with."""
    leads, objective = run.config["leads"], run.settings["objective"]
    terms, idle = pretraining_wording.logged_terms(run.log)
    samples = 2 ** run.config["conv_layers"]
    return {
        "run": run,
        "metrics": run.metrics,
        "objective": objective,
        "objective_title": pretraining_wording.objective_title(objective),
        "sentences": pretraining_wording.objective_sentences(objective, len(leads)),
        "headline": pretraining_wording.pretraining_headline(run),
        "leads": pretraining_wording.leads_phrase(leads),
        "token": f"{samples} samples, {1000 * samples / run.config['sampling_rate']:g} ms",
        "crop": pretraining_wording.crop_phrase(run.settings),
        "augmentation": pretraining_wording.augmentation_phrase(run.settings["crops"]),
        "crops_seen": pretraining_wording.crops_seen(run),
        "kept": pretraining_wording.kept_phrase(run),
        "recordings": pretraining_wording.recording_rows(run.metrics["data"]["recordings"]),
        "terms": pretraining_wording.term_rows(run),
        "drawn": [pretraining_wording.term_title(term) for term in terms],
        "idle": [pretraining_wording.term_title(term) for term in idle],
        "file_rows": pretraining_wording.file_rows(run.files),
        "checks": pretraining_wording.checks(run),
        "machine": pretraining_wording.machine_phrase(run.environment),
        "data": pretraining_wording.data_phrase(run.metrics["data"]),
        "data_rows": [(file["name"], f"sha256 {file['sha256']}") for file in run.metrics["data"].get("files", ())],
        "shown": shown_folder(run.folder),
        "environment": flat(run.environment),
        "figure": lambda name, alt: inline_figure(run.folder / "figures", name, alt),
    }


def _task_facts(content: Mapping[str, Any]) -> dict[str, Any]:
    """What the templates say differently for several classes or labels."""
    content = dict(content)
    return {
        "task": tasks.task_of(content),
        "kind": tasks.names_of(content),
        "count_rows": tasks.count_rows,
        "label_rows": tasks.label_rows,
        "label_titles": [tasks.METRIC_TITLES[name] for name in tasks.LABEL_METRICS],
        "mean_note": tasks.mean_note,
        "pooled": content.get("evaluation", {}).get("recording", "mean"),
    }


def _comparison_facts(comparison: Comparison) -> dict[str, Any]:
    results = comparison.results
    methods = comparison.rows("method")
    columns = tables.table_columns(results)
    colours = method_colours([row["method"] for row in methods])
    colours |= baseline_colours([row["method"] for row in comparison.rows("baseline")])
    return {
        "results": results,
        "runs": comparison.runs,
        "kinds": [methods, comparison.rows("baseline")],
        "methods": methods,
        "columns": columns,
        "colours": colours,
        "headline": wording.comparison_headline(results),
        "banner": wording.weights_banner(results["weights"]),
        "notes": [note for note in results["notes"] if not note.startswith("weights: random")],
        "meanings": tables.table_notes({**results, "notes": []}),
        "unit": tables.unit_name(results["split"]),
        "pooled_unit": tables.pooled_unit(next(iter(comparison.runs.values()))[0].metrics),
        "metric_titles": tasks.metric_titles(results),
        "metric_columns": tables.metric_columns(results),
        "sort_value": lambda column, row: sort_value(column, row, results),
        "threshold": tasks.decision_phrase,
        "lead": tasks.lead_of(results),
        "label_scores": tasks.label_scores,
        **_task_facts(results),
        "shown": shown_folder(comparison.folder),
        "machine": flat(results["machine"]),
        "figure": lambda name, alt: inline_figure(comparison.folder / "figures", name, alt),
    }


# What a column of the table sorts by; the other columns sort by their text.
_SORT_KEYS = {
    "Epochs": "epochs",
    "LR": "learning_rate",
    "Trainable %": "trainable_fraction",
    "s/epoch": "seconds_per_epoch",
    "Peak memory": "peak_memory_bytes",
    "File size": "file_bytes",
}


def sort_value(column: str, row: dict[str, Any], results: dict[str, Any]) -> Any:
    """The number behind a cell of the comparison's table, its title in the first column, "" when it is missing."""
    if column == "Method":
        return row["title"].lower()
    if column in _SORT_KEYS:
        value = row[_SORT_KEYS[column]]
    elif column.startswith("Δ"):
        value = row["difference"][tasks.lead_of(results)]["value"]
    else:
        value = row["metrics"][tables.metric_columns(results)[column]]["mean"]
    return "" if value is None else value


def inline_figure(folder: Path, name: str, alt: str) -> Markup:
    """An SVG file as an element of the page, with a text for those who do not see it.

    Identifiers inside get the figure's name in front, since a page with ten figures must not hold one twice.
    """
    file = folder / f"{name}.svg"
    if not file.is_file():
        raise RunError(f"{file} is missing; write the figures before the report")
    text = file.read_text(encoding="utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid=")', rf"\1{name}-", text)
    text = re.sub(r'((?:xlink:)?href="#|url\(#)', rf"\1{name}-", text)
    head, rest = text.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    return Markup(f'{head} role="img" aria-label="{escape(alt)}">{rest}')


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one: `versions.torch` -> value."""
    result: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = value
    return result


def plain_value(value: Any) -> str:
    """A value of a settings table as text."""
    if value is None:
        return formatting.MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def shown_folder(folder: Path) -> str:
    """The folder as a reader would type it: from the working directory when it lies below, else its name."""
    try:
        return folder.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return folder.name
