"""Accuracy and confidence of a finished run under noise, wrong leads, rates, gains and other disturbances."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.config.base import check_settings
from ecgtune.config.commands import StressSettings
from ecgtune.data.dataset import Dataset
from ecgtune.data.disturbances import DISTURBANCES, Disturbance, Recorded, Strength
from ecgtune.data.sampling import generator, representative_rows
from ecgtune.data.signal.filters import band_pass, mains_notch, zscore
from ecgtune.data.tasks import strata
from ecgtune.errors import SettingError
from ecgtune.evaluation.external import Measured
from ecgtune.evaluation.stress import StressTest
from ecgtune.reporting.stress import stress_csv, stress_markdown, write_stress_figure
from ecgtune.runtime.predictor import Predictor
from ecgtune.utils.files import write_json, write_text
from ecgtune.utils.locks import exclusive, write_together
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.environment import command_line, opening
from ecgtune.workflows.labelled import LabelledWindows, labelled_windows, probabilities
from ecgtune.workflows.predict import open_predictor
from ecgtune.workflows.preparation import check_dataset
from ecgtune.workflows.reports import add_evidence

DEFAULTS = StressSettings()
RESULT, ROWS, TABLE, FIGURE = "stress.json", "stress.csv", "stress.md", "stress.svg"


def stress(
    run: Predictor | str | Path | Iterable[str | Path],
    dataset: Dataset,
    settings: StressSettings = DEFAULTS,
    *,
    out: str | Path,
    wait: bool = False,
) -> dict[str, Any]:
    """Disturb the windows of `dataset`, predict them with a run, and return the content of `stress.json`.

    run: a run folder, several of them (their probabilities are averaged), an exported file, or the result of
    `load_run`. dataset: labelled windows of the run's leads and length, at any rate; of the data that the run was
    trained on, its test split is taken. Windows of recordings are disturbed behind the signal path; where that filters
    or z-scores, this is repeated on the disturbed windows, and on the undisturbed ones.

    Writes `stress.json`, `stress.csv`, `stress.md` and `stress.svg` into the folder `out`. wait: while another
    process uses the folder, instead of an error. Raises DataError, SettingError or RunError, one line each, before
    anything is written.
    """
    check_dataset(dataset, "stress")
    check_settings(settings, StressSettings)
    run = run if isinstance(run, Predictor) else open_predictor(run)
    windows = labelled_windows(run, dataset, settings.map)
    label = windows.labels.label
    chosen = _chosen(windows, settings)
    rows, label = windows.rows[chosen], label[chosen]
    recorded = Recorded(dataset.leads, run.leads, dataset.sampling_rate)
    applied = [each for each in DISTURBANCES if not settings.only or each.name in settings.only]
    possible = {each.name: each.allowed(recorded) for each in applied}
    if not any(strengths for strengths, _ in possible.values()):
        reasons = "; ".join(f"{each.title}: {possible[each.name][1]}" for each in applied)
        raise SettingError(f"only {', '.join(settings.only)}: cannot be tested ({reasons}); name others, or none")
    folder = Path(out)
    with exclusive(folder, command_line(), result=RESULT, wait=wait):
        run.to(settings.device)
        with ProgressBar() as bar:
            for note in run.rate_notes(dataset.sampling_rate):
                bar.note(f"warning: {note}")
            bar.expect(len(rows) * (1 + sum(len(strengths) for strengths, _ in possible.values())))
            group = None if dataset.group is None else dataset.group[rows]

            def predicted(disturbance: Disturbance | None, strength: Strength = "", number: int = 0) -> NDArray:
                bar.describe("undisturbed" if disturbance is None else disturbance.title)

                def batch(start: int, stop: int) -> NDArray[np.float32]:
                    signal = dataset.signal[rows[start:stop]]
                    if disturbance is None:
                        signal = signal[:, recorded.channels]
                    else:
                        drawn = generator(settings.seed, DISTURBANCES.index(disturbance), number, start)
                        signal = disturbance(signal, recorded, strength, drawn)
                    return _filtered(run, np.ascontiguousarray(signal, np.float32), dataset.sampling_rate)

                return probabilities(run, batch, len(rows), dataset.sampling_rate, bar)

            test = StressTest(Measured(label, predicted(None), group), run.decision, run.classes)
            found = [
                {
                    "disturbance": each.name,
                    "title": each.title,
                    "unit": each.unit,
                    "strength": strength,
                    **test.measure(predicted(each, strength, number)),
                }
                for each in applied
                for number, strength in enumerate(possible[each.name][0])
            ]
        result = {
            **opening(run),
            "classes": list(run.classes),
            "seed": settings.seed,
            "data": {
                "path": dataset.source.path,
                "sha256": dataset.source.sha256,
                "windows": len(rows),
                "of": len(windows.rows),
                "groups": None if group is None else len(np.unique(group)),
                "own_test_split": windows.own,
            },
            "undisturbed": test.undisturbed(),
            "rows": found,
            "not_tested": {each.title: reason for each in applied if (reason := possible[each.name][1])},
        }

        def write(partial: Path) -> None:
            write_stress_figure(partial / FIGURE, result)
            write_text(partial / ROWS, stress_csv(result))
            write_text(partial / TABLE, stress_markdown(result))
            write_json(partial / RESULT, result)

        write_together(folder, write, last=RESULT)
        add_evidence(run, folder)
    return result


def _chosen(windows: LabelledWindows, settings: StressSettings) -> NDArray[np.int64]:
    """Which of the rows are disturbed: all, or `settings.windows` of them, of whole patients or recordings."""
    label = windows.labels.label
    if len(label) <= settings.windows:
        return np.arange(len(label))
    return representative_rows(strata(label), windows.group, None, settings.windows, settings.seed)


def _filtered(run: Predictor, signal: NDArray[np.float32], sampling_rate: float) -> NDArray[np.float32]:
    """What the signal path of the training does with amplitudes and frequencies of a recording."""
    path = run.trained_on["signal_path"] or {}
    if path.get("band"):
        signal = band_pass(signal, sampling_rate, *path["band"])
    if path.get("mains"):
        signal = mains_notch(signal, sampling_rate, path["mains"])
    return zscore(signal) if path.get("zscore") else signal
