"""An exported file against what its run gave for the same windows: differences, changed decisions, AUROC, speed."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.positive import POSITIVE
from ecgtune.data.simulation import simulate
from ecgtune.evaluation.decision import Decision
from ecgtune.evaluation.groups import Pooled, group_predictions, pooled_probability
from ecgtune.evaluation.scorer import make_scorer
from ecgtune.runtime.model import Model, load_onnxruntime
from ecgtune.utils.formatting import counted
from ecgtune.utils.machine import processor

#: Largest values that an export may reach: of float32 the difference in probability, of int8 the fraction of changed
#: decisions and the AUROC lost; of both the difference in novelty, relative to 1 and to the novelty itself.
LIMITS = {
    "float32": {"largest_difference": 1e-5, "novelty": 1e-3},
    "int8": {"changed_fraction": 0.005, "auroc_lost": 0.002, "novelty": 0.1},
}
SIMULATED = 64  # windows
_TIMED, _TIMED_SECONDS = 30, 2.0


def figures(
    before: NDArray, after: NDArray, decision: Decision, label: NDArray | None, recording: NDArray | None, rule: Pooled
) -> dict[str, Any]:
    """Compare probabilities (windows, classes) of the same windows.

    label: as of `data.dataset.Dataset`, -1 where one is missing. recording: (windows,) identifiers. The entry
    "recordings" compares the pooled probabilities; None without recordings.
    """
    found = _compared(before, after, decision, label, "windows")
    if recording is None or len(np.unique(recording)) == len(recording):
        return found | {"recordings": None}
    old, new = (pooled_probability(each, recording, rule)[1] for each in (before, after))
    of = None if label is None else group_predictions(label, _scored(before, decision), recording, pooled=rule)
    label = None if of is None or isinstance(of, str) else of.label  # recordings with windows of different labels
    return found | {"recordings": _compared(old, new, decision, label, "recordings")}


def _compared(before: NDArray, after: NDArray, decision: Decision, label: NDArray | None, of: str) -> dict[str, Any]:
    old, new = (_scored(np.asarray(each, np.float64), decision) for each in (before, after))
    changed = decision(old) != decision(new)
    auroc = [None if label is None else _auroc(label, each, decision) for each in (old, new)]
    return {
        "of": of,
        "count": len(before),
        "largest_difference": float(np.abs(old - new).max()),
        "changed_decisions": int(changed.sum()),
        "changed_fraction": float(changed.mean()),
        "auroc": None if auroc[0] is None else {"before": auroc[0], "after": auroc[1]},
    }


def _scored(probability: NDArray, decision: Decision) -> NDArray:
    """Probabilities as `evaluation` takes them: of two classes the positive one's."""
    return probability[:, POSITIVE] if decision.task == "binary" else probability


def _auroc(label: NDArray, probability: NDArray, decision: Decision) -> float | None:
    value = make_scorer(label, np.clip(probability, 0, 1), decision).values()["auroc"]
    return value if math.isfinite(value) else None


def novelty_difference(before: NDArray, after: NDArray) -> dict[str, Any]:
    """Compare novelties (windows,) of the same windows: the largest difference, and how many windows change sides of 1.

    Differences are relative to the novelty, where that is above 1.
    """
    old, new = (np.asarray(each, np.float64) for each in (before, after))
    return {
        "largest_difference": float((np.abs(new - old) / np.maximum(old, 1)).max()),
        "changed": int(((old > 1) != (new > 1)).sum()),
        "count": len(old),
    }


def problems(found: dict[str, Any], precision: str) -> list[str]:
    """Sentences on what of `figures` is above the limits of the precision; empty when all is within."""
    limits, sentences = LIMITS[precision], []
    for each in (found, found["recordings"]):
        if each is None:
            continue
        of = each["of"]
        difference, limit = each["largest_difference"], limits.get("largest_difference")
        if limit is not None and not difference <= limit:
            sentences.append(f"probabilities of {of} differ by up to {difference:.2g}; allowed: {limit:g}")
        fraction, limit = each["changed_fraction"], limits.get("changed_fraction")
        # Of few recordings one alone may be more than the fraction, so one is allowed.
        if limit is not None and fraction > limit and (of == "windows" or each["changed_decisions"] > 1):
            sentences.append(f"{100 * fraction:.2g} % of the decisions on {of} change; allowed: {100 * limit:g} %")
        lost, limit = _lost(each["auroc"]), limits.get("auroc_lost")
        if limit is not None and lost > limit:
            sentences.append(f"AUROC of {of} falls by {lost:.2g}; allowed: {limit:g}")
    novelty, limit = found.get("novelty"), limits["novelty"]
    if novelty is not None and not novelty["largest_difference"] <= limit:
        sentences.append(f"the novelty differs by up to {novelty['largest_difference']:.2g}; allowed: {limit:g}")
    return sentences


def _lost(auroc: dict[str, float] | None) -> float:
    return 0.0 if auroc is None else auroc["before"] - auroc["after"]


def simulated_windows(leads: int, samples: int, sampling_rate: float) -> NDArray[np.float32]:
    """The `SIMULATED` windows (windows, leads, samples), in mV, that every export is compared on, on any machine."""
    rate = max(sampling_rate, 40.0)  # the least that is simulated; windows at a lower rate are only faster
    seconds = max(2.0, math.ceil(samples / rate))
    signal = simulate(SIMULATED * leads, sampling_rate=rate, seconds=seconds, seed=0).signal
    return np.ascontiguousarray(signal.reshape(SIMULATED, leads, -1)[:, :, :samples])


def seconds_per_window(predict: Callable[[NDArray], object], windows: NDArray) -> float:
    """Median processor seconds of `predict` for one window at a time, after one that is not counted.

    `predict` has one thread. Other programs that keep the processor busy lengthen the time of a clock, not this.
    """
    predict(windows[:1])
    seconds: list[float] = []
    for row in range(_TIMED):
        start = time.process_time()
        predict(windows[row % len(windows)][None])
        seconds.append(time.process_time() - start)
        if sum(seconds) > _TIMED_SECONDS:
            break
    return float(np.median(seconds))


def measured(
    path: Path,
    signal: NDArray[np.float32],
    probability: NDArray,
    label: NDArray | None,
    recording: NDArray | None,
    novelty: NDArray | None,
) -> dict[str, Any]:
    """Figures of an exported file on windows at the rate of its input, with the usual and the exact kernels.

    Of a float32 file both are the same, and one is listed. probability, novelty: what the run gives, (windows, classes)
    and (windows,); None for a run without the score.
    """
    models = {"usual": Model(path)}
    if models["usual"].metadata.get("precision") != "float32":
        models["exact"] = Model(path, exact=True)
    kernels = {}
    for name, each in models.items():
        found, scores = each.assess_windows(signal, each.sampling_rate)
        kernels[name] = figures(probability, found, each.decision, label, recording, each.recording_rule)
        if novelty is not None and scores is not None:
            kernels[name]["novelty"] = novelty_difference(novelty, scores)
    return {
        "kernels": kernels,
        "seconds_per_window": {"onnxruntime": model_seconds(Model(path, threads=1), signal)},
        **measured_on(f"onnxruntime {load_onnxruntime().__version__}"),
    }


def model_seconds(model: Model, signal: NDArray[np.float32]) -> float:
    """Seconds of an exported file, opened with one thread, for a window at the rate of its input."""
    return seconds_per_window(lambda one: model.predict_windows(one, model.sampling_rate), signal)


def measured_on(runtime: str) -> dict[str, str]:
    """A runtime and its version, and the processor of this machine."""
    return {
        "runtime": runtime,
        "processor": processor(),
        "system": platform.platform(),
    }


@dataclass(frozen=True)
class Verified:
    """An exported file and how it compares with its run. report: the content of `<name>.verification.json`."""

    path: Path
    report: dict[str, Any]

    def sentences(self) -> list[str]:
        """The report in words."""
        report = self.report
        lines = [f"verified on {report['windows']}", f"{report['runtime']}, {report['processor']}"]
        for kernel, found in report["kernels"].items():
            of = "" if len(report["kernels"]) == 1 else f", {kernel} kernels"
            lines += [f"{_sentence(each)}{of}" for each in (found, found["recordings"]) if each is not None]
            if novelty := found.get("novelty"):
                lines.append(
                    f"novelty: largest difference {novelty['largest_difference']:.2g}, {novelty['changed']} of "
                    f"{counted(novelty['count'], 'window')} on the other side of 1{of}"
                )
        seconds = report["seconds_per_window"]
        beside = f", torch {1000 * seconds['torch']:.3g} ms" if "torch" in seconds else ""
        alone = next(value for name, value in seconds.items() if name != "torch")
        return [*lines, f"one window on one core: {1000 * alone:.3g} ms{beside}"]


def _sentence(found: dict[str, Any]) -> str:
    auroc = found["auroc"]
    of = "" if auroc is None else f", AUROC {auroc['before']:.4f} before and {auroc['after']:.4f} after"
    return (
        f"{found['count']} {found['of']}: largest difference in probability {found['largest_difference']:.2g}, "
        f"{found['changed_decisions']} decisions changed{of}"
    )
