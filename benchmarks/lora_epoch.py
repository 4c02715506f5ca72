"""How long one epoch of LoRA on ecg-fm-tiny takes over 24,554 windows of 6 s, beside the same epoch in full.

    python benchmarks/lora_epoch.py

trains through the product's own loop on noise (the time does not depend on the signal), each way in turn, and writes
medians of seconds per epoch to
benchmarks/results/lora_epoch.json and docs/performance.md: LoRA with what lies below its first layer computed once,
as `train` does where nothing is augmented; without that; on augmented windows; and full fine-tuning.
"""

import argparse
import os
import shlex
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecgtune import Full, Head, LoRA, Optimisation, TrainerSettings, load_model
from ecgtune.config.augmentation import Augmentation
from ecgtune.data.augmentation import WindowAugmentation
from ecgtune.methods.attach import attach
from ecgtune.methods.audits import count_parameters
from ecgtune.methods.base import Method
from ecgtune.training.batches import Windows
from ecgtune.training.classification import Classification
from ecgtune.training.loop import train
from ecgtune.training.prefix import compute_once
from ecgtune.training.run_folder import RunFolder
from ecgtune.utils.files import write_json
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.environment import machine, now

sys.path.append(str(Path(__file__).parent / "speed"))
from page import epochs, into_page

RESULT = Path(__file__).parent / "results" / "lora_epoch.json"
WINDOWS, SAMPLES = 24_554, 600
#: As in the proof of docs/pretraining.md.
AUGMENTATION = Augmentation(shift=0.1, time_stretch=0.05, polarity_flip=0.5, gain=0.2, wander=0.1, noise=0.05)


@dataclass(frozen=True)
class Arm:
    """One way of training; with a single epoch nothing is computed once."""

    name: str
    method: Method
    epochs: int = 1
    augmented: bool = False


ARMS = (
    Arm("LoRA r4", LoRA(rank=4), epochs=2),
    Arm("LoRA r4, nothing computed once", LoRA(rank=4)),
    Arm("LoRA r4, augmented", LoRA(rank=4), augmented=True),
    Arm("full", Full()),
)


def seconds(arm: Arm, count: int) -> tuple[float, float, float]:
    """Seconds of an epoch of `count` windows, seconds before the first, and the share of weights that trains."""
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((count, 1, SAMPLES), dtype=np.float32)
    windows = Windows(signal, rng.integers(0, 2, count))
    model = attach(load_model("ecg-fm-tiny", head=Head(pooling="statistics")), arm.method)
    settings = Optimisation(epochs=arm.epochs, batch_size=64), TrainerSettings(precision="bf16", device="cpu")
    few = Windows(signal[:64], windows.label[:64])  # validation is not what is timed
    augment = WindowAugmentation(AUGMENTATION, windows=count, leads=1, sampling_rate=100.0, normalise=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ECGTUNE_CACHE"] = folder
        started = time.monotonic()
        once = compute_once(model, arm.method, windows, few, *settings, augmented=arm.augmented)
        before = time.monotonic() - started
        shown = augment if arm.augmented else None
        objective = Classification(model, arm.method, once.training, once.validation, *settings, shown)
        trained = train(objective, *settings, seed=0, folder=RunFolder(Path(folder)), progress=ProgressBar(quiet=True))
    return trained.seconds_per_epoch, before, count_parameters(model, arm.method).fraction


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--windows", type=int, default=WINDOWS)
    parser.add_argument("--rounds", type=int, default=2)
    asked = parser.parse_args()
    for arm in ARMS:
        seconds(arm, asked.windows // 20)  # the first of a process is slower, whichever it is
    taken: dict[str, list[tuple[float, float, float]]] = {arm.name: [] for arm in ARMS}
    for _ in range(asked.rounds):
        for arm in ARMS:
            taken[arm.name].append(seconds(arm, asked.windows))
            epoch, before, share = taken[arm.name][-1]
            print(f"{arm.name}: {epoch:.1f} s an epoch, {before:.1f} s before the first, {100 * share:.2f} % trainable")
    rows = []
    for name, times in taken.items():
        epoch, before, share = np.median(times, axis=0).tolist()
        rows.append({"arm": name, "seconds_per_epoch": epoch, "seconds_before": before, "trainable_share": share})
    result = {
        "command": shlex.join(["python", "benchmarks/lora_epoch.py", *sys.argv[1:]]),
        "date": now(),
        "machine": machine(),
        "windows": asked.windows,
        "rounds": asked.rounds,
        "samples": SAMPLES,
        "arms": rows,
        "precision": "bf16",
        "lora_over_full": rows[0]["seconds_per_epoch"] / rows[-1]["seconds_per_epoch"],
    }
    write_json(RESULT, result)
    into_page("lora_epoch", epochs(result))


if __name__ == "__main__":
    main()
