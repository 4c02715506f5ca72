"""plan.toml: the decisions of `ecgtune auto`, one line each with its reason; it may be edited."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import tomli_w

from ecgtune.config.auto import PlannedBudget, PlannedData, PlannedModel, PlannedSplit, PlannedTraining
from ecgtune.config.base import from_tables
from ecgtune.errors import RunError, SettingError
from ecgtune.recipes.recipe import stored_tables
from ecgtune.text import printable, shown
from ecgtune.utils import formatting
from ecgtune.utils.files import write_json, write_text
from ecgtune.utils.stored import REMOVE, read_json, read_text, read_toml
from ecgtune.workflows.auto.schemas import ELSEWHERE, Choice

PLAN, PROSE, CHOICE = "plan.toml", "plan.md", "choice.json"
#: Folder of the trainings, and in it the plan with which they began.
FOLDER, BEGUN = "do", "plan.json"
TABLES: dict[str, Any] = {
    "data": PlannedData,
    "split": PlannedSplit,
    "model": PlannedModel,
    "training": PlannedTraining,
    "budget": PlannedBudget,
}
#: Decision -> the flag that makes it.
FLAGS = {
    "data.window": "--window",
    "data.step": "--step",
    "data.sampling_rate": "--resample",
    "data.leads": "--leads",
    "split.folds": "--folds",
    "split.seed": "--split-seed",
    "model.encoders": "--encoders",
    "training.methods": "--methods",
    "training.batch_size": "--batch-size",
    "training.epochs": "--epochs",
    "training.threshold": "--threshold",
    "training.max_memory": "--max-memory",
    "training.device": "--device",
    "budget.seconds": "--budget",
}
GIVEN = "as given"
_AGAIN = "remove it and rerun, which decides again"
#: The method that is a small network from scratch.
SCRATCH = "scratch"


@dataclass(frozen=True)
class AutoPlan:
    """The decisions, by table."""

    data: PlannedData = field(default_factory=PlannedData)
    split: PlannedSplit = field(default_factory=PlannedSplit)
    model: PlannedModel = field(default_factory=PlannedModel)
    training: PlannedTraining = field(default_factory=PlannedTraining)
    budget: PlannedBudget = field(default_factory=PlannedBudget)

    def changed(self, values: Mapping[str, Any]) -> AutoPlan:
        """The plan with values by "table.name"."""
        plan = self
        for key, value in values.items():
            table, _, name = key.partition(".")
            plan = replace(plan, **{table: replace(getattr(plan, table), **{name: value})})
        return plan

    def value(self, key: str) -> Any:
        table, _, name = key.partition(".")
        return getattr(getattr(self, table), name)

    @property
    def keys(self) -> list[str]:
        return [f"{table}.{item.name}" for table, cls in TABLES.items() for item in dataclasses.fields(cls)]


def read_plan(out: Path) -> AutoPlan:
    """Read plan.toml of the folder. Raises RunError without one, SettingError for unknown or wrong settings."""
    file = out / PLAN
    tables = read_toml(file, _AGAIN)
    try:
        return AutoPlan(**from_tables(TABLES, stored_tables(tables), str(file)))
    except SettingError as error:
        where = "" if str(file) in str(error) else f"{file}: "
        raise SettingError(f"{where}{error}; or {_AGAIN}") from None


def begin(out: Path, plan: AutoPlan) -> None:
    """Keep the plan with which the trainings begin in do/plan.json; raise as `check_begun` where it has another."""
    check_begun(out, plan)
    write_json(out / FOLDER / BEGUN, _without_budget(plan))


def check_begun(out: Path, plan: AutoPlan) -> None:
    """Raise RunError where trainings began with another plan, or a model was chosen with another budget or is gone."""
    chosen = (out / CHOICE).is_file()
    if (out / FOLDER / BEGUN).is_file():
        stored, now = read_json(out / FOLDER / BEGUN, dict[str, dict[str, Any]], ELSEWHERE), _without_budget(plan)
        different = [name for name in now if stored.get(name) != now[name]]
        if different:
            remedy = "" if chosen else f"remove {out / FOLDER} to train again, or "
            raise RunError(
                f"[{different[0]}] of {out / PLAN}, or a flag, changed after its trainings began; {remedy}"
                "choose another --out"
            )
    elif chosen:
        raise RunError(
            f"the model in {out} was chosen, and its test split used, but its trainings in {out / FOLDER} are gone; "
            "choose another --out"
        )
    if chosen and (before := read_choice(out)["budget"]) != plan.budget.seconds:
        raise RunError(
            f"the model in {out} was chosen with a budget of {formatting.duration(before)}, and its test split was "
            "used; choose another --out"
        )


def read_choice(out: Path) -> dict[str, Any]:
    """Read choice.json of a folder. Raises RunError, one line."""
    choice = read_json(out / CHOICE, Choice, REMOVE)
    names = {row["name"] for row in choice["candidates"]}
    of_runs = {PurePosixPath(run).parent.name for run in choice["runs"]}
    unknown = sorted({choice["chosen"], *choice["members"], *of_runs} - names)
    if unknown:
        raise RunError(f"{out / CHOICE} has no candidate {shown(unknown[0])}; {REMOVE}")
    return choice


def _without_budget(plan: AutoPlan) -> dict[str, Any]:
    tables = dataclasses.asdict(plan)
    del tables["budget"]
    return json.loads(json.dumps(tables))  # tuples as lists


def write_plan(out: Path, plan: AutoPlan, reasons: Mapping[str, str], facts: Sequence[str] = ()) -> None:
    """Write plan.toml, with the reason behind each value, and plan.md, a list of the same behind the `facts` found."""
    lines, prose = [], ["# Plan", ""]
    if facts:
        prose += ["## Found in the files", "", *(f"- {printable(fact)}" for fact in facts), ""]
    prose += ["Decisions of `ecgtune auto`. Change one in plan.toml or by its flag, and rerun.", ""]
    for table in TABLES:
        lines += ["", f"[{table}]"]
        prose += [f"## {table.capitalize()}", ""]
        for key in (key for key in plan.keys if key.startswith(f"{table}.")):
            name, value, reason = key.partition(".")[2], plan.value(key), reasons.get(key, "the default")
            said = printable(" ".join(reason.split()))  # a comment of TOML must not hold control characters
            if value is None:
                lines.append(f"# {name} is not set: {said}")
            else:
                lines.append(f"{name} = {_toml(value)}  # {said}")
            flag = f" (`{FLAGS[key]}`)" if FLAGS.get(key) else ""
            shown = value_text(value)
            prose.append(f"- **{name.replace('_', ' ')}: {shown}**{flag}. {_sentence(said)}.")
        prose.append("")
    write_text(out / PLAN, "\n".join(lines).strip() + "\n")
    write_text(out / PROSE, "\n".join(prose))


def _sentence(text: str) -> str:
    """The text with a capital, unless it begins with a name such as ecg-fm-tiny."""
    return text if "-" in text.partition(" ")[0] else text[:1].upper() + text[1:]


def stored_reasons(out: Path) -> dict[str, str]:
    """The reasons that plan.toml states, by "table.name"."""
    found, table = {}, ""
    for line in read_text(out / PLAN, _AGAIN).splitlines():
        if line.startswith("["):
            table = line.strip("[] ")
        elif line.startswith("# ") and " is not set: " in line:
            name, _, reason = line[2:].partition(" is not set: ")
            found[f"{table}.{name}"] = reason
        elif " = " in line and "  # " in line:
            found[f"{table}.{line.partition(' = ')[0].strip()}"] = line.rpartition("  # ")[2]
    return found


def _toml(value: Any) -> str:
    """The value in TOML, on one line."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return tomli_w.dumps({"value": value}).strip().partition(" = ")[2]


def value_text(value: Any) -> str:
    """A value of the plan as plan.md and the report have it."""
    if isinstance(value, tuple):
        return ", ".join(map(value_text, value))
    if value is None or isinstance(value, bool):
        return {None: "not set", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
