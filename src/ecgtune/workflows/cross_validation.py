"""A comparison repeated over rounds (folds, sites), and what stays of a difference over all of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ecgtune.config.commands import CompareSettings
from ecgtune.data.dataset import Dataset
from ecgtune.data.positive import positive_sentence, stored_positive
from ecgtune.errors import SettingError
from ecgtune.recipes.lookup import RecipeLike
from ecgtune.reporting.tables import escape_markdown
from ecgtune.text import printable
from ecgtune.training.run_folder import RESULT_FORMAT
from ecgtune.utils.files import write_json
from ecgtune.utils.locks import exclusive
from ecgtune.workflows.compare import DEFAULTS, compare
from ecgtune.workflows.environment import command_line

SUMMARY = "rounds.json"


def cross_validate(
    rounds: Sequence[Dataset],
    recipes: RecipeLike | Sequence[RecipeLike],
    settings: CompareSettings = DEFAULTS,
    *,
    model: str | Path | Sequence[str] | None = None,
    out: str | Path,
    wait: bool = False,
) -> dict[str, Any]:
    """`compare` on each round of `k_folds` or `leave_one_site_out`; returns the content of `rounds.json`.

    settings, model: as of `compare`. out: holds one comparison folder per round, `round-1` ..., and `rounds.json`: for
    each method and metric the values of the rounds, their mean and their standard deviation (n - 1), with the
    difference to the reference alike. Rounds share training windows, so the deviation is no standard error. A rerun
    resumes. Raises what `compare` raises.
    """
    if len(rounds) < 2:
        raise SettingError(f"{len(rounds)} rounds; two or more are needed, from k_folds or leave_one_site_out")
    folder = Path(out)
    with exclusive(folder, command_line(), result=SUMMARY, wait=wait):
        results = [
            compare(dataset, recipes, settings, model=model, out=folder / f"round-{number}", wait=wait)
            for number, dataset in enumerate(rounds, start=1)
        ]
        summary = {
            "format": RESULT_FORMAT,
            "rounds": [
                {"folder": f"round-{number}", "split": result["split"]["origin"]}
                for number, result in enumerate(results, start=1)
            ],
            "reference": results[0]["reference"],
            **({"positive": results[0]["positive"]} if "positive" in results[0] else {}),
            "rows": [_row(index, results) for index in range(len(results[0]["rows"]))],
        }
        write_json(folder / SUMMARY, summary)
    return summary


def _row(index: int, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One method over all rounds; every comparison lists its methods in the same order."""
    rows = [result["rows"][index] for result in results]
    return {
        "method": rows[0]["method"],
        "title": rows[0]["title"],
        "kind": rows[0]["kind"],
        "metrics": _summarised([row["metrics"] for row in rows], "mean"),
        "group_metrics": _summarised([row["group_metrics"] for row in rows], "mean"),
        "difference": _summarised([row["difference"] for row in rows], "value"),
    }


def _summarised(tables: Sequence[dict[str, Any] | None], key: str) -> dict[str, Any] | None:
    """Metric to values, mean and std over rounds; None in a round where it is not defined, and left out of both."""
    if any(table is None for table in tables):
        return None
    result = {}
    for metric in tables[0] or {}:
        values = [table[metric][key] if table and table[metric] else None for table in tables]
        known = [value for value in values if value is not None]
        result[metric] = {
            "values": values,
            "mean": statistics.fmean(known) if known else None,
            "std": statistics.stdev(known) if len(known) > 1 else None,
        }
    return result


def rounds_table(summary: dict[str, Any]) -> str:
    """Markdown: one row per method, mean and standard deviation over the rounds of each metric that all have."""
    first = summary["rows"][0]["metrics"]
    metrics = [metric for metric in first if all(metric in row["metrics"] for row in summary["rows"])]
    lines = ["| " + " | ".join(["Method", *metrics]) + " |", "|" + " --- |" * (len(metrics) + 1)]
    for row in summary["rows"]:
        lines.append(
            "| "
            + " | ".join([escape_markdown(row["title"]), *(_cell(row["metrics"][metric]) for metric in metrics)])
            + " |"
        )
    if "positive" in summary:
        lines += ["", printable(positive_sentence(*stored_positive(summary)))]
    return "\n".join(lines)


def _cell(value: dict[str, Any]) -> str:
    if value["mean"] is None:
        return "n/a"
    return f"{value['mean']:.3f}" + ("" if value["std"] is None else f" ± {value['std']:.3f}")
