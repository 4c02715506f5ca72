"""Values and formats of the templates: report.html of a run, a pretraining and a comparison, and the model cards."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgtune.data.positive import stored_positive
from ecgtune.errors import RunError
from ecgtune.evaluation.notes import preset_notes
from ecgtune.reporting import calibration, encoders, pretraining, tables, wording
from ecgtune.reporting.answers import comparison_answer, evaluate_command, run_answer, stress_command
from ecgtune.reporting.certainty import certainty_sentences
from ecgtune.reporting.evidence import Evidence, case_facts, external_facts, read_evidence, stress_facts
from ecgtune.reporting.folders import Comparison, FinishedPretraining, FinishedRun
from ecgtune.reporting.recommendation import import_lines, shown_run
from ecgtune.reporting.style import row_colours
from ecgtune.reporting.tradeoffs import differing
from ecgtune.text import printable
from ecgtune.utils import formatting
from ecgtune.utils.drawings import is_drawing
from ecgtune.utils.formatting import flat
from ecgtune.utils.stored import read_text

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

#: Functions of `formatting` that the templates use as filters.
_FORMATS = (
    *("score", "std", "interval", "percent", "count", "rate", "signed", "signed_interval"),
    *("seconds", "duration", "significant", "size"),
)


def render(template: str, facts: Mapping[str, Any]) -> str:
    """The text of a template of this package, filled with `facts`."""
    return _environment().get_template(template).render(**facts)


@cache
def _environment() -> Environment:
    return make_environment()


def make_environment() -> Environment:
    """Return the templates with the formats of `formatting` as filters; undefined names are errors."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=PackageLoader("ecgtune.reporting"),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        finalize=lambda value: printable(value, lines=True) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for name in _FORMATS:
        found.filters[name] = getattr(formatting, name)
    found.filters["counted"] = formatting.counted
    found.filters["checkpoint_epoch"] = wording.checkpoint_epoch
    found.filters["markdown"] = tables.escape_markdown
    found.filters["capital"] = lambda text: text[:1].upper() + text[1:]
    found.filters["value"] = plain_value
    found.filters["cell"] = small_interval
    return found


#: Sections of a report by the anchors of its template, in order.
_EVIDENCE = {
    "calibration": "Calibration",
    "certainty": "When not to answer",
    "other": "Other data",
    "subgroups": "Subgroups",
    "stress": "Stress test",
    "cases": "Cases",
    "figures": "Figures",
}
_RUN_SECTIONS = {
    "metrics": "Test metrics",
    **_EVIDENCE,
    "training": "Training",
    "data": "Data and split",
    "load": "Load the model",
    "settings": "Settings",
}
_COMPARISON_SECTIONS = {
    "table": "Table",
    **_EVIDENCE,
    "methods": "Methods",
    "data": "Data and split",
    "load": "Load a model",
    "repeat": "Reproduce",
}


def run_facts(run: FinishedRun) -> dict[str, Any]:
    """Values of the templates of a run."""
    evidence, shown = read_evidence(run.folder), shown_folder(run.folder)
    return {
        "run": run,
        "answer": run_answer(run, evidence, shown),
        "contents": _RUN_SECTIONS.items(),
        **evidence_facts(run, evidence, shown, shown),
        "metrics": run.metrics,
        "headline": wording.run_headline(run.metrics),
        "banner": wording.weights_banner(run.metrics["weights"]),
        "unit": wording.unit_name(run.metrics["split"]),
        "pooled_unit": wording.pooled_unit(run.metrics),
        "metric_titles": wording.metric_titles(run.metrics),
        "preset_notes": preset_notes([run.metrics]),
        "threshold": wording.decision_sentence(run.metrics),
        "too_few": wording.too_few_note(_shown_in_run(run.metrics)),
        "imports": import_lines(run.metrics),
        **_task_facts(run.metrics),
        "calibration": run.calibration,
        "calibration_entries": {} if run.calibration is None else calibration.shown_entries(run.calibration),
        "calibration_drawn": [] if run.calibration is None else calibration.drawn_names(run.calibration),
        "measure_rows": calibration.measure_rows,
        "label_measures": calibration.label_measures,
        **folder_facts(run.folder),
        "environment": flat(run.environment),
    }


def pretraining_facts(run: FinishedPretraining) -> dict[str, Any]:
    """Values of the templates of a pretraining."""
    leads, objective = run.config["leads"], run.settings["objective"]
    terms, idle = pretraining.logged_terms(run.log)
    return {
        "run": run,
        "metrics": run.metrics,
        "objective": objective,
        "objective_title": pretraining.objective_title(objective),
        "sentences": pretraining.objective_sentences(objective, len(leads)),
        "headline": pretraining.pretraining_headline(run),
        "leads": pretraining.leads_phrase(leads),
        "token": pretraining.token_phrase(run),
        "rate": f"{run.sampling_rate:g}",
        "encoder_rows": pretraining.encoder_rows(run),
        "start": run.metrics.get("start"),
        "crop": pretraining.crop_phrase(run.settings),
        "augmentation": pretraining.augmentation_phrase(run.settings["crops"]),
        "crops_seen": pretraining.crops_seen(run),
        "checkpoint": pretraining.checkpoint_phrase(run),
        "recordings": pretraining.recording_rows(run.metrics["data"]["recordings"]),
        "terms": pretraining.term_rows(run),
        "drawn": [pretraining.term_title(term) for term in terms],
        "idle": [pretraining.term_title(term) for term in idle],
        "file_rows": pretraining.file_rows(run.files),
        "checks": pretraining.checks(run),
        "machine": pretraining.machine_phrase(run.environment),
        "data": pretraining.data_phrase(run.metrics["data"]),
        "data_rows": [(file["name"], f"sha256 {file['sha256']}") for file in run.metrics["data"].get("files", ())],
        **folder_facts(run.folder),
        "environment": flat(run.environment),
    }


def comparison_facts(comparison: Comparison) -> dict[str, Any]:
    """Values of the template of a comparison."""
    results, methods = comparison.results, comparison.rows("method")
    own, shown = shown_run(results), shown_folder(comparison.folder)
    run = next(run for found in comparison.runs.values() for run in found if run.folder == comparison.folder / own)
    evidence = read_evidence(run.folder)
    runs = {name: [run.metrics for run in runs] for name, runs in comparison.runs.items()}
    return {
        "results": results,
        "answer": comparison_answer(comparison, run, evidence, shown),
        "contents": _COMPARISON_SECTIONS.items(),
        "shown_run": f"{shown}/{own}",
        **evidence_facts(run, evidence, f"{shown}/{own}", shown),
        "runs": comparison.runs,
        "kinds": [methods, comparison.rows("baseline")],
        "methods": methods,
        "columns": tables.table_columns(results),
        "pairs": encoders.pair_rows(results),
        "pair_note": encoders.pair_note(results) if encoders.compares_encoders(results) else "",
        "colours": row_colours(results["rows"]),
        "differing": differing(results),
        "imports": import_lines(results),
        "banner": wording.weights_banner(results["weights"]),
        "notes": [note for note in results["notes"] if not note.startswith("weights: random")],
        "meanings": tables.table_notes({**results, "notes": []}, _shown_in_comparison(results)),
        "unit": wording.unit_name(results["split"]),
        "pooled_unit": wording.pooled_unit(next(iter(runs.values()))[0]),
        "metric_titles": wording.metric_titles(results),
        "metric_columns": tables.metric_columns(results),
        "calibration_columns": tables.CALIBRATION,
        "sort_value": lambda column, row: sort_value(column, row, results),
        "threshold": wording.decision_phrase,
        "lead": wording.lead_of(results),
        "label_scores": {}
        if wording.task_of(results) == "binary"
        else {name: wording.label_scores(own) for name, own in runs.items()},
        **_task_facts(results),
        **folder_facts(comparison.folder),
        "machine": flat(results["machine"]),
    }


def evidence_facts(run: FinishedRun, evidence: Evidence, shown: str, report: str) -> dict[str, Any]:
    """Values of the sections of evidence. shown, report: folders of the run, and of the report, as they are typed."""
    return {
        "certainty": [] if run.certainty is None else certainty_sentences(run.certainty),
        "evaluations": [external_facts(folder, result) for folder, result in evidence.external.items()],
        "tests": [stress_facts(folder, result) for folder, result in evidence.stress.items()],
        "cases": case_facts(run.folder, evidence.cases),
        "picture": inline_figure,
        "commands": {
            "evaluate": evaluate_command(shown),
            "subgroups": evaluate_command(shown, " --by COLUMN"),
            "stress": stress_command(shown),
            "report": f"ecgtune report {report}",
        },
    }


def _shown_in_run(metrics: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Entries whose intervals are shown in the report of a run."""
    for level in (metrics["window"], metrics["group"]):
        shown = (level.get("metrics", {}).get(name) for name in wording.metric_titles(dict(metrics)))
        yield from (entry for entry in shown if entry and entry["value"] is not None)
        for label in level.get("labels", {}).values():
            yield from ((label["metrics"] or {}).get(name, {}) for name in wording.LABEL_METRICS)


def _shown_in_comparison(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Entries whose intervals are shown in the report of a comparison."""
    shown = tables.differences(results)
    for row in results["rows"]:
        shown += [row["metrics"][name] for name in tables.metric_columns(results).values()]
        shown += [(row["group_metrics"] or {}).get(name, {}) for name in wording.metric_titles(results)]
    return shown


def _task_facts(content: Mapping[str, Any]) -> dict[str, Any]:
    """Values that differ for several classes or labels."""
    content = dict(content)
    return {
        "task": wording.task_of(content),
        "kind": wording.label_kind(content),
        "count_rows": wording.count_rows,
        "label_rows": wording.label_rows,
        "label_titles": [wording.METRIC_TITLES[name] for name in wording.LABEL_METRICS],
        "mean_note": wording.mean_note,
        "positive": stored_positive(content)[0] if wording.task_of(content) == "binary" else None,
        "positive_note": wording.positive_note,
        "checkpoints": wording.CHECKPOINTS,
        "pooled": wording.pooling(content),
    }


def folder_facts(folder: Path) -> dict[str, Any]:
    """The shown name of a folder, and its figures by name and text alternative."""
    return {"shown": shown_folder(folder), "figure": lambda name, alt: inline_figure(folder / "figures", name, alt)}


# The key by which a column of the table is sorted; the other columns are sorted by their text.
_SORT_KEYS = {
    "Epochs": "epochs",
    "LR": "learning_rate",
    "Trainable %": "trainable_fraction",
    "s/epoch": "seconds_per_epoch",
    "Trained": "trainable",
    "Time": "seconds",
    "Peak memory": "peak_memory_bytes",
    "File size": "file_bytes",
}


def sort_value(column: str, row: dict[str, Any], results: dict[str, Any]) -> Any:
    """The number of a cell of the comparison table, the title in the first column, "" if missing."""
    if column == "Method":
        return row["title"].lower()
    if column in _SORT_KEYS:
        value = row[_SORT_KEYS[column]]
    elif column.startswith("Δ"):
        value = row["difference"][wording.lead_of(results)]["value"]
    else:
        value = row["metrics"][tables.metric_columns(results)[column]]["mean"]
    return "" if value is None else value


def inline_figure(folder: Path, name: str, alt: str, prefix: str | None = None) -> Markup:
    """An SVG file as an element of the page, with a text alternative.

    Identifiers inside get a prefix, by default the figure's name: a page with ten figures must not contain one twice.
    """
    from markupsafe import Markup

    text = read_text(
        folder / f"{name}.svg", "remove the folder of figures and rerun ecgtune report, which draws them again"
    )
    text = text[text.index("<svg") :]
    text = _without(_without(text, "<!--", "-->"), "<metadata>", "</metadata>")
    if not is_drawing(text):
        raise RunError(
            f"{folder / name}.svg is no figure that ecgtune wrote: it holds more than shapes; remove {folder}"
        )
    prefix = prefix or name
    text = re.sub(r'(\bid=")', rf"\1{prefix}-", text)
    text = re.sub(r'((?:xlink:)?href="#|url\(#)', rf"\1{prefix}-", text)
    head, rest = text.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    return Markup(f'{head} role="img" aria-label="{escape(alt)}">{rest}')


def _without(text: str, start: str, end: str) -> str:
    """Leave out what lies between `start` and `end`, in one pass; a search by pattern takes the square of its time."""
    kept, place = [], 0
    while (first := text.find(start, place)) >= 0 and (last := text.find(end, first)) >= 0:
        kept.append(text[place:first])
        place = last + len(end)
    return "".join([*kept, text[place:]])


def small_interval(text: str) -> Markup | str:
    """A cell `value (interval)` on two lines, so that the column stays narrow; other text as it is."""
    from markupsafe import Markup

    value, bracket, rest = str(text).partition(" (")
    number = tuple("0123456789+-−")
    if not bracket or not value.startswith(number) or not rest.startswith(number):
        return text
    return Markup('{}<span class="small">{}</span>').format(value, rest.removesuffix(")"))


def plain_value(value: Any) -> str:
    """A value of a settings table as text."""
    if value is None:
        return formatting.MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def shown_folder(folder: Path) -> str:
    """The folder relative to the working directory if it is inside, else its name."""
    try:
        return folder.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return folder.name
