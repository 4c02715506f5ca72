"""How much of the machine's matrix rate a LoRA step reaches, and how long a long fine-tuning takes.

    python benchmarks/speed/utilisation.py --device cuda

runs LoRA r16 on all linear layers of ECG-FM (random weights, bf16) through the product's own loop: on 12 leads of 5 s
(156 tokens) and on one lead of 600 samples (37 tokens). A step's operations are counted, the rate of matrix products is
measured in the same run, and an epoch of the short windows tells what 50 epochs of 45,797 of them take. Results go to
benchmarks/results/utilisation.json, one entry per device, and into docs/performance.md. On a CPU give a small
--windows: an epoch of 45,797 takes an hour there.
"""

import argparse
import copy
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from bench import CONFIGS, LORA, matrix_side
from floor import demand, measure_rates
from page import into_page, utilisation
from ways import Size, loss_of, make_classifier, our_phase

from ecgtune.methods.attach import attach
from ecgtune.utils.files import read_json, write_json
from ecgtune.workflows.environment import machine, now

RESULT = Path(__file__).parents[1] / "results" / "utilisation.json"
EPOCHS, WINDOWS = 50, 45_797
MINUTES = 5.0
STEPS = 12


@dataclass(frozen=True)
class Signal:
    """Windows that are trained on. must: the share of the matrix rate that was asked for, on a GPU."""

    title: str
    leads: tuple[str, ...] | None  # None: all of the encoder
    samples: int
    must: float


SIGNALS = (
    Signal("12 leads x 2500 samples, 156 tokens", None, 2500, 0.35),
    Signal("one lead x 600 samples, 37 tokens", ("II",), 600, 0.20),
)


def measure(asked: argparse.Namespace, signal: Signal, rate: float) -> dict[str, Any]:
    """Median seconds of a step, its operations, and the share of `rate` (operations per second) that it reaches."""
    config = CONFIGS[asked.size]
    config = replace(config, leads=signal.leads or config.leads)
    size = Size(config, asked.batch, signal.samples, asked.windows, 1, torch.device(asked.device))
    classifier = make_classifier(size)
    last = signal is SIGNALS[-1]
    windows = max(asked.windows, STEPS * size.batch) if last else STEPS * size.batch
    model = attach(copy.deepcopy(classifier), LORA).train()
    operations = demand(model, loss_of(model, size), "bf16").operations
    del model
    phase, _ = our_phase(size, classifier, LORA, windows=windows, epochs=1)
    row = {
        **asdict(signal),
        "batch": size.batch,
        "seconds": phase.step,
        "operations": operations,
        "utilisation": operations / phase.step / rate,
    }
    if last:
        steps = -(-WINDOWS // size.batch)
        row |= {"windows": windows, "minutes": EPOCHS * (steps * phase.step + phase.epoch_end) / 60}
    return row


def main(words: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--size", choices=CONFIGS, default="full")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--windows", type=int, default=WINDOWS, help="of the epoch that is measured")
    parser.add_argument("--result", type=Path, default=RESULT)
    asked = parser.parse_args(words)
    device = torch.device(asked.device)
    rates = measure_rates(matrix_side(asked.size, device), device)
    result = {
        "command": shlex.join(
            ["python", "benchmarks/speed/utilisation.py", *(sys.argv[1:] if words is None else words)]
        ),
        "date": now(),
        "machine": machine(),
        "device": device.type,
        "weights": "random",
        "epochs": EPOCHS,
        "windows": WINDOWS,
        "must_minutes": MINUTES,
        "rates": asdict(rates),
        "rows": [measure(asked, signal, rates.bf16) for signal in SIGNALS],
    }
    kept = read_json(asked.result) if asked.result.is_file() else {}
    write_json(asked.result, {**kept, device.type: result})
    text = utilisation(read_json(asked.result))
    print(text)
    if asked.result == RESULT:
        into_page("utilisation", text)
    return result


if __name__ == "__main__":
    main()
