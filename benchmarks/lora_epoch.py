"""How long one epoch of LoRA on ecg-fm-tiny takes over 24,554 windows of 6 s, beside the same epoch in full.

    python benchmarks/lora_epoch.py

trains through the product's own loop on noise (the time does not depend on the signal) and writes seconds per epoch and
their ratio to benchmarks/results/lora_epoch.json.
"""

import tempfile
from pathlib import Path

import numpy as np

from ecgtune import Full, Head, LoRA, Training, load_model
from ecgtune.files import write_json
from ecgtune.methods import attach, count_parameters
from ecgtune.recipe import Method
from ecgtune.training import Classification, ProgressBar, RunFolder, Windows, train
from ecgtune.workflows.environment import machine, now

RESULT = Path(__file__).parent / "results" / "lora_epoch.json"
WINDOWS, SAMPLES = 24_554, 600
ARMS: dict[str, tuple[Method, str]] = {
    "LoRA r4, bf16": (LoRA(rank=4), "bf16"),
    "full, bf16": (Full(), "bf16"),
    "LoRA r4, fp32": (LoRA(rank=4), "fp32"),
}


def seconds(method: Method, precision: str) -> tuple[float, float]:
    """Seconds of one epoch, and the share of weights that trains."""
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((WINDOWS, 1, SAMPLES), dtype=np.float32)
    windows = Windows(signal, rng.integers(0, 2, WINDOWS))
    model = attach(load_model("ecg-fm-tiny", head=Head(pooling="statistics")), method)
    settings = Training(epochs=1, batch_size=64, precision=precision, device="cpu")  # type: ignore[arg-type]
    few = Windows(signal[:64], windows.label[:64])  # validation is not what is timed
    with tempfile.TemporaryDirectory() as folder:
        objective = Classification(model, method, windows, few, settings)
        trained = train(objective, settings, seed=0, folder=RunFolder(Path(folder)), progress=ProgressBar(quiet=True))
    return trained.seconds_per_epoch, count_parameters(model, method).share


def main() -> None:
    rows = []
    for name, (method, precision) in ARMS.items():
        taken, share = seconds(method, precision)
        rows.append({"arm": name, "seconds_per_epoch": taken, "trainable_share": share})
        print(f"{name}: {taken:.1f} s an epoch, {100 * share:.2f} % trainable")
    write_json(
        RESULT,
        {
            "command": "python benchmarks/lora_epoch.py",
            "date": now(),
            "machine": machine(),
            "windows": WINDOWS,
            "samples": SAMPLES,
            "arms": rows,
            "lora_over_full": rows[0]["seconds_per_epoch"] / rows[1]["seconds_per_epoch"],
        },
    )


if __name__ == "__main__":
    main()
