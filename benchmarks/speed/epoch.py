"""Time of an epoch of ecg-fm-tiny over 24,554 windows of 6 s: LoRA in three variants, and full fine-tuning.

    python benchmarks/speed/epoch.py

trains on noise with the training loop of ecgtune, alternating between variants, and writes medians to
benchmarks/results/epoch-KIND.json and docs/performance.md.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.append(str(Path(__file__).parents[1]))
from machines import described, lacks, result_file, write_result
from pages import markdown, update
from ways import Size, our_timing

from ecgtune import Full, Head, LoRA, load_model
from ecgtune.config.augmentation import Augmentation
from ecgtune.utils import formatting

WINDOWS, SAMPLES, BATCH = 24_554, 600, 64
AUGMENTED = Augmentation(shift=0.1, time_stretch=0.05, polarity_flip=0.5, gain=0.2, wander=0.1, noise=0.05)
#: Title -> method, epochs (with a single one nothing is precomputed), augmentation.
VARIANTS = {
    "LoRA r4": (LoRA(rank=4), 2, None),
    "LoRA r4, nothing computed once": (LoRA(rank=4), 1, None),
    "LoRA r4, augmented": (LoRA(rank=4), 1, AUGMENTED),
    "full": (Full(), 1, None),
}


def measure(title: str, windows: int, precision: str) -> tuple[float, float]:
    """Return the seconds of an epoch, and before the first one."""
    method, epochs, augmentation = VARIANTS[title]
    model = load_model("ecg-fm-tiny", head=Head(pooling="statistics"))
    size = Size(model.encoder.config, BATCH, SAMPLES, windows, torch.device("cpu"))
    settings = {"windows": windows, "epochs": epochs, "precision": precision, "augmentation": augmentation}
    phase = our_timing(size, model, method, **settings)
    return phase.step * -(-windows // BATCH), phase.before


def table(result: Mapping[str, Any]) -> str:
    """Return a Markdown table with one row per variant."""
    head = f"{described(result)}: {result['windows']:,} windows of {result['samples']} samples, {result['precision']}."
    rows = [
        (row["variant"], formatting.seconds(row["seconds_before"]), formatting.seconds(row["seconds_per_epoch"]))
        for row in result["rows"]
    ]
    return f"{head}\n\n" + markdown(("ecg-fm-tiny", "s before the first epoch", "s per epoch"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--windows", type=int, default=WINDOWS)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    precision = "fp32" if lacks("bf16") else "bf16"
    for title in VARIANTS:
        measure(title, max(options.windows // 20, 4 * BATCH), precision)  # the first training of a process is slower
    found = {title: [] for title in VARIANTS}
    for _ in range(options.rounds):
        for title, taken in found.items():
            taken.append(measure(title, options.windows, precision))
    rows = [
        dict(zip(("variant", "seconds_per_epoch", "seconds_before"), (title, *np.median(taken, axis=0)), strict=True))
        for title, taken in found.items()
    ]
    facts = {"windows": options.windows, "samples": SAMPLES, "rounds": options.rounds, "precision": precision}
    write_result(result_file("epoch"), {**facts, "rows": rows})
    update()


if __name__ == "__main__":
    main()
