"""Draw a window on ECG paper with the stretches that drove a prediction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.config.base import check_settings, choose
from ecgtune.config.commands import ExplainSettings, PredictSettings
from ecgtune.data.positive import POSITIVE
from ecgtune.errors import SettingError
from ecgtune.evaluation.calibration.fitting import log_odds_of
from ecgtune.evaluation.occlusion import occlusion
from ecgtune.io.unlabelled import Unlabelled
from ecgtune.reporting.ecg_paper import Stretch, ecg_paper, stretches
from ecgtune.runtime.predictor import Predictor
from ecgtune.utils.files import write_text
from ecgtune.utils.formatting import counted, score
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.predict import BATCH, open_predictor, read_windows

#: Stretches that the sentences name.
NAMED = 3
DEFAULTS, READING = ExplainSettings(), PredictSettings()


@dataclass(frozen=True, eq=False)
class Explanation:
    """What drove a prediction.

    values: (leads, samples) of the window, by `settings.by`: fall of the log-odds, attributions, or attention.
    stretches: all of them, the largest value first.
    notes: what the reader says of the file, such as an implausible amplitude.
    """

    file: Path
    window: int
    windows: int
    label: str
    probability: float
    leads: tuple[str, ...]
    settings: ExplainSettings
    values: NDArray[np.float64]
    stretches: tuple[Stretch, ...]
    notes: tuple[str, ...]

    def sentences(self) -> list[str]:
        """Sentences for the terminal."""
        why = "" if self.settings.window is not None else ", the highest of all windows" if self.windows > 1 else ""
        lines = [
            f"window {self.window} of {counted(self.windows, 'window')}: probability of {self.label}: "
            f"{score(self.probability)}{why}"
        ]
        unit = {"occlusion": "log-odds fall by {:.2g} without it", "integrated-gradients": "mean attribution {:.2g}"}
        text = unit.get(self.settings.by, "mean attention {:.2g}")
        lines += [
            f"{self.leads[each.lead]}, {each.start:.2f} to {each.end:.2f} s: {text.format(each.value)}"
            for each in self.stretches[:NAMED]
            if each.value > 0
        ]
        if len(lines) == 1:
            lines.append(f"no stretch of {self.settings.width:g} s speaks for {self.label}")
        return lines


def explain(
    run: Predictor | str | Path,
    data: str | Path,
    settings: ExplainSettings = DEFAULTS,
    reading: PredictSettings = READING,
    *,
    out: str | Path = "explanation.svg",
) -> Explanation:
    """Write a picture of a window on ECG paper, in which the stretches that drove the prediction are shaded.

    run: a run folder, an exported file, or the result of `load_run`; of an exported file and of several runs only
    occlusion is possible. data: a recording or a file of windows, as for `predict`, read with the settings `reading`.
    Probabilities are calibrated, log-odds of gradients are those before. Raises DataError or SettingError, one line
    each, before anything is written.
    """
    check_settings(settings, ExplainSettings)
    if Path(out).suffix.lower() != ".svg":
        raise SettingError(f"{out}: pictures are SVG files, which browsers show; give a name such as explanation.svg")
    run = run if isinstance(run, Predictor) else open_predictor(run)
    run.to(settings.device)
    with ProgressBar() as bar:
        windows = read_windows(run, [Path(data)], reading, None, bar)
        probability = np.concatenate(
            [
                run.predict(windows.batch(start, start + BATCH), windows.sampling_rate)
                for start in range(0, len(windows), BATCH)
            ]
        )
        number = _class(run, probability, settings)
        row = _row(probability[:, number], settings.window)
        signal = windows.batch(row, row + 1)[0]
        bar.describe(settings.by)
        values = _values(run, signal, windows.sampling_rate, number, settings)
    found = Explanation(
        Path(out),
        row,
        len(windows),
        run.classes[number],
        float(probability[row, number]),
        run.leads,
        settings,
        values,
        tuple(stretches(values, windows.seconds, settings.width)),
        (*windows.notes, *run.rate_notes(windows.sampling_rate)),
    )
    write_text(found.file, _picture(found, signal, windows))
    return found


def _class(run: Predictor, probability: NDArray[np.float64], settings: ExplainSettings) -> int:
    if settings.target is not None:
        choose(settings.target, run.classes, "target")
        return run.classes.index(settings.target)
    if run.task == "binary":
        return POSITIVE
    rows = probability if settings.window is None else probability[settings.window : settings.window + 1]
    return int(rows.max(axis=0).argmax()) if len(rows) else 0


def _row(probability: NDArray[np.float64], window: int | None) -> int:
    if window is None:
        return int(probability.argmax())
    if window >= len(probability):
        raise SettingError(f"window {window}: the file has {counted(len(probability), 'window')}, from 0")
    return window


def occluded(
    run: Predictor, signal: NDArray[np.float32], rate: float, number: int, width: float
) -> NDArray[np.float64]:
    """Fall of the log-odds of a class or label without each stretch of `width` seconds: values (leads, samples)."""
    # bfloat16 would round small changes; an exported file has the precision of its graph.
    precision = "auto" if getattr(run, "model", None) is None else "fp32"
    return occlusion(
        lambda changed: log_odds_of(run.predict(changed, rate, precision=precision)[:, number]),
        signal,
        round(width * rate),
    )


def _values(
    run: Predictor, signal: NDArray[np.float32], rate: float, number: int, settings: ExplainSettings
) -> NDArray[np.float64]:
    """Values (leads, samples) at the rate of the window."""
    model: Any = getattr(run, "model", None)
    if settings.by == "occlusion":
        return occluded(run, signal, rate, number, settings.width)
    if getattr(run, "preprocessing", None) is None or model is None:
        raise SettingError(f"--by {settings.by} needs one run folder; use --by occlusion")
    import torch

    from ecgtune.deployment.attribution import attention_rollout, class_score, integrated_gradients

    model.eval()
    device = next(model.parameters()).device
    prepared = torch.from_numpy(np.array(run.preprocessing(signal[None], rate), np.float32)).to(device)  # type: ignore[attr-defined]
    if settings.by == "integrated-gradients":
        values = integrated_gradients(class_score(model, run.task, number), prepared)
    else:
        values = attention_rollout(model, prepared)
        values = values - values.min()
    seconds = prepared.shape[2] / model.base_encoder.input_spec.sampling_rate
    return _at_window(values, seconds, signal.shape[1], signal.shape[1] / rate)


def _at_window(values: NDArray[np.float64], seconds: float, samples: int, whole: float) -> NDArray[np.float64]:
    """Parts of the middle `seconds` as values of the samples of a window of `whole` seconds; zero outside."""
    time = (np.arange(samples) + 0.5) / samples * whole - (whole - seconds) / 2
    index = np.floor(time / seconds * values.shape[1]).astype(int)
    inside = (index >= 0) & (index < values.shape[1])
    return np.where(inside, values[:, np.clip(index, 0, values.shape[1] - 1)], 0.0)


def _picture(found: Explanation, signal: NDArray[np.float32], windows: Unlabelled) -> str:
    window = f"{Path(windows.path).name}, window {found.window}"
    title = f"{window}: probability of {found.label}: {score(found.probability)}, shaded by {found.settings.by}"
    return ecg_paper(
        signal,
        windows.sampling_rate,
        found.leads,
        title,
        found.stretches,
        millivolts=windows.unit == "mV",
    )
