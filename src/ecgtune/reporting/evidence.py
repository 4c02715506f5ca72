"""Evidence about a run in its folder: results of `ecgtune evaluate` and `ecgtune stress`, and its cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecgtune.reporting import external as tables
from ecgtune.reporting.schemas import Cases, External, Stress
from ecgtune.reporting.stress import loss_table, stress_sentences
from ecgtune.text import printable_values
from ecgtune.utils import formatting
from ecgtune.utils.stored import ELSEWHERE, is_there, read_json

#: Folder of the cases in a run folder, and the file with their facts.
CASES, CASES_FILE = "cases", "cases.json"
EXTERNAL, STRESS, STRESS_FIGURE = "external.json", "stress.json", "stress.svg"
#: What they must hold.
RESULTS: dict[str, Any] = {EXTERNAL: External, STRESS: Stress}
_CASES_AGAIN = "remove its folder and run ecgtune report, which makes it again"
#: Evaluations and stress tests in a report; more would make it long.
MOST = 4


@dataclass(frozen=True)
class Evidence:
    """What a run folder holds, by the folder that has it. cases: content of cases.json, None without one."""

    external: Mapping[Path, Mapping[str, Any]]
    stress: Mapping[Path, Mapping[str, Any]]
    cases: Mapping[str, Any] | None


def read_evidence(run: Path) -> Evidence:
    """Read the evidence in the sub-folders of a run folder, the first `MOST` of each kind by name."""
    external, stress = (
        {file.parent: read_result(file) for file in sorted(run.glob(f"*/{name}"))[:MOST]} for name in RESULTS
    )
    file = run / CASES / CASES_FILE
    cases = printable_values(read_json(file, Cases, _CASES_AGAIN)) if is_there(file) else None
    return Evidence(external, stress, cases)


def read_result(file: Path) -> dict[str, Any]:
    """Read external.json or stress.json, its text made printable. Raises RunError, one line."""
    return printable_values(read_json(file, RESULTS[file.name], f"{ELSEWHERE}, or remove it"))


def external_facts(folder: Path, result: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the template of an evaluation: sentences, tables and subgroups."""
    level = "recording" if result["recording"] else "window"
    certainty = result["certainty"]
    of_sets = certainty and certainty["external"] and certainty["external"][level]
    return {
        "name": folder.name,
        "own": result["data"]["own_test_split"],
        "path": result["data"]["path"],
        "level": level,
        "sentences": tables.sentences(result),
        "unit": tables.interval_unit(result),
        "rows": tables.comparison_rows(result, level),
        "promises": tables.promise_sentences(certainty) if of_sets else [],
        "certainty": tables.certainty_rows({side: certainty[side] and certainty[side][level] for side in certainty})
        if of_sets
        else [],
        "points": tables.operating_rows(result["operating_points"]),
        "wanted": next((point["wanted"] for point in result["operating_points"].values()), None),
        "subgroups": {
            name: (tables.subgroup_rows(column), tables.gap_sentence(column["gap"]))
            for name, column in result["subgroups"].items()
        },
    }


def stress_facts(folder: Path, result: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the template of a stress test."""
    return {
        "folder": folder,
        "name": folder.name,
        "sentences": stress_sentences(result),
        "losses": loss_table(result),
        "drawn": (folder / STRESS_FIGURE).is_file(),
    }


def case_facts(folder: Path, content: Mapping[str, Any] | None) -> dict[str, Any]:
    """Values of the template of cases: those with a picture, by their kind."""
    content = content or {"cases": [], "width": None, "missing": None}
    kinds: dict[str, list[dict[str, Any]]] = {}
    for number, case in enumerate(content["cases"], 1):
        name = f"case-{number}"
        facts = {"number": number, "name": name, "caption": _caption(case), "alt": _alternative(case)}
        kinds.setdefault(case["kind"], []).append(facts)
    return {
        "folder": folder / CASES,
        "missing": content["missing"],
        "width": content["width"],
        "kinds": kinds,
        "number": len(content["cases"]),
        "unexplained": sum(case["stretches"] is None for case in content["cases"]),
    }


def _caption(case: Mapping[str, Any]) -> str:
    """What a picture shows: the window, truth and prediction, and what drove the answer."""
    of = case["recording"] or case["group"]
    window = f"Window {case['row']}{f' of {of}' if of else ''}"
    true, predicted = (", ".join(case[name]) or "none" for name in ("true", "predicted"))
    lines = [
        f"{window}: {true} by the labels, {predicted} by the run.",
        f"Probability of {case['explained']}: {formatting.score(case['probability'])}, confidence "
        f"{formatting.score(case['confidence'])}.",
    ]
    if case["stretches"]:
        drove = ", ".join(f"{each['lead']} {each['start']:.1f} to {each['end']:.1f} s" for each in case["stretches"])
        lines.append(f"Most for {case['explained']}: {drove}.")
    elif case["stretches"] is not None:
        lines.append(f"No stretch speaks for {case['explained']}.")
    if len(case["leads"]) < case["of_leads"]:
        lines.append(f"{len(case['leads'])} of {case['of_leads']} leads.")
    return " ".join(lines)


def _alternative(case: Mapping[str, Any]) -> str:
    return f"Electrocardiogram, {case['kind']}: {', '.join(case['leads'])}. The caption has the numbers."
