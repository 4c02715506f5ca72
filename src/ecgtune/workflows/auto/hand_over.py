"""Step hand over: choice.json and model/ -> model.onnx, page.html, answer.md, report.html and next.md."""

from __future__ import annotations

import dataclasses
import shlex
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any

from ecgtune.config.commands import ExportSettings, PredictSettings
from ecgtune.config.reading import flag_of
from ecgtune.data.signal.path import SignalPath
from ecgtune.errors import EcgtuneError, RunError, SettingError
from ecgtune.evaluation.notes import size_notes
from ecgtune.io.records.reading import RecordSettings
from ecgtune.reporting.auto import write_auto, write_auto_report
from ecgtune.reporting.folders import readable
from ecgtune.reporting.wording import decision_sentence
from ecgtune.runtime.model import Model
from ecgtune.training.run_folder import RunFolder
from ecgtune.utils import formatting
from ecgtune.utils.files import write_json
from ecgtune.utils.progress import ProgressBar
from ecgtune.utils.schema import check_schema
from ecgtune.utils.stored import ELSEWHERE, REMOVE, read_json
from ecgtune.workflows.auto.budget import Budget
from ecgtune.workflows.auto.choose import epochs_text, read_tested
from ecgtune.workflows.auto.costs import VERIFIED
from ecgtune.workflows.auto.curve import probe_curve
from ecgtune.workflows.auto.do import read_results
from ecgtune.workflows.auto.flags import flags_of
from ecgtune.workflows.auto.look import read_fingerprint
from ecgtune.workflows.auto.material import read_split_facts
from ecgtune.workflows.auto.plan_file import SCRATCH, AutoPlan, read_choice, stored_reasons, value_text
from ecgtune.workflows.auto.schemas import Curve, TestedMetrics
from ecgtune.workflows.auto.trial import PROBE, material_of
from ecgtune.workflows.auto.validation import FEWEST_GROUPS
from ecgtune.workflows.cases import add_cases
from ecgtune.workflows.environment import machine
from ecgtune.workflows.export import export
from ecgtune.workflows.page import page

#: Fraction of the training windows below which the scores of a method say little about it.
_ENOUGH = 0.5
CURVE, EXPORTED, PAGE = "curve.json", "model.onnx", "page.html"


def hand_over(out: Path, plan: AutoPlan, budget: Budget, progress: ProgressBar) -> None:
    """Write the exported file, the page, the learning curve, the answer and the next commands, then the report."""
    choice = read_choice(out)
    runs = [out / name for name in read_tested(out)["runs"]]
    progress.describe("hand over: export")
    problems = {}
    for file, write in ((out / EXPORTED, partial(_export, runs)), (out / PAGE, partial(_page, out / EXPORTED))):
        if EXPORTED in problems:
            problems[file.name] = f"it is made of {EXPORTED}"
            continue
        try:
            if not file.is_file():
                write(file)
        except EcgtuneError as error:
            problems[file.name] = _problem(error)
        budget.tick(now=True)
    if not (out / CURVE).is_file():
        progress.describe("hand over: learning curve")
        write_json(out / CURVE, probe_curve(out, plan, budget))
    with readable(out):
        facts = _facts(out, plan, choice, budget, problems)
        write_auto(out, facts)
    progress.note(facts["headline"])
    progress.describe("hand over: cases for the report")  # behind the answer, which does not wait for them
    add_cases(runs[0], material_of(out, plan).dataset, device=plan.training.device)
    write_auto_report(out, facts)


def _export(runs: list[Path], file: Path) -> None:
    export(runs, file, ExportSettings(verify_windows=VERIFIED))


def _page(model: Path, file: Path) -> None:
    if Model(model).metadata["input"].get("prepared_by_runtime"):
        raise SettingError(
            "the encoder's preset prepares the windows, which a page cannot compute; use ecgtune predict (next.md), "
            "or run auto with --encoders ecg-fm-tiny and another --out"
        )
    page(model, file)


def _problem(error: EcgtuneError) -> str:
    """The error; with the advice to rerun, unless the model itself is refused."""
    refused = isinstance(error, SettingError) and not export_note()  # no extra is missing
    return str(error) if refused else f"{error}; then rerun the command"


def export_note() -> str:
    """A sentence on a library that the exported file needs and that is not installed; "" where all are."""
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if not missing:
        return ""
    return (
        f"{EXPORTED} and {PAGE} need {', '.join(missing)}: pip install 'ecgtune[export]'; when it is installed later, "
        "rerun the command"
    )


def _facts(
    out: Path, plan: AutoPlan, choice: dict[str, Any], budget: Budget, problems: dict[str, str]
) -> dict[str, Any]:
    """Values of the templates."""
    found, test, results = read_fingerprint(out), read_tested(out), read_results(out)
    curve = read_json(out / CURVE, Curve, REMOVE)
    folders = [out / name for name in test["runs"]]
    every = [RunFolder(folder).read_metrics() for folder in folders]
    for folder, metrics in zip(folders, every, strict=True):
        check_schema(metrics, TestedMetrics, str(RunFolder(folder).metrics), RunError, ELSEWHERE)
    metrics = every[0]
    level = test["group"] if "metrics" in test["group"] else test["window"]
    unit = test["group"].get("of", "window") if "metrics" in test["group"] else "window"
    auroc = level["metrics"]["auroc"]
    headline = (
        f"{_what(choice)}: test AUROC {formatting.score(auroc['value'])} "
        f"(95 % interval {formatting.interval(auroc)}) per {unit}"
    )
    return {
        "headline": headline,
        "run": folders[0],
        "found": found,
        "assumed": found["assumed"],
        "plan_rows": [(key, f"{value_text(plan.value(key))}: {reason}") for key, reason in stored_reasons(out).items()],
        "split": read_split_facts(out),
        "choice": choice,
        "averaged": _averaged(choice),
        "verdict": _verdict(choice),
        "candidates": _shown_candidates(choice["candidates"], results["trials"]),
        "encoder": results["encoder"],
        "trained": _trained(results, plan),
        "rungs": _shown_rungs(results),
        "folds": _folds(results),
        "missing": results["missing"],
        "test": test,
        "few": _few(choice, metrics),
        "level": level,
        "unit": unit,
        "metrics": metrics,
        "seconds": sum(own["training"]["seconds"] for own in every),
        "trainable": list(dict.fromkeys(own["parameters"]["trainable"] for own in every)),
        "calibration": "; ".join(dict.fromkeys(own["calibration"]["sentence"] for own in every)),
        "threshold": decision_sentence(metrics | {"threshold": test["threshold"]}),
        "sizes": {name: (out / name).stat().st_size for name in (EXPORTED, PAGE) if (out / name).is_file()},
        "problems": problems,
        "curve": curve,
        "helps": _helps(found, curve, results, plan),
        "spent": budget.spent,
        "budget": plan.budget.seconds,
        "machine_rows": list(formatting.flat(machine()).items()),
        "commands": commands(out, found, plan, folders),
    }


def _shown_candidates(rows: list[dict[str, Any]], trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The candidates with their names and epochs as they are shown; several encoders, or seeds, are named."""
    encoders = {row["encoder"] for row in rows if row["method"] != SCRATCH}
    first = {trial["name"]: trial for trial in reversed(trials) if "score" in trial}
    shown = []
    for row in rows:
        of = "" if len(encoders) == 1 or row["method"] == SCRATCH else f" of {row['encoder']}"
        title = row["title"].replace(row["method"], f"{row['method']}{of}", 1)
        epochs = epochs_text(first[row["name"]])
        shown.append({**row, "shown": f"{row['method']}{of}", "title": title, "trained": epochs})
    times = Counter(row["title"] for row in shown)
    for row in shown:
        if times[row["title"]] > 1:
            row |= {"shown": f"{row['shown']}, seed {row['seed']}", "title": f"{row['title']}, seed {row['seed']}"}
    return shown


def _shown_rungs(results: dict[str, Any]) -> list[str]:
    """The scores of the probes, then of each round, with the folds of which a score is the mean."""
    lines = []
    for number, rung in enumerate(results["rungs"]):
        scored = Counter(
            trial[rung["by"]]
            for trial in results["trials"]
            if [trial["name"], trial["round"]] in rung["trials"] and trial.get("score") is not None
        )
        parts = []
        for count, names in groupby(rung["scores"], key=scored.__getitem__):
            scores = ", ".join(f"{name} {formatting.score(rung['scores'][name])}" for name in names)
            parts.append(scores + _of_folds(count, results))
        lines.append(f"{f'Round {number}' if number else 'Probes'}: {'; '.join(parts)}")
    return lines


def _folds(results: dict[str, Any]) -> str:
    """The folds whose windows candidates are compared on: those of the probe with the most."""
    rounds = Counter(trial["name"] for trial in results["trials"] if trial["method"] == PROBE and "score" in trial)
    return _of_folds(max(rounds.values()), results)


def _of_folds(count: int, results: dict[str, Any]) -> str:
    """` (4 of 5 folds)`; empty for one split."""
    of = results["rungs"][0]["rounds"]
    return f" ({count} of {of} folds)" if of > 1 else ""


def _trained(results: dict[str, Any], plan: AutoPlan) -> list[str]:
    """How well each method was trained, by its largest training: one sentence each."""
    total, sentences = results["training"], []
    for method, trial in _largest(results).items():
        enough = trial["train_windows"] >= _ENOUGH * total and not trial["ended"]
        windows = f"all {total:,}" if trial["windows"] is None else f"{trial['train_windows']:,} of {total:,}"
        text = f"**{method}**: {windows} training windows, {epochs_text(trial)}"
        if not enough:
            text += ". Its scores say little"
        if not enough or trial["epochs"] < plan.training.epochs:
            needed = formatting.duration(results["whole"][method])
            text += f"; {plan.training.epochs} epochs of all windows take about {needed} on this machine"
        sentences.append(f"{text}.")
    return sentences


def _few(choice: dict[str, Any], metrics: dict[str, Any]) -> list[str]:
    """Sentences on a validation or test split of few patients, recordings or windows."""
    split, test = metrics["split"], metrics["split"]["counts"]["test"]
    unit = split["unit"] if test["groups"] else "window"
    return [
        *size_notes("validation", choice["groups"], unit),
        *size_notes("test split", test["groups"] or test["windows"], unit),
    ]


def _largest(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The largest training of each method: the most windows, then the most epochs."""
    found: dict[str, dict[str, Any]] = {}
    for trial in sorted(
        (trial for trial in results["trials"] if "score" in trial),
        key=lambda trial: (trial["train_windows"], trial["trained_epochs"]),
    ):
        found[trial["method"]] = trial
    return found


def _titles(choice: dict[str, Any], names: list[str]) -> str:
    """The candidates of these names, each title once."""
    titles = {row["name"]: row["title"] for row in choice["candidates"]}
    return " and ".join(dict.fromkeys(titles[name] for name in names))


def _what(choice: dict[str, Any]) -> str:
    taken = _titles(choice, choice["members"])
    return taken if len(choice["runs"]) == 1 else f"Mean of {len(choice['runs'])} trainings ({taken})"


def _averaged(choice: dict[str, Any]) -> str:
    """What the ensemble is the mean of: folds, seeds, or the methods by name."""
    if not choice["ensemble"]:
        return ""
    of = choice["ensemble"]["of"]
    return _titles(choice, choice["ensemble"]["members"]) if of == "methods" else of


def _verdict(choice: dict[str, Any]) -> str:
    """What validation shows about the ensemble."""
    ensemble = choice["ensemble"]
    if not ensemble:
        return ""
    high = ensemble["difference"]["ci_high"]
    if ensemble.get("shown"):
        return (
            "shown to help" if ensemble["helps"] else "shown to help, but no time was left for its test and its files"
        )
    if ensemble["helps"]:
        return "and neither of the two is shown to be better than the other"
    worse = high is not None and high < 0 and choice["groups"] >= FEWEST_GROUPS
    return "shown to be worse" if worse else "not shown to help"


def _helps(found: dict[str, Any], curve: dict[str, Any], results: dict[str, Any], plan: AutoPlan) -> list[str]:
    """What would help: time where methods lacked it, labels, leads, sites."""
    sentences = []
    short = [
        method
        for method, trial in _largest(results).items()
        if trial["windows"] is not None or trial["ended"] or trial["epochs"] < plan.training.epochs
    ]
    if short:
        sentences.append(
            f"**Time.** {', '.join(short)} could not use all windows for {plan.training.epochs} epochs; a larger "
            "--budget (in another --out) would."
        )
    if curve["extrapolated"]:
        twice = curve["extrapolated"][0]
        gain = twice["gain"]
        sentences.append(
            f"**Labels.** With twice the training windows ({twice['windows']:,}) the probe is expected at a validation "
            f"AUROC of {formatting.score(twice['score'])} (95 % interval {formatting.interval(twice)}), a gain of "
            f"{formatting.signed(gain['score'])} ({formatting.signed_interval(gain)})."
        )
    else:
        sentences.append("**Labels.** There are too few training windows for a learning curve.")
    leads = max((len(names.split()) for names in found["leads"]), default=1)
    if plan.data.leads is not None and len(plan.data.leads) < leads:
        sentences.append(
            f"**Leads.** {len(plan.data.leads)} of {leads} recorded leads are used. An encoder of 12 leads "
            "(`ecgtune models`, --encoders) reads all."
        )
    sites = found["sites"]
    if sites is None:
        sentences.append(
            "**Sites.** The files name no site, so nothing is known about other hospitals"
            + ("; name their column with --site." if found["kind"] == "records" else ".")
        )
    else:
        count = formatting.counted(len(sites), "site")
        sentences.append(f"**Sites.** The data are of {count}; `ecgtune compare --leave-site-out` tests each.")
    return sentences


def commands(out: Path, found: dict[str, Any], plan: AutoPlan, folders: list[Path]) -> dict[str, list[str]]:
    """The exact commands that follow, by purpose; each runs as it is written."""
    reading, flags, place = found["reading"], flags_of(found, plan), out.as_posix()
    model, exported = f"{place}/{EXPORTED}", (out / EXPORTED).is_file()
    result = {}
    if exported:
        result = {"check the exported file": [_line("verify", model)], "serve": [_line("serve", model)]}
    if (out / PAGE).is_file():
        result["read ECGs in a browser"] = [_line("page", model, f"{place}/{PAGE}")]
    if found["kind"] == "simulated":
        return result
    windows = found["kind"] == "windows"
    data, signals = (reading["path"],) * 2 if windows else (reading["table"], reading["records"])
    run, *others = (folder.as_posix() for folder in folders)
    ensemble = ["--ensemble", *others] if others else []
    # of files, not of the split; a run has its own signal path
    facts = [*_only(flags["facts"], _names(PredictSettings))]
    recordings = [*_only(flags["windows"], _names(RecordSettings) - _names(SignalPath))]
    again = [*flags["records"], *flags["request"], "--repeat", place]
    external = [*flags["records"], *recordings, *facts, *flags["labels"]]
    without = [_line("predict", model, signals, *facts, "--out", f"{place}/predictions-onnx")]
    return {
        "predict": [_line("predict", run, signals, *ensemble, *facts, "--out", f"{place}/predictions")],
        **({"predict without PyTorch": without} if exported else {}),
        **result,
        "evaluate at another hospital": [
            _line("evaluate", run, data, *ensemble, *external, "--out", f"{place}/external")
        ],
        "reproduce": [_line("auto", data, *again, "--out", f"{place}-again")],
    }


def _names(cls: type) -> set[str]:
    return {item.name for item in dataclasses.fields(cls)}


def _only(words: Sequence[str], settings: Collection[str]) -> Iterator[str]:
    """The flags of these settings, each with its values."""
    known, kept = {flag_of(name) for name in settings}, False
    for word in words:
        kept = word in known if word.startswith("--") else kept
        if kept:
            yield word


def _line(*words: str) -> str:
    return shlex.join(["ecgtune", *map(str, words)])
