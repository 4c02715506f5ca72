"""Speed of predictions in bf16 and int8, and their agreement with float32.

    python benchmarks/int8.py

times linear layers of ECG-FM's sizes in each number format; fine-tunes the bundled encoder (LoRA) and an encoder of
ECG-FM's size (linear probe) on simulated windows; and compares predictions for other windows in each format. Processor
times and agreement are written to benchmarks/results/int8-KIND.json and docs/performance.md. Formats without
instructions on the processor are skipped with the reason.
"""

import argparse
import copy
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from encoders import FULL_SIZE, full_size
from machines import described, lacks, result_file, write_result
from pages import markdown, update
from torch import nn

import ecgtune
from ecgtune.deployment.int8 import Int8Linear
from ecgtune.training.memory import retain_freed_memory

ROWS = 16 * 156  # tokens of 16 windows of 5 s
LAYERS = ((768, 768), (768, 3072), (3072, 768))
PRECISIONS = ("fp32", "bf16", "int8")


def milliseconds(work: Callable[[], object], rounds: int) -> float:
    """Return the median processor time; the first round is a warm-up."""
    taken = []
    for _ in range(rounds + 1):
        started = time.process_time()
        work()
        taken.append(1e3 * (time.process_time() - started))
    return float(np.median(taken[1:]))


@torch.no_grad()
def products(inputs: int, outputs: int, precisions: list[str], rounds: int) -> dict[str, float]:
    """Time one linear layer in each format; inputs and outputs of int8 have the format of the other layers."""
    torch.manual_seed(0)
    whole, tokens = nn.Linear(inputs, outputs), torch.randn(ROWS, inputs)
    rounded = tokens.bfloat16() if "bf16" in precisions else tokens
    makes = {"fp32": lambda: (whole, tokens), "bf16": lambda: (copy.deepcopy(whole).bfloat16(), rounded)}
    makes["int8"] = lambda: (Int8Linear(whole), rounded)
    found = {}
    for name in precisions:
        layer, given = makes[name]()
        found[name] = milliseconds(lambda layer=layer, given=given: layer(given), rounds)
    return found


def agreement(model: str | Path, method: Any, windows: int, epochs: int, precisions: list[str]) -> dict[str, Any]:
    """Return the test AUROC of a run of `method`, and the agreement of each format on `windows` new windows."""
    data, others = ecgtune.simulate(windows, seed=0), ecgtune.simulate(windows, seed=1)
    optimisation = ecgtune.Optimisation(epochs=epochs, batch_size=16)
    recipe = ecgtune.Recipe(method=method, optimisation=optimisation, trainer=ecgtune.TrainerSettings(device="cpu"))
    model = ecgtune.load_model(model, head=ecgtune.Head(pooling="statistics"))
    with tempfile.TemporaryDirectory() as place:
        run = ecgtune.fine_tune(data, recipe, model=model, out=Path(place) / "run")
    found = {name: run.predict(others.signal, precision=name)[:, 1] for name in precisions}
    rows = [
        {
            "precision": name,
            "agreement": float(np.mean((values >= run.threshold) == (found["fp32"] >= run.threshold))),
            "largest_difference": float(np.abs(values - found["fp32"]).max()),
        }
        for name, values in found.items()
    ]
    return {"windows": windows, "auroc": run.metrics["window"]["metrics"]["auroc"]["value"], "predictions": rows}


def table(result: Mapping[str, Any]) -> str:
    """Return Markdown tables of linear layers in each format and of the agreement of predictions."""
    names = [name for name in PRECISIONS if name not in result["left_out"]]
    layers = [
        (" to ".join(map(str, row["layer"])), *(f"{row[name]:.1f} ms" for name in names)) for row in result["layers"]
    ]
    lines = [f"{described(result)}.", "", markdown(("processor time of a layer", *names), layers)]
    models = []
    for model in result["models"]:
        rows = {row["precision"]: row for row in model["predictions"]}
        cells = (f"{100 * rows[n]['agreement']:.1f} %, {rows[n]['largest_difference']:.3f}" for n in names[1:])
        models.append((model["model"], f"{model['auroc']:.3f}", f"{model['windows']:,}", *cells))
    header = ("after fine-tuning on simulated windows", "AUROC", "windows")
    columns = (f"{name}: same class, largest difference of a probability" for name in names[1:])
    lines.append(markdown((*header, *columns), models))
    lines += [f"Left out: {name}, {reason}.\n" for name, reason in result["left_out"].items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    retain_freed_memory()
    left_out = {name: reason for name in PRECISIONS if (reason := lacks(name))}
    precisions = [name for name in PRECISIONS if name not in left_out]
    layers = [{"layer": list(size), **products(*size, precisions, options.rounds)} for size in LAYERS]
    with tempfile.TemporaryDirectory() as place:
        # LoRA on random weights would not learn in minutes; a probe does.
        trained = {
            "ecg-fm-tiny, LoRA": ("ecg-fm-tiny", ecgtune.LoRA(rank=16), 1000, 4),
            f"{FULL_SIZE}, linear probe": (full_size(Path(place) / "model"), ecgtune.LinearProbe(), 500, 150),
        }
        models = [{"model": title, **agreement(*how, precisions)} for title, how in trained.items()]
    write_result(result_file("int8"), {"left_out": left_out, "layers": layers, "models": models})
    update()


if __name__ == "__main__":
    main()
