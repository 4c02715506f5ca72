"""Evaluate a finished run on another data set, which tunes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecgtune.config.base import check_settings
from ecgtune.config.commands import ESTIMATE, EvaluateSettings
from ecgtune.data.dataset import Dataset
from ecgtune.data.positive import POSITIVE
from ecgtune.data.tasks import Task
from ecgtune.deployment.run import Ensemble, Run
from ecgtune.errors import SettingError
from ecgtune.evaluation.calibration.measures import calibration_measures
from ecgtune.evaluation.coverage import measured_certainty
from ecgtune.evaluation.decision import Decision
from ecgtune.evaluation.external import Measured, compare_data, operating_point
from ecgtune.evaluation.prior_shift import estimated_prevalence, prevalence_of, shifted, stated_prevalence
from ecgtune.evaluation.subgroups import parts_of, subgroup_metrics
from ecgtune.reporting.external import table_markdown
from ecgtune.runtime.model import Model
from ecgtune.runtime.predictor import Predictor
from ecgtune.training.predictions import Predictions, predictions_text, read_predictions
from ecgtune.training.run_folder import RunFolder
from ecgtune.utils.files import write_json, write_text
from ecgtune.utils.formatting import counted
from ecgtune.utils.locks import exclusive, write_together
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.environment import command_line, opening
from ecgtune.workflows.labelled import LabelledWindows, labelled_windows, probabilities
from ecgtune.workflows.predict import open_predictor
from ecgtune.workflows.preparation import check_dataset
from ecgtune.workflows.reports import add_evidence

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULTS = EvaluateSettings()
RESULT, TABLE, PREDICTIONS = "external.json", "table.md", "predictions.csv"
#: The run's own splits, by their use here.
SPLITS = {"internal": "test", "validation": "val"}


def evaluate(
    run: Predictor | str | Path | Iterable[str | Path],
    dataset: Dataset,
    settings: EvaluateSettings = DEFAULTS,
    *,
    out: str | Path,
    columns: Mapping[str, NDArray[np.str_]] | None = None,
    wait: bool = False,
) -> dict[str, Any]:
    """Evaluate a run on `dataset`, beside its own test split, and return the content of `external.json`.

    run: a run folder, several of them (their probabilities are averaged), an exported file, or the result of
    `load_run`. dataset: labelled windows of the run's leads and length, at any rate; with the data that the run was
    trained on, its test split is evaluated. columns: text per window of `dataset` for `settings.by`. Nothing is tuned
    on the data: probabilities, calibration and thresholds are the run's; only `settings.prevalence` moves
    probabilities, by a stated number, or by one that is estimated from the probabilities without labels.

    Writes `external.json`, `table.md` and `predictions.csv` into the folder `out`. The test split of several runs is
    beside the data where all have the same. wait: while another process uses the folder, instead of an error. Raises
    DataError, SettingError or RunError, one line each, before anything is written.
    """
    check_dataset(dataset, "evaluate")
    check_settings(settings, EvaluateSettings)
    run = run if isinstance(run, Predictor) else open_predictor(run)
    columns = {**dataset.recorded, **(columns or {})}
    missing = [name for name in settings.by if name not in columns]
    if missing:
        raise SettingError(f"by {missing[0]}: no such column is given; allowed: {', '.join(columns) or 'none'}")
    chosen = labelled_windows(run, dataset, settings.map)
    rows, mapped, own = chosen.rows, chosen.labels, chosen.own
    parts = {name: parts_of(columns[name][rows], name) for name in settings.by}
    sides, own_recording = _own_predictions(run)
    folder = Path(out)
    with exclusive(folder, command_line(), result=RESULT, wait=wait):
        run.to(settings.device)
        with ProgressBar() as bar:
            bar.expect(len(rows))
            bar.describe("windows")
            probability = probabilities(run, chosen.taken, len(rows), dataset.sampling_rate, bar)
        group, recording = chosen.group, chosen.recording
        raw = Measured(mapped.label, probability, group)
        decision, external, shift = _shifted(run, raw, sides.get("validation"), settings)
        internal = None if own else sides.get("internal")
        pooled = external.per_recording(recording, run.recording_rule)
        pooled_internal = None if internal is None else internal.per_recording(own_recording, run.recording_rule)
        compared = compare_data(internal, external, run.decision, run.classes, decision)
        result = {
            **opening(run),
            "run_classes": list(run.classes),
            "data": {
                "path": dataset.source.path,
                "sha256": dataset.source.sha256,
                "windows": len(rows),
                "groups": None if group is None else len(np.unique(group)),
                "own_test_split": own,
                "left_out": mapped.left_out,
                "absent": list(mapped.absent),
                "unused": list(mapped.unused),
                "notes": [*_notes(run, dataset, rows, own), *_meanings(run, chosen, compared)],
            },
            "map": chosen.mapping,
            "window": compared,
            "recording": None
            if isinstance(pooled, str) or isinstance(pooled_internal, str)
            else compare_data(pooled_internal, pooled, run.decision, run.classes, decision),
            "shift": shift,
            "certainty": _certainty(run, {"internal": (internal, own_recording), "external": (raw, recording)}),
            "operating_points": _operating_points(run, raw, sides.get("validation"), shift, settings.sensitivity),
            "subgroups": subgroup_metrics(external, decision, run.classes, parts),
        }
        part = np.full(len(rows), "external")
        predictions = Predictions(rows, group, part, mapped.label, external.probability, recording)

        def write(partial: Path) -> None:
            write_text(partial / PREDICTIONS, predictions_text(predictions, run.classes))
            write_text(partial / TABLE, table_markdown(result))
            write_json(partial / RESULT, result)

        write_together(folder, write, last=RESULT)
        add_evidence(run, folder)
    return result


def _own_predictions(run: Predictor) -> tuple[dict[str, Measured], NDArray | None]:
    """Predictions of the run for its own test and validation windows, as far as they are known.

    With them the recordings of the test windows, where a patient may have several.
    """
    if isinstance(run, (Run, Ensemble)):
        own = _averaged(run.runs)
        measured = {side: Measured(each.label, each.probability, each.group) for side, each in own.items()}
        return measured, own["internal"].recording if "internal" in own else None
    if isinstance(run, Model) and (kept := run.references("test")) is not None:
        probability = kept.probability[:, POSITIVE] if run.task == "binary" else kept.probability
        group = None if (kept.recording < 0).any() else kept.recording
        return {"internal": Measured(kept.label.astype(np.int64), probability.astype(np.float64), group)}, None
    return {}, None


def _averaged(runs: Sequence[Run]) -> dict[str, Predictions]:
    """Mean predictions of runs, by the names of `SPLITS`: of those splits whose windows all of them have."""
    if len({run.trained_on_files for run in runs}) > 1:
        return {}
    found = [read_predictions(RunFolder(run.folder).predictions, run.metrics) for run in runs]
    means = {}
    for side, split in SPLITS.items():
        first, *others = (each.of(split) for each in found)
        if all(np.array_equal(first.row, each.row) for each in others):
            probability = np.mean([first.probability, *(each.probability for each in others)], axis=0)
            means[side] = replace(first, probability=probability)
    return means


def _certainty(run: Predictor, sides: Mapping[str, tuple[Measured | None, NDArray | None]]) -> dict[str, Any] | None:
    """Coverage of prediction sets and error with abstention, before a shift of the prevalence.

    sides: predictions, and the recording of each window where a patient may have several.
    """
    if run.certainty is None:
        return None
    return {
        name: None if side is None else measured_certainty(run.certainty, side, units, run.decision, run.recording_rule)
        for name, (side, units) in sides.items()
    }


def _shifted(
    run: Predictor, raw: Measured, validation: Measured | None, settings: EvaluateSettings
) -> tuple[Decision, Measured, dict[str, Any] | None]:
    """Decision and predictions at the prevalence of the data, and what was moved; unchanged where none is asked for."""
    if not settings.prevalence:
        return run.decision, raw, None
    if validation is None:
        raise SettingError("--prevalence needs the run's validation predictions, which a run folder has; give it")
    before = prevalence_of(validation.label, run.classes)
    estimated = settings.prevalence == (ESTIMATE,)
    after = (
        estimated_prevalence(raw.probability, before, run.task)
        if estimated
        else stated_prevalence(settings.stated, before, run.classes, run.task)
    )
    moved = replace(raw, probability=shifted(raw.probability, before, after, run.task))
    thresholds = []
    for number, threshold in enumerate(run.decision.thresholds):
        # A fixed threshold is one of the probability; a fitted one separates windows, and moves with them.
        row = np.zeros((1, len(run.classes)))
        row[0, number] = threshold.value
        one = np.array([threshold.value]) if run.task == "binary" else row
        value = shifted(one, before, after, run.task).ravel()[0 if run.task == "binary" else number]
        thresholds.append(threshold if threshold.rule == "fixed" else replace(threshold, value=float(value)))
    measured = {
        side: calibration_measures(run.task, each.label, each.probability, each.group, run.classes)["each"]
        for side, each in (("before", raw), ("after", moved))
    }
    shift = {
        "estimated": estimated,
        "from": dict(zip(run.classes, before.tolist(), strict=True)),
        "to": dict(zip(run.classes, after.tolist(), strict=True)),
        "validation_mean": dict(zip(run.classes, _means(validation, run.task), strict=True)),
        "intercept": {
            side: {name: entry and entry["intercept"] for name, entry in each.items()}
            for side, each in measured.items()
        },
    }
    return replace(run.decision, thresholds=tuple(thresholds)), moved, shift


def _means(data: Measured, task: Task) -> list[float]:
    """The mean probability of each class or label, over the windows where it is known."""
    probability = np.asarray(data.probability, np.float64)
    if task == "binary":
        return [1 - float(probability.mean()), float(probability.mean())]
    known = data.label >= 0 if task == "multilabel" else np.ones_like(probability, bool)
    return [float(own[there].mean()) if there.any() else 0.0 for own, there in zip(probability.T, known.T, strict=True)]


def _operating_points(
    run: Predictor, raw: Measured, validation: Measured | None, shift: dict[str, Any] | None, sensitivity: float
) -> dict[str, Any]:
    """Thresholds that keep a sensitivity, of the positive class of two or of each label; none without validation.

    They are those of the run's probabilities before a shift.
    """
    if validation is None or run.task == "multiclass":
        return {}
    names = run.classes[POSITIVE:] if run.task == "binary" else run.classes
    found = {}
    for number, name in enumerate(names):
        pairs = []
        for side in (validation, raw):
            label = side.label if run.task == "binary" else side.label[:, number]
            probability = side.probability if run.task == "binary" else side.probability[:, number]
            known = label >= 0
            group = None if side.group is None else side.group[known]
            pairs.append(Measured(label[known], probability[known], group))
        if all(len(np.unique(side.label)) == 2 for side in pairs):
            prevalence = None if shift is None else shift["to"][name]
            found[name] = operating_point(pairs[0], pairs[1], sensitivity, prevalence)
    return found


def _meanings(run: Predictor, chosen: LabelledWindows, compared: Mapping[str, Any]) -> list[str]:
    """What is assumed about the meaning of labels, and the labels whose AUROC says that they mean the opposite."""
    if chosen.own:
        return []
    notes, classes = [], run.classes
    if not chosen.mapping and run.task != "multilabel" and all(name.lstrip("-").isdecimal() for name in classes):
        notes.append(
            f"The labels {', '.join(classes)} are taken to mean what they mean in the run's data; if they do not, "
            "map them with --map."
        )
    found = {classes[POSITIVE]: compared["metrics"]} if run.task == "binary" else compared["labels"]
    aurocs = {name: metrics["auroc"]["external"]["value"] for name, metrics in found.items() if "auroc" in metrics}
    opposite = [name for name, value in aurocs.items() if value is not None and value < 0.5]
    if opposite:
        swapped = "" if run.task != "binary" else f" (--map '{classes[0]}={classes[1]},{classes[1]}={classes[0]}')"
        notes.append(
            f"The AUROC of {', '.join(opposite)} is below 0.5: check whether the labels mean the opposite "
            f"here{swapped}."
        )
    return notes


def _notes(run: Predictor, dataset: Dataset, rows: NDArray, own: bool) -> list[str]:
    notes = [*dataset.source.notes, *run.rate_notes(dataset.sampling_rate)]
    if own:
        return [*notes, "These are the data of the training: the run's test split is evaluated, and nothing external."]
    named = [np.unique(each[rows]).tolist() for each in (dataset.group, dataset.recording) if each is not None]
    known = run.known(dict.fromkeys(name for names in named for name in names))
    if known:
        notes.append(
            f"{counted(len(known), 'name')} of patients or recordings trained the run or chose its epoch "
            f"({', '.join(known[:3])}{', ...' if len(known) > 3 else ''}); if they are the same, scores are too high."
        )
    return notes
