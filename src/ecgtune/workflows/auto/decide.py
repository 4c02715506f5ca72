"""Step decide: fingerprint.json -> plan.toml and plan.md, every decision with its reason."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ecgtune.config.auto import DEFAULT_SECONDS, AutoSettings
from ecgtune.data.leads import STANDARD_LEADS
from ecgtune.errors import DataError, SettingError
from ecgtune.models.loading import input_spec_of, leads_problem
from ecgtune.models.names import check_model_name
from ecgtune.models.registry import list_models, models_at_hand
from ecgtune.recipes.comparison import check_short_names
from ecgtune.recipes.recipe import load_recipes
from ecgtune.text import shown
from ecgtune.training.inference import choose_device
from ecgtune.training.memory import free_memory
from ecgtune.utils import formatting
from ecgtune.utils.stored import is_there
from ecgtune.workflows.auto.look import read_fingerprint
from ecgtune.workflows.auto.plan_file import (
    FLAGS,
    GIVEN,
    PLAN,
    SCRATCH,
    AutoPlan,
    check_begun,
    read_plan,
    stored_reasons,
    write_plan,
)

#: Patients or recordings for development below which the validation is by folds: one split of a hundred is chance.
SMALL = 400
FOLDS = 5
LONGEST_WINDOW = 10.0  # seconds; longer recordings are cut into windows
WHOLE = 20.0  # seconds up to which recordings of one length are one window each
FEW = 20  # windows of a class, of which one of the smaller splits may have none
RARE = 0.25  # fraction of the rarer class of two, or of a label, below which the threshold is fitted
UNBALANCED = 5.0  # ratio of the most frequent to the rarest of several classes, from which the loss is weighed
LARGE = 20_000_000  # weights of an encoder from which memory is limited
#: Seconds of a budget from which the methods are halved twice.
FURTHER_ROUND = 1800.0
#: Seconds of a budget from which further methods are compared, the cheapest first.
FURTHER = ((3600.0, "adapter"), (4 * 3600.0, "top-layers"), (4 * 3600.0, "norm-bias"))


@dataclass
class _Decisions:
    """Values and reasons by "table.name"."""

    values: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def take(self, key: str, value: Any, reason: str) -> None:
        self.values[key], self.reasons[key] = value, reason


def decide(out: Path, settings: AutoSettings) -> AutoPlan:
    """Decide everything from fingerprint.json, and write plan.toml and plan.md.

    What `settings` give is not decided. Values of an existing plan.toml, which may have been edited, are kept. Raises
    SettingError for names or values that are not allowed, DataError for recordings that cannot become windows, and
    RunError, before anything is written, for a change after the trainings began or the model was chosen.
    """
    if settings.repeat is not None:
        return _repeated(out, Path(settings.repeat))
    found = read_fingerprint(out)
    stored = read_plan(out) if is_there(out / PLAN) else None
    seconds = settings.seconds if settings.budget is not None or stored is None else stored.budget.seconds
    made = _decided(found, settings, seconds)
    automatic = AutoPlan().changed(made.values)
    plan = (stored or automatic).changed(_given(found, settings))
    _check_windows(found, plan)
    check_short_names(plan.model.encoders)
    for name in plan.model.encoders:
        check_model_name(name)
    for name in plan.training.methods:
        if name != SCRATCH:
            load_recipes(name)
    check_begun(out, plan)
    reasons = {key: made.reasons.get(key, "the default") for key in plan.keys}
    reasons |= {key: GIVEN for key in plan.keys if plan.value(key) != automatic.value(key)}
    write_plan(out, plan, reasons | {key: GIVEN for key in _given(found, settings)}, _facts(found))
    return plan


def _repeated(out: Path, first: Path) -> AutoPlan:
    """The plan of `first`, with its reasons."""
    plan, reasons = read_plan(first), stored_reasons(first)
    check_begun(out, plan)
    facts = _facts(read_fingerprint(out))
    write_plan(out, plan, {key: f"{reason} (of {first})" for key, reason in reasons.items()}, facts)
    return plan


def _facts(found: Mapping[str, Any]) -> list[str]:
    """Sentences on the content of the files, by which a user can check that they were read correctly."""
    unit = "recording" if found["recordings"] else "window"
    counts = {name: f"{entry['positives']:,}" for name, entry in found["labels"].items()}
    kind = {"binary": "two classes", "multiclass": "several classes", "multilabel": "several labels at a time"}
    listed = ", ".join(f"{name} ({count})" for name, count in counts.items())
    facts = [f"**{formatting.counted(found['windows'], unit)}, {kind[found['task']]}:** {listed}."]
    if found["positive"]:
        facts.append(f"{_capital(found['positive'])}.")
    seconds = found["seconds"]
    length = f"{seconds['min']:g}" + ("" if seconds["min"] == seconds["max"] else f" to {seconds['max']:g}")
    leads = "; ".join(f"{names} ({count:,})" for names, count in found["leads"].items())
    facts.append(f"{length} s each, {_hertz([float(rate) for rate in found['sampling_rates']])}, in {leads}.")
    if found["group"] is None:
        facts.append("No patient or recording is named; name its column with --group, if there is one.")
    elif found["groups"] != found["recordings"]:
        facts.append(f"{formatting.counted(found['groups'], found['group'])}.")
    if pairs := len(found["duplicates"]):
        facts.append(f"{formatting.counted(pairs, 'pair')} with the same signal.")
    facts += [f"Assumed: {sentence}." for sentence in found["assumed"]]
    notes = found["quality"]["notes"]
    return [*facts, *(_capital(note) + "." * (not note.endswith(".")) for note in [*notes, *found["problems"]])]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _check_windows(found: Mapping[str, Any], plan: AutoPlan) -> None:
    """Raise SettingError for decisions on recordings where windows are cut already; of these one lead can be taken."""
    if found["kind"] == "records":
        return
    wrong = [name for name in ("window", "step", "sampling_rate") if getattr(plan.data, name) is not None]
    if wrong or len(plan.data.leads or ()) > 1:
        name = (wrong or ["leads"])[0]
        raise SettingError(f"{name} in [data] of {PLAN} is for recordings, but windows of a file are cut already")


def _given(found: Mapping[str, Any], settings: AutoSettings) -> dict[str, Any]:
    """What flags say, by "table.name"."""
    values = {key: getattr(settings, key.partition(".")[2], None) for key in FLAGS}
    values["split.seed"] = settings.split_seed
    values["budget.seconds"] = None if settings.budget is None else settings.seconds
    values["training.device"] = None if settings.device == "auto" else settings.device
    if settings.methods is not None:
        values["training.methods"] = tuple(dict.fromkeys((*settings.methods, "full", "scratch")))
    for name, value in _read_settings(found).items():
        values[f"data.{name}"] = value
    return {key: value for key, value in values.items() if value is not None}


def _read_settings(found: Mapping[str, Any]) -> dict[str, Any]:
    """Window, step, rate and leads that flags gave for recordings, or the lead of windows."""
    reading = found["reading"]
    if reading["kind"] == "records":
        given = {name: reading["settings"].get(name) for name in ("window", "step", "sampling_rate", "leads")}
    else:
        given = {"leads": [reading["lead"]] if reading.get("lead") and len(found["leads"]) == 1 else None}
    return {name: tuple(value) if name == "leads" else value for name, value in given.items() if value is not None}


def _decided(found: Mapping[str, Any], settings: AutoSettings, seconds: float) -> _Decisions:
    made = _Decisions()
    encoders = _encoders(made, settings.encoders)
    given = _read_settings(found)
    _leads(made, found, encoders, given.get("leads"))
    if found["kind"] == "records":
        _window(made, found, given.get("window"))
        _rate(made, found)
    else:
        for name in ("window", "step", "sampling_rate"):
            made.take(f"data.{name}", None, "the windows are cut already, and each encoder resamples them")
    _split(made, found)
    _task(made, found)
    _training(made, found, settings, seconds)
    return made


def _encoders(made: _Decisions, asked: tuple[str, ...] | None) -> tuple[str, ...]:
    names = asked or models_at_hand()
    here = "its weights are" if len(names) == 1 else "their weights are"
    made.take("model.encoders", names, f"{here} on this machine; others can be given by name or file")
    return names


def _leads(
    made: _Decisions, found: Mapping[str, Any], encoders: tuple[str, ...], given: tuple[str, ...] | None
) -> None:
    """The leads that all recordings have and the first encoder reads; other encoders must read them too."""
    sets = [leads.split() for leads in found["leads"]]
    common = tuple(lead for lead in STANDARD_LEADS if all(lead in leads for leads in sets)) or tuple(sets[0])
    leads = given or common
    problem = leads_problem(encoders[0], leads)
    several = len(sets) > 1
    if given is None and problem:
        lead = next((name for name in ("II", "I") if name in common), common[0])
        reason = f"{encoders[0]} reads one lead, of {len(common)} that all have; without this line, lead_mode "
        reason += "'adapter' mixes them all"
        made.take("data.leads", (lead,), reason)
        leads = (lead,)
    elif several:
        made.take("data.leads", leads, f"all recordings have them; there are {len(sets)} sets of leads")
    else:
        made.take("data.leads", None, "the leads of the files, which the encoder reads")
    fitting = tuple(name for name in encoders if not leads_problem(name, leads))
    if not fitting:
        raise DataError(f"no encoder reads the leads {', '.join(leads)}: {problem}")
    if fitting != encoders:
        reason = f"of those on this machine they read the leads {' '.join(leads)}"
        made.take("model.encoders", fitting, reason)


def _window(made: _Decisions, found: Mapping[str, Any], given: float | None) -> None:
    length = found["seconds"]
    if given is not None:
        made.take("data.window", given, GIVEN)
    elif length["min"] == length["max"] and length["max"] <= WHOLE:
        made.take("data.window", None, f"all recordings last {length['max']:g} s, and each is one window")
    else:
        window = float(min(LONGEST_WINDOW, max(2.0, math.floor(length["p5"]))))
        filled = "all" if window <= length["min"] else "95 %" if window <= length["p5"] else "fewer than 95 %"
        made.take(
            "data.window",
            window,
            f"recordings last {length['min']:g} to {length['max']:g} s; {filled} of them fill a window of {window:g} s",
        )
    made.take("data.step", None, "windows follow each other without overlap")


def _rate(made: _Decisions, found: Mapping[str, Any]) -> None:
    recorded = [float(rate) for rate in found["sampling_rates"]]
    rates = {input_spec_of(name).sampling_rate for name in made.values["model.encoders"]}
    if len(rates) == 1:
        made.take("data.sampling_rate", rates.pop(), f"that of the encoder; recorded are {_hertz(recorded)}")
    elif len(recorded) == 1:
        made.take("data.sampling_rate", None, f"that of the recordings, {_hertz(recorded)}; each encoder takes its own")
    else:
        rate = min(max(recorded), max(rates))
        made.take("data.sampling_rate", rate, f"one for recordings of {_hertz(recorded)}, enough for all encoders")


def _hertz(rates: list[float]) -> str:
    return f"{', '.join(f'{rate:g}' for rate in sorted(rates))} Hz"


def _split(made: _Decisions, found: Mapping[str, Any]) -> None:
    splits, unit = found["split"], found["group"] or "window"
    groups = found["groups"] or found["windows"]
    known = splits is not None
    held_out = splits.get("test", splits.get("val", 0)) / sum(splits.values()) if known else 0.15
    development = groups * (1 - held_out)
    origin = "the files' own" if known else f"drawn by {unit}, stratified by label"
    if FOLDS <= int(development) < SMALL:
        made.take(
            "split.folds",
            FOLDS,
            f"about {development:.0f} {unit}s for development are few: each is validated in two of {FOLDS} folds; the "
            f"test split is {origin} and is used once",
        )
    else:
        made.take("split.folds", 1, f"about {development:,.0f} {unit}s for development; the split is {origin}")
    made.take("split.seed", 0, "of the splits that are drawn")
    pairs = len(found["duplicates"])
    if found["group"] is None:
        text = "the files name no patient, so one person may be in several splits and results may be too optimistic"
    else:
        text = "patients and recordings are never divided"
        text += f", nor {formatting.counted(pairs, 'pair')} with the same signal" if pairs else ""
    counts = {name: entry["positives"] for name, entry in found["labels"].items()}
    rarest = min(counts, key=counts.__getitem__)
    if counts[rarest] < FEW:
        of = formatting.counted(counts[rarest], "recording" if found["recordings"] else "window")
        text += f"; {shown(rarest)} has {of}, so a split may have none of it"
    made.take("split.train_fraction", 0.70, f"of the {unit}s, where splits are drawn; {text}")
    use = "for the choice" if made.values["split.folds"] == 1 else "part of the development, as all is in folds"
    made.take("split.val_fraction", 0.15, f"likewise, {use}; the rest is for the test")


def _task(made: _Decisions, found: Mapping[str, Any]) -> None:
    counts = {name: entry["positives"] for name, entry in found["labels"].items()}
    prevalences = [entry["positives"] / max(1, entry["known"]) for entry in found["labels"].values()]
    rarest, most = min(counts, key=counts.__getitem__), max(counts.values())
    ratio = most / max(1, counts[rarest])
    if found["task"] == "multiclass" and ratio > UNBALANCED:
        reason = f"the most frequent class is {ratio:.0f} times as frequent as {rarest}"
        made.take("training.class_weights", "balanced", reason)
    else:
        made.take("training.class_weights", "none", f"cross-entropy of a {found['task']} task, as it is")
    rare = min(min(value, 1 - value) for value in prevalences)
    if found["task"] == "multiclass":
        made.take("training.threshold", "fixed", "the class with the largest probability")
    elif rare < RARE and 0.15 * min(counts.values()) >= 30 * (found["task"] == "binary"):
        reason = f"{100 * rare:.0f} % in the rarest class or label: 0.5 would miss most; the largest F1 on validation"
        made.take("training.threshold", "f1", reason)
    else:
        made.take("training.threshold", "fixed", "a probability of 0.5")
    fitted = "" if made.values["training.threshold"] == "fixed" else "; the threshold is fitted instead"
    made.take("training.pos_weight", None, f"positive labels weigh as much as others in the loss{fitted}")


def _training(made: _Decisions, found: Mapping[str, Any], settings: AutoSettings, seconds: float) -> None:
    further = tuple(name for least, name in FURTHER if seconds >= least)
    reason = "LoRA, full fine-tuning and a small network from scratch; the probe comes first in any case"
    if further:
        reason += f"; the budget allows {', '.join(further)} too"
    made.take("training.methods", ("lora", "full", "scratch", *further), reason)
    windows, cut = found["windows"], made.values["data.step"] or made.values["data.window"]
    if found["recordings"] and cut:
        windows *= max(1, int(found["seconds"]["median"] / cut))
    about = "about " if found["recordings"] else ""
    batch = 8 if windows < 100 else 16 if windows < 600 else 32 if windows < 4000 else 64
    made.take(
        "training.batch_size",
        batch,
        f"{about}{formatting.counted(windows, 'window')}: smaller data, smaller batches",
    )
    made.take("training.epochs", 20, "at most; the budget may allow fewer, and the best on validation is kept")
    weights = max(_size(name) for name in made.values["model.encoders"])
    memory = free_memory(choose_device(settings.device))
    if weights > LARGE:
        limit = f"{max(1, int(0.7 * memory / 1e9))}GB"
        made.take(
            "training.max_memory",
            limit,
            f"an encoder has {weights / 1e6:.0f} million weights; {formatting.size(memory)} are free",
        )
    else:
        made.take("training.max_memory", None, f"a batch fits into the {formatting.size(memory)} that are free")
    made.take("training.device", "auto", f"the {choose_device('auto').type.upper()} of this machine")
    made.take("training.augmentation", True, "as in the recipes of the methods")
    made.take("budget.seconds", seconds, "the default" if seconds == DEFAULT_SECONDS else GIVEN)
    made.take("budget.probe", 0.10, "an answer early")
    rounds = (0.20, 0.50) if seconds < FURTHER_ROUND else (0.20, 0.20, 0.30)
    reason = "successive halving; the last round, of the best method or of two that are level, has what is left; with "
    made.take("budget.rounds", rounds, f"{reason}folds of the best alone, whose trainings are averaged already")


def _size(name: str) -> int:
    return next((info.parameters for info in list_models() if info.name == name), 0)
