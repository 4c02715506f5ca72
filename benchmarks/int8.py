"""What predictions in bf16 and int8 gain, and how often they are those of float32.

    python benchmarks/int8.py

times products of ECG-FM's sizes by each format, tunes the embedded encoder with LoRA and trains a probe on one of
ECG-FM's size on simulated windows, lets them predict others in each format, and writes processor times and agreement to
benchmarks/results/int8.json.
`deployment/int8.py` is there because of it.
"""

import argparse
import copy
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from full_size import TITLE, full_size
from torch import nn

import ecgtune
from ecgtune.deployment.int8 import Int8Linear
from ecgtune.training.memory import keep_freed_memory
from ecgtune.utils.files import write_json
from ecgtune.workflows.environment import machine, now

RESULT = Path(__file__).parent / "results" / "int8.json"
ROWS = 16 * 156  # tokens of 16 windows of 5 s
LAYERS = ((768, 768), (768, 3072), (3072, 768))
PRECISIONS = ("fp32", "bf16", "int8")


def milliseconds(work: Callable[[], object], rounds: int) -> float:
    """Median processor time; the first round is not counted."""
    taken = []
    for _ in range(rounds + 1):
        started = time.process_time()
        work()
        taken.append(1e3 * (time.process_time() - started))
    return float(np.median(taken[1:]))


@torch.no_grad()
def products(inputs: int, outputs: int, rounds: int) -> dict[str, float]:
    """One linear layer by each format, its inputs and outputs in bf16 for int8 too, as in a prediction."""
    torch.manual_seed(0)
    whole, tokens = nn.Linear(inputs, outputs), torch.randn(ROWS, inputs)
    eight, half, rounded = Int8Linear(whole), copy.deepcopy(whole).bfloat16(), tokens.bfloat16()
    return {
        "fp32": milliseconds(lambda: whole(tokens), rounds),
        "bf16": milliseconds(lambda: half(rounded), rounds),
        "int8": milliseconds(lambda: eight(rounded), rounds),
    }


def agreement(
    model: str | Path, method: ecgtune.LoRA | ecgtune.LinearProbe, windows: int, epochs: int
) -> tuple[list[dict], float]:
    """Each format on `windows` windows that a run of `method` has not seen, and the AUROC of its test split."""
    data, others = ecgtune.simulate(windows, seed=0), ecgtune.simulate(windows, seed=1)
    trainer = ecgtune.TrainerSettings(precision="bf16", device="cpu")
    with tempfile.TemporaryDirectory() as place:
        run = ecgtune.fine_tune(
            ecgtune.load_model(model, head=ecgtune.Head(pooling="statistics")),
            data,
            method=method,
            optimisation=ecgtune.Optimisation(epochs=epochs, batch_size=16),
            trainer=trainer,
            out=Path(place) / "run",
            quiet=True,
        )
    found = {}
    for precision in PRECISIONS:
        run.predict(others.signal[:2], precision=precision)  # packs the weights, which is done once
        started = time.process_time()
        found[precision] = (run.predict(others.signal, precision=precision)[:, 1], time.process_time() - started)
    truth = found["fp32"][0]
    rows = [
        {
            "precision": precision,
            "seconds": seconds,
            "agreement": float(np.mean((probability >= run.threshold) == (truth >= run.threshold))),
            "largest_difference": float(np.abs(probability - truth).max()),
        }
        for precision, (probability, seconds) in found.items()
    ]
    return rows, run.metrics["window"]["metrics"]["auroc"]["value"]


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--windows", type=int, nargs=2, default=[1000, 500], help="of the embedded, of the full size")
    parser.add_argument("--epochs", type=int, nargs=2, default=[4, 150])
    parser.add_argument("--result", type=Path, default=RESULT)
    asked = parser.parse_args()
    keep_freed_memory()
    layers = [{"layer": list(size), **products(*size, asked.rounds)} for size in LAYERS]
    for row in layers:
        print(row)
    models = []
    with tempfile.TemporaryDirectory() as place:
        # Random layers do not learn in minutes, but a probe on them does: its boundary lies where windows differ.
        trained = {
            "ecg-fm-tiny, LoRA": ("ecg-fm-tiny", ecgtune.LoRA()),
            f"{TITLE}, linear probe": (full_size(Path(place) / "model"), ecgtune.LinearProbe()),
        }
        for (title, arm), windows, epochs in zip(trained.items(), asked.windows, asked.epochs, strict=True):
            rows, auroc = agreement(*arm, windows, epochs)
            models.append({"model": title, "windows": windows, "auroc": auroc, "predictions": rows})
            print(models[-1])
    result = {
        "command": shlex.join(["python", "benchmarks/int8.py", *sys.argv[1:]]),
        "date": now(),
        "machine": machine(),
        "layers": layers,
        "models": models,
    }
    write_json(asked.result, result)


if __name__ == "__main__":
    main()
