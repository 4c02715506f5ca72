"""The answer at the head of a report: which method, how sure, what it costs, what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecgtune.reporting import wording
from ecgtune.reporting.certainty import answer_sentences
from ecgtune.reporting.evidence import Evidence
from ecgtune.reporting.folders import Comparison, FinishedRun
from ecgtune.reporting.recommendation import load_line, recommendation_sentences
from ecgtune.utils import formatting


@dataclass(frozen=True)
class Part:
    """A part of the answer: its title, sentences, and commands with what each is for."""

    title: str
    sentences: Sequence[str]
    commands: Sequence[tuple[str, str]] = ()


def run_answer(run: FinishedRun, evidence: Evidence, shown: str) -> list[Part]:
    """Return the answer of a run. shown: its folder as it would be typed."""
    metrics = run.metrics
    title = metrics.get("title", metrics["name"])
    return [
        Part("Result", [f"{title} of {Path(metrics['model']).name}.", wording.run_headline(metrics)]),
        Part("How sure", _sure(run, evidence)),
        Part("Cost", [_run_cost(metrics)]),
        Part("Next", [], [*_missing(evidence, shown), *_use(shown)]),
    ]


def comparison_answer(comparison: Comparison, run: FinishedRun, evidence: Evidence, shown: str) -> list[Part]:
    """Return the answer of a comparison. run, evidence: of the run to take. shown: the comparison's folder."""
    results = comparison.results
    headline, take = wording.comparison_headline(results), recommendation_sentences(results)
    folder = f"{shown}/{run.folder.relative_to(comparison.folder).as_posix()}"
    line = load_line(results, shown)
    return [
        Part("Method", take[:1] or headline[:1], [("Load it in Python:", line)] if line else []),
        Part("How sure", [*(headline if take else headline[1:]), *take[1:], *_sure(run, evidence)]),
        Part("Cost", _costs(results)),
        Part("Next", [], [*_missing(evidence, folder), *_use(folder)]),
    ]


def _sure(run: FinishedRun, evidence: Evidence) -> list[str]:
    """Sentences on calibration, prediction sets, abstention and other data of a run."""
    found = run.metrics.get("calibration") or {}
    before, after = found.get("before"), found.get("after")
    lines = []
    if before and before["ece"] is not None:
        last = after or before
        changed = f", {formatting.score(before['ece'])} before calibration" if after else ""
        lines.append(f"Probabilities are {formatting.score(last['ece'])} off on average (ECE{changed}).")
    if run.certainty is not None:
        lines += answer_sentences(run.certainty)
    for folder, result in evidence.external.items():
        level = result["recording"] or result["window"]
        auroc = level["metrics"].get("auroc")
        if auroc is None or result["data"]["own_test_split"]:
            continue
        entry, moved = auroc["external"], auroc["difference"]
        text = f"{formatting.score(entry['value'])} ({formatting.interval(entry)})"
        if moved and moved["value"] is not None:
            text += f", {formatting.signed(moved['value'])} ({formatting.signed_interval(moved)}) against here"
        lines.append(f"On other data ({folder.name}): AUROC {text}.")
    if not any(not result["data"]["own_test_split"] for result in evidence.external.values()):
        lines.append("Tested on these data alone: scores elsewhere are usually lower.")
    return lines


def _run_cost(metrics: Mapping[str, Any]) -> str:
    training, parameters = metrics["training"], metrics["parameters"]
    return _cost(
        parameters["trainable_fraction"], training["seconds"], training["peak_memory_bytes"], training["file_bytes"]
    )


def _costs(results: Mapping[str, Any]) -> list[str]:
    """What the method to take costs, and the best one where that is another."""
    rows = {row["method"]: row for row in results["rows"] if row["kind"] == "method"}
    found = results.get("recommendation")
    names = [found["take"], found["best"]] if found else [next(iter(rows))]
    return [
        f"{wording.named(row)}: "
        + _cost(row["trainable_fraction"], row["seconds"], row["peak_memory_bytes"], row["file_bytes"])
        for row in (rows[name] for name in dict.fromkeys(names))
    ]


def _cost(fraction: float | None, seconds: float | None, memory: float | None, size: float | None) -> str:
    parts = [f"{formatting.percent(fraction)} % of the weights train"] if fraction is not None else []
    parts += [f"{formatting.duration(seconds)} of training"] if seconds is not None else []
    parts += [f"{formatting.size(memory)} of memory at most"] if memory is not None else []
    parts += [f"{formatting.size(size)} on disk"] if size is not None else []
    return f"{', '.join(parts)}." if parts else "Not measured."


def _missing(evidence: Evidence, shown: str) -> list[tuple[str, str]]:
    """What the evidence lacks, with the commands that add it."""
    found = []
    if not any(not result["data"]["own_test_split"] for result in evidence.external.values()):
        found.append(("Test it on data of another hospital or device:", evaluate_command(shown)))
    if not evidence.stress:
        found.append(("Test it with noise, wrong leads and other disturbances:", stress_command(shown)))
    return found


def _use(shown: str) -> list[tuple[str, str]]:
    return [
        ("Predict new recordings, without an answer for the least sure tenth:",
         f"ecgtune predict {shown} RECORDINGS --abstain 0.1"),
        ("Write what reviewers ask for:", f"ecgtune report {shown} --pack pack"),
    ]  # fmt: skip


def evaluate_command(shown: str, options: str = "") -> str:
    """The command that adds other data to the report of a run."""
    return f"ecgtune evaluate {shown} DATA{options} --out {shown}/evaluation"


def stress_command(shown: str) -> str:
    """The command that adds a stress test to the report of a run."""
    return f"ecgtune stress {shown} DATA --out {shown}/stress"
