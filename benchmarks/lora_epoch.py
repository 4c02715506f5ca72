"""How long one epoch of LoRA on ecg-fm-tiny takes over 24,554 windows of 6 s, beside the same epoch in full.

    python benchmarks/lora_epoch.py

trains through the product's own loop on noise (the time does not depend on the signal) and writes seconds per epoch and
their ratio to benchmarks/results/lora_epoch.json: LoRA with what lies below its first layer computed once, as `train`
does where nothing is augmented, LoRA without that, and full fine-tuning.
"""

import os
import tempfile
import time
from pathlib import Path

import numpy as np

from ecgtune import Full, Head, LoRA, Training, load_model
from ecgtune.files import write_json
from ecgtune.methods import attach, count_parameters
from ecgtune.recipe import Method
from ecgtune.training import Classification, ProgressBar, RunFolder, Windows, compute_once, train
from ecgtune.workflows.environment import machine, now

RESULT = Path(__file__).parent / "results" / "lora_epoch.json"
WINDOWS, SAMPLES = 24_554, 600
EPOCHS = 2  # with a single one nothing is computed once
ARMS: dict[str, tuple[Method, str]] = {
    "LoRA r4": (LoRA(rank=4), "auto"),
    "LoRA r4, nothing computed once": (LoRA(rank=4), "off"),
    "full": (Full(), "auto"),
}


def seconds(method: Method, prefix_cache: str) -> tuple[float, float, float]:
    """Seconds of one epoch, seconds before the first, and the share of weights that trains."""
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((WINDOWS, 1, SAMPLES), dtype=np.float32)
    windows = Windows(signal, rng.integers(0, 2, WINDOWS))
    model = attach(load_model("ecg-fm-tiny", head=Head(pooling="statistics")), method)
    settings = Training(epochs=EPOCHS, batch_size=64, precision="bf16", device="cpu", prefix_cache=prefix_cache)  # type: ignore[arg-type]
    few = Windows(signal[:64], windows.label[:64])  # validation is not what is timed
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ECGTUNE_CACHE"] = folder
        started = time.monotonic()
        once = compute_once(model, method, windows, few, settings, augmented=False)
        before = time.monotonic() - started
        objective = Classification(model, method, once.training, once.validation, settings)
        trained = train(objective, settings, seed=0, folder=RunFolder(Path(folder)), progress=ProgressBar(quiet=True))
    return trained.seconds_per_epoch, before, count_parameters(model, method).share


def main() -> None:
    rows = []
    for name, (method, prefix_cache) in ARMS.items():
        taken, before, share = seconds(method, prefix_cache)
        rows.append({"arm": name, "seconds_per_epoch": taken, "seconds_before": before, "trainable_share": share})
        print(f"{name}: {taken:.1f} s an epoch, {before:.1f} s before the first, {100 * share:.2f} % trainable")
    write_json(
        RESULT,
        {
            "command": "python benchmarks/lora_epoch.py",
            "date": now(),
            "machine": machine(),
            "windows": WINDOWS,
            "samples": SAMPLES,
            "arms": rows,
            "precision": "bf16",
            "lora_over_full": rows[0]["seconds_per_epoch"] / rows[2]["seconds_per_epoch"],
        },
    )


if __name__ == "__main__":
    main()
