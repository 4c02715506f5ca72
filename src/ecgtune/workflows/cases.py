"""Real recordings for the report of a run: right and wrong, surest and least sure, with what drove the answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.dataset import Dataset
from ecgtune.deployment.run import Run, read_run
from ecgtune.errors import EcgtuneError, RunError
from ecgtune.evaluation.cases import Case, choose_cases
from ecgtune.evaluation.external import Measured
from ecgtune.io.again import read_again
from ecgtune.methods.audits import forward_cost
from ecgtune.reporting.ecg_paper import Stretch, ecg_paper, stretches
from ecgtune.reporting.evidence import CASES, CASES_FILE
from ecgtune.reporting.writing import REPORT, write_run_report
from ecgtune.training.predictions import Predictions, read_predictions
from ecgtune.training.run_folder import RESULT_FORMAT, RunFolder
from ecgtune.utils.files import replace_folder, write_json, write_text
from ecgtune.utils.formatting import counted, score
from ecgtune.workflows.explain import occluded

#: Windows of each kind.
EACH = 2
#: Floating-point operations of all occlusions, by which the effort of a run is the same on every machine: some seconds
#: of one core, and of a GPU.
EFFORT, GPU_EFFORT = 3e11, 3e13
#: Seconds of a stretch; the narrowest that the effort allows for all cases is taken.
WIDTHS = (0.2, 0.4, 1.0)
#: Leads of a picture, those with the strongest stretches, and points of the line of each.
LEADS, POINTS = 3, 1200
#: Stretches that the report names.
NAMED = 3


@dataclass(frozen=True)
class _Effort:
    """Seconds of a stretch, and how many cases are explained."""

    width: float
    cases: int


def write_cases(run: Run, dataset: Dataset | None = None, each: int = EACH, *, device: str = "auto") -> str | None:
    """Write `cases/` of a run folder anew, for its report; return why there are no pictures, None where there are.

    dataset: the data of the run; None reads them again. Where that is not possible, cases of an earlier call stay.
    each: windows of each kind. device: to compute on.
    """
    folder = run.folder / CASES

    def without(reason: str) -> str:
        replace_folder(folder, lambda partial: write_json(partial / CASES_FILE, _content([], None, reason)))
        return reason

    if dataset is None:
        data = run.metrics["data"]
        try:
            dataset = read_again(data.get("reading"), data["sha256"])
        except (EcgtuneError, OSError) as error:
            reason = f"the data of the run cannot be read again: {re.sub(r'/[^ ]*/', '', str(error))}"
            return reason if (folder / CASES_FILE).is_file() else without(reason)
    try:
        _write_pictures(run, dataset.with_leads(run.leads), each, device)
    except EcgtuneError as error:  # results that are finished are not lost for want of pictures
        return without(str(error))
    return None


def add_cases(folder: Path, dataset: Dataset, *, device: str = "auto") -> None:
    """Write the cases of a finished run, and its report with them, where they are missing.

    After a kill in between, a second call writes the same. Arguments are those of `write_cases`.
    """
    report = folder / REPORT
    if not (folder / CASES / CASES_FILE).is_file():
        report.unlink(missing_ok=True)  # it has none
        write_cases(read_run(folder), dataset, device=device)
    if not report.is_file():
        write_run_report(folder)


def _write_pictures(run: Run, dataset: Dataset, each: int, device: str) -> None:
    run.to(device)
    test = read_predictions(RunFolder(run.folder).predictions, run.metrics).of("test")
    if len(dataset) != run.metrics["data"]["windows"]:
        windows = counted(len(dataset), "window")
        raise RunError(f"{run.folder}: its data have {windows}, but those of metrics.json have another number")
    chosen = choose_cases(Measured(test.label, test.probability, test.group), run.decision, each)
    effort = _effort(run, dataset, len(chosen))

    def write(partial: Path) -> None:
        entries = [
            _case(run, dataset, test, case, effort.width if number < effort.cases else None, partial, number + 1)
            for number, case in enumerate(chosen)
        ]
        write_json(partial / CASES_FILE, _content(entries, effort.width, None))

    replace_folder(run.folder / CASES, write)


def _content(entries: list[dict[str, Any]], width: float | None, missing: str | None) -> dict[str, Any]:
    return {"format": RESULT_FORMAT, "width": width, "missing": missing, "cases": entries}


def _effort(run: Run, dataset: Dataset, cases: int) -> _Effort:
    """How the cases are explained within the effort."""
    seconds = dataset.samples / dataset.sampling_rate
    on_gpu = next(run.model.parameters()).device.type == "cuda"
    passes = (GPU_EFFORT if on_gpu else EFFORT) / forward_cost(run.model, _prepared_samples(run, dataset))
    of_a_case = {width: 2 * ceil(seconds / width) * len(run.leads) + 1 for width in WIDTHS}
    for width, own in of_a_case.items():
        if own * cases <= passes:
            return _Effort(width, cases)
    return _Effort(WIDTHS[-1], int(passes // of_a_case[WIDTHS[-1]]))


def _prepared_samples(run: Run, dataset: Dataset) -> int:
    window = np.zeros((1, len(run.leads), dataset.samples), np.float32)
    return run.preprocessing(window, dataset.sampling_rate).shape[2]


def _case(
    run: Run, dataset: Dataset, test: Predictions, case: Case, width: float | None, folder: Path, number: int
) -> dict[str, Any]:
    """Write the picture of a case, and return its facts. width: seconds of a stretch; None explains nothing."""
    row, rate = int(test.row[case.place]), dataset.sampling_rate
    signal = np.array(dataset.signal[row], np.float32)
    found: list[Stretch] = []
    if width is not None:
        found = stretches(occluded(run, signal, rate, case.number, width), dataset.samples / rate, width)
    shown = _shown_leads(found, len(run.leads))
    marked = [Stretch(shown.index(each.lead), each.start, each.end, each.value) for each in found if each.lead in shown]
    names = [run.leads[lead] for lead in shown]
    probability = _probability(run, test.probability[case.place], case.number)
    label = run.classes[case.number]
    picture = f"case-{number}.svg"
    title = f"probability of {label}: {score(probability)}"
    write_text(
        folder / picture,
        ecg_paper(signal[shown], rate, names, title, marked, millivolts=dataset.unit == "mV", points=POINTS),
    )
    names_of = {"group": test.group, "recording": test.recording}
    return {
        "kind": case.kind,
        "row": row,
        **{name: None if each is None else str(each[case.place]) for name, each in names_of.items()},
        "true": _labels(run, test.label[case.place]),
        "predicted": _labels(run, run.decision(test.probability[case.place : case.place + 1])[0]),
        "explained": label,
        "probability": probability,
        "confidence": case.confidence,
        "leads": names,
        "of_leads": len(run.leads),
        "stretches": None
        if width is None
        else [
            {"lead": run.leads[each.lead], "start": each.start, "end": each.end, "value": each.value}
            for each in found[:NAMED]
            if each.value > 0
        ],
        "picture": picture,
    }


def _shown_leads(found: Sequence[Stretch], leads: int) -> list[int]:
    """The leads with the strongest stretches, in the order of the recording; the first ones where none are known."""
    ordered = list(dict.fromkeys(each.lead for each in found)) or list(range(leads))
    return sorted(ordered[:LEADS])


def _probability(run: Run, probability: NDArray[np.float64] | float, number: int) -> float:
    """The probability of a class or label, from a row of predictions.csv."""
    if run.task == "binary":
        return float(probability) if number else 1 - float(probability)
    return float(np.asarray(probability)[number])


def _labels(run: Run, value: Any) -> list[str]:
    """Names of a class, or of the labels that are there."""
    if run.task != "multilabel":
        return [run.classes[int(value)]]
    return [name for name, there in zip(run.classes, np.asarray(value).tolist(), strict=True) if there == 1]
