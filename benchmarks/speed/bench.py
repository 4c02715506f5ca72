"""How fast fine-tuning is beside the original's computation, and how far from what this machine can do.

    python benchmarks/speed/bench.py

times both at the full size of ECG-FM with random weights, in turn, writes medians, ratios and floors to
benchmarks/results/speed.json and the table into docs/performance.md. `--size tiny` takes seconds. `--rows` picks some.
`--first-version PATH`, a checkout of the first working version, adds the comparison of `make demo`. The same command
works on a GPU with `--device cuda`.
"""

import argparse
import copy
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from floor import Demand, demand, measure_rates, seconds
from original import Original
from page import contents, into_page, table
from torch import nn
from torch.nn.functional import cross_entropy
from ways import (
    Size,
    largest_difference,
    loss_of,
    make_classifier,
    noise,
    original_probe_epoch,
    original_step,
    our_phase,
)

from ecgtune.deployment.int8 import int8_copy
from ecgtune.methods.attach import attach
from ecgtune.methods.base import Method
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.own_weights.settings import Full, TopLayers
from ecgtune.methods.probe.settings import LinearProbe
from ecgtune.models.classifier import Classifier
from ecgtune.models.ecg_fm.network import EcgFmConfig
from ecgtune.training.inference import logits_of
from ecgtune.training.peak import PeakMemory
from ecgtune.utils.files import read_json, write_json
from ecgtune.workflows.environment import machine, now

RESULTS = Path(__file__).parents[1] / "results"
CONFIGS = {
    "full": EcgFmConfig(),
    "tiny": EcgFmConfig(width=48, depth=4, heads=4, feed_forward=96, conv_channels=16, pos_taps=8, pos_groups=4),
}
#: Side of the matrices that a CPU's rate is measured with, and an accelerator's, whose rate small ones do not show.
MATRIX = {"full": 2048, "tiny": 128}
LARGE_MATRIX = 8192
#: Relative difference of float32 logits up to which two ways of computing them are the same.
SAME = 1e-3
STEPS = 3  # of ours that are timed per round, beside those that carry the audits
EPOCHS = 3  # of a method whose first epoch is not like the others
LORA, TOP = LoRA(rank=16, targets="all"), TopLayers(layers=4)


@dataclass(frozen=True)
class Row:
    """One line of the table; `must` and `aim` are the ratios that were asked for. Memory counts ours over theirs."""

    name: str
    title: str
    must: float
    aim: float
    unit: str = "s"
    lower: bool = False


ROWS = (
    Row("lora", "LoRA r16 on all linear layers, training step", 4.5, 7),
    Row("full", "full fine-tuning, training step", 2.5, 4),
    Row("probe", "linear probe, epoch after the first", 300, 1000),
    Row("top-layers", "top-4-layer method from cached hidden states, epoch after the first", 8, 12),
    Row("inference-bf16", "inference in bf16", 4, 8, unit="records/s"),
    Row("inference", "inference in int8 (one of the two is asked for)", 4, 8, unit="records/s"),
    Row("memory", "peak memory of a LoRA step", 0.6, 0.4, unit="bytes", lower=True),
    Row("demo", "`make demo`, against the first working version", 0.5, 0.25, lower=True),
)


@dataclass
class Timed:
    """What the rounds found for one row: seconds of the original and of ours, in turn."""

    original: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    note: str = ""


def main(words: Sequence[str] | None = None) -> dict[str, Any]:
    asked = arguments().parse_args(words)
    size = size_of(asked)
    if asked.memory_of:
        print(json.dumps(peak_of(asked.memory_of, size)))
        return {}
    rates = measure_rates(matrix_side(asked.size, size.device), size.device)
    classifier = make_classifier(size)
    original, step = original_step(size, classifier)
    difference = largest_difference(size, classifier, original)
    if difference > SAME:
        sys.exit(f"original and ours differ by {difference:.2g} of the largest logit; nothing is timed")
    original.train()
    modules = predictors(classifier, asked.rows)
    timed = {name: Timed() for name in asked.rows}
    for number in range(asked.rounds + 1):
        one_round(size, classifier, modules, original, step, {} if number == 0 else timed, asked.rows)
        print(f"round {number} of {asked.rounds}" + (" (not counted)" if number == 0 else ""), flush=True)
    demands = demands_of(size, classifier, asked.rows)
    del original, step
    rows = [summary(row, size, timed[row.name], demands.get(row.name)) for row in ROWS if row.name in timed]
    for row in rows:
        if row["name"] in modules:
            row["note"] = agreement(size, classifier, modules[row["name"]])
        if row["name"] == "memory":
            memory_row(row, asked)
        if row["name"] == "demo":
            demo_row(row, asked.first_version)
        floor = demands[row["name"]].floor(rates) if row["name"] in demands else None
        row["floor"] = floor
        spent = 1 / row["ours"] * size.batch if floor and row["unit"] == "records/s" and row["ours"] else row["ours"]
        row["ours_over_floor"] = spent / floor["seconds"] if floor and spent else None
    result = {
        "command": shlex.join(["python", "benchmarks/speed/bench.py", *(sys.argv[1:] if words is None else words)]),
        "date": now(),
        "machine": machine(),
        "device": str(size.device),
        "weights": "random",
        "encoder": {name: getattr(size.config, name) for name in ("width", "depth", "heads", "feed_forward")},
        "signal": [len(size.config.leads), size.samples],
        "batch": size.batch,
        "memory_batch": asked.memory_batch,
        "epoch_windows": size.windows,
        "rounds": asked.rounds,
        "largest_difference": difference,
        "rates": asdict(rates),
        "rows": rows,
    }
    file = asked.result or result_file(size.device)
    write_json(file, result)
    print(table(read_json(file)))
    if asked.result is None:
        into_page("speed", contents()["speed"])
    return result


def matrix_side(size: str, device: torch.device) -> int:
    return MATRIX[size] if device.type == "cpu" or size == "tiny" else LARGE_MATRIX


def result_file(device: torch.device) -> Path:
    """A device has results of its own: those of another stay."""
    return RESULTS / ("speed.json" if device.type == "cpu" else f"speed_{device.type}.json")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--size", choices=CONFIGS, default="full")
    parser.add_argument("--depth", type=int, help="layers, where not all are wanted")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--memory-batch", type=int, default=64)
    parser.add_argument("--samples", type=int, default=2500)
    parser.add_argument("--windows", type=int, default=64, help="of an epoch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", nargs="+", choices=[row.name for row in ROWS], default=[row.name for row in ROWS])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--first-version", type=Path, help="a checkout of the first working version")
    parser.add_argument("--result", type=Path)
    parser.add_argument("--memory-of", choices=("original", "ours"), help=argparse.SUPPRESS)
    return parser


def size_of(asked: argparse.Namespace) -> Size:
    config = CONFIGS[asked.size]
    if asked.depth:
        config = EcgFmConfig(**{**asdict(config), "depth": asked.depth})
    return Size(config, asked.batch, asked.samples, asked.windows, asked.rounds, torch.device(asked.device))


def one_round(
    size: Size,
    classifier: Classifier,
    modules: dict[str, Classifier],
    original: Original,
    step: Callable[[], None],
    timed: dict[str, Timed],
    names: Sequence[str],
) -> None:
    """Each kind of work once, the original's and ours in turn; where `timed` is empty only to warm up."""

    def add(name: str, theirs: float, ours: float) -> None:
        if timed:
            timed[name].original.append(theirs)
            timed[name].ours.append(ours)

    if {"lora", "full", "top-layers"} & set(names):
        training = seconds(step, size.device)
        few = (STEPS + 2) * size.batch
        for name, method in (("lora", LORA), ("full", Full())):
            if name in names:
                add(name, training, our_phase(size, classifier, method, windows=few, epochs=1)[0].step)
        if "top-layers" in names:
            batches = -(-size.windows // size.batch)
            phase, stem = our_phase(size, classifier, top_layers(size), windows=size.windows, epochs=EPOCHS)
            add("top-layers", training * batches, phase.step * batches)
            if timed and stem >= EPOCHS * batches:
                timed["top-layers"].note = "no cache of hidden states yet: every step runs all layers"
    if "probe" in names:
        theirs = seconds(original_probe_epoch(size, original), size.device)
        phase, _ = our_phase(size, classifier, LinearProbe(), windows=size.windows, epochs=EPOCHS)
        add("probe", theirs, phase.step * -(-size.windows // size.batch))
    if modules:
        inputs, _ = noise(size, size.batch)
        signal = torch.from_numpy(inputs).to(size.device)
        original.eval()
        with torch.no_grad():
            theirs = seconds(lambda: original(signal), size.device)
        original.train()
        for name, module in modules.items():
            add(name, theirs, seconds(lambda module=module: predict(size, module, inputs), size.device))


def top_layers(size: Size) -> TopLayers:
    return TopLayers(layers=min(TOP.layers, size.config.depth))


def predictors(classifier: Classifier, names: Sequence[str]) -> dict[str, Classifier]:
    """What predicts in each of the rows of inference that are asked for."""
    ways: dict[str, Callable[[Classifier], Classifier]] = {
        "inference-bf16": lambda model: model,
        "inference": int8_copy,
    }
    wanted = {name: way for name, way in ways.items() if name in names}
    if next(classifier.parameters()).device.type != "cpu":
        wanted.pop("inference", None)  # int8 is for CPUs: its row stays "not measured"
    return {name: way(classifier) for name, way in wanted.items()}


def predict(size: Size, classifier: Classifier, inputs: np.ndarray) -> np.ndarray:
    return logits_of(classifier, inputs, batch_size=size.batch, precision="bf16")


def agreement(size: Size, classifier: Classifier, rounded: Classifier) -> str:
    """How often `rounded` and float32 name the same class, and how often with the boundary through the middle."""
    inputs, _ = noise(size, size.windows)
    margins = [np.diff(logits)[:, 0] for logits in (logits_of(classifier, inputs), predict(size, rounded, inputs))]
    top = np.mean((margins[0] > 0) == (margins[1] > 0))
    middle = np.median(margins[0])
    hardest = np.mean((margins[0] > middle) == (margins[1] > middle))
    return (
        f"top-1 agreement with float32 on {size.windows} windows of noise {100 * top:.1f} %, with the boundary through "
        f"their middle {100 * hardest:.1f} %; random weights, so neither says what trained ones would do"
    )


def demands_of(size: Size, classifier: Classifier, names: Sequence[str]) -> dict[str, Demand]:
    """What our ways ask for at least, counted on one batch and scaled to an epoch where the row is one."""
    found = {}
    batches = size.windows / size.batch

    def counted(method: Method) -> Demand:
        model = attach(copy.deepcopy(classifier), method).train()
        return demand(model, loss_of(model, size), "bf16")

    if "lora" in names:
        found["lora"] = counted(LORA)
    if "full" in names:
        found["full"] = counted(Full())
    if "inference-bf16" in names:
        model = copy.deepcopy(classifier).eval()
        found["inference-bf16"] = demand(model, loss_of(model, size), "bf16", training=False)
    if "probe" in names:
        head = copy.deepcopy(classifier.head)
        pooled = torch.randn(size.batch, size.config.width, device=size.device)
        label = torch.zeros(size.batch, dtype=torch.long, device=size.device)
        once = demand(head, lambda: cross_entropy(head(pooled), label), "fp32")
        found["probe"] = Demand(once.operations * batches, (once.bytes + pooled.nbytes) * batches, "fp32")
    if "top-layers" in names:
        upper = nn.ModuleList(copy.deepcopy(classifier.encoder.layers[-top_layers(size).layers :]))
        length = size.samples // size.config.samples_per_token
        tokens = torch.randn(size.batch, length, size.config.width, device=size.device)

        def forward() -> torch.Tensor:
            states = tokens
            with torch.autocast(size.device.type, torch.bfloat16):
                for layer in upper:
                    states = layer(states, None)
            return states.float().square().mean()

        once = demand(upper, forward, "bf16")
        found["top-layers"] = Demand(once.operations * batches, (once.bytes + tokens.nbytes) * batches, "bf16")
    return found


def summary(row: Row, size: Size, timed: Timed, asks: Demand | None) -> dict[str, Any]:
    """Medians and their ratio; in records/s where the row counts these."""
    line: dict[str, Any] = {**asdict(row), "original": None, "ours": None, "ratio": None, "note": timed.note}
    if not timed.ours:
        return line
    theirs, ours = float(np.median(timed.original)), float(np.median(timed.ours))
    line["ratio"] = theirs / ours
    if row.unit == "records/s":
        theirs, ours = size.batch / theirs, size.batch / ours
    line |= {"original": theirs, "ours": ours, "all_original": timed.original, "all_ours": timed.ours}
    return line


def memory_row(row: dict[str, Any], asked: argparse.Namespace) -> None:
    """Peaks of two steps, each in a process of its own."""
    for who in ("original", "ours"):
        words = ["--size", asked.size, "--batch", str(asked.memory_batch), "--samples", str(asked.samples)]
        words += ["--device", asked.device, "--memory-of", who] + (["--depth", str(asked.depth)] if asked.depth else [])
        done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=True)
        row[who] = json.loads(done.stdout.splitlines()[-1])
    row["ratio"] = row["ours"] / row["original"]
    row["note"] = f"batch {asked.memory_batch}; everything in the process counts, libraries too"


def peak_of(who: str, size: Size) -> int:
    """Bytes at the fullest moment of two training steps in this process."""
    peak = PeakMemory(size.device)
    classifier = make_classifier(size)
    if who == "original":
        _, step = original_step(size, classifier)
        del classifier
        step()
        step()
    else:
        our_phase(size, classifier, LORA, windows=3 * size.batch, epochs=1)
    return peak.read()


def demo_row(row: dict[str, Any], first: Path | None) -> None:
    """Wall time of the first demo's comparison, by the first working version and by this one, each in its own process.

    Recipes have come to do more in a step than they did, so this version is given what stood in them then.
    """
    if first is None:
        row["note"] = "not measured: give --first-version a checkout of the first working version"
        return
    here = Path(__file__).parents[2]
    then = "import sys; from ecgtune.workflows import demo; demo(sys.argv[1], quiet=True)"
    today = (
        "import sys; from ecgtune import *; from ecgtune.recipe import METHOD_RECIPES, METHODS;"
        "compare(simulate(2000, seed=0), [Recipe(name, method=METHODS[name](), optimisation=Optimisation(epochs=4))"
        "for name in METHOD_RECIPES], out=sys.argv[1], seeds=1, quiet=True)"
    )
    for who, root, code in (("original", first, then), ("ours", here, today)):
        with tempfile.TemporaryDirectory() as place:
            words = [sys.executable, "-c", code, str(Path(place) / "demo")]
            environment = {**os.environ, "PYTHONPATH": str((root / "src").resolve())}
            row[who] = seconds(
                lambda words=words, env=environment: subprocess.run(words, env=env, check=True, capture_output=True),
                torch.device("cpu"),
            )
    row["ratio"] = row["ours"] / row["original"]


if __name__ == "__main__":
    main()
