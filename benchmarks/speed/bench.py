"""Speed of fine-tuning relative to the original implementation and to lower bounds of this machine.

    python benchmarks/speed/bench.py

times both at the full size of ECG-FM with random weights, alternating, and writes medians, ratios and lower bounds to
benchmarks/results/speed-KIND.json and docs/performance.md. Number formats without instructions on the processor are
skipped with the reason. `--size tiny` takes seconds; `--rows` selects rows; `--device cuda` measures a GPU.
"""

import argparse
import copy
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

sys.path.append(str(Path(__file__).parents[1]))
from encoders import classifier as random_classifier
from encoders import loss, seconds
from machines import described, lacks, result_file, write_result
from original import Original
from pages import amount, markdown, times, update
from roofline import Demand, demand, measure_rates
from ways import Size, largest_difference, original_probe_epoch, original_step, our_timing

from ecgtune.deployment.int8 import int8_copy
from ecgtune.methods.attach import attach
from ecgtune.methods.base import Method
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.own_weights.settings import Full, TopLayers
from ecgtune.methods.probe.settings import LinearProbe
from ecgtune.models.classifier import Classifier
from ecgtune.models.ecg_fm.network import EcgFmConfig
from ecgtune.training.inference import logits_of
from ecgtune.training.memory import PeakMemory
from ecgtune.training.precision import autocast

CONFIGS = {
    "full": EcgFmConfig(),
    "tiny": EcgFmConfig(width=48, depth=4, heads=4, feed_forward=96, conv_channels=16, pos_taps=8, pos_groups=4),
}
MATRIX, LARGE_MATRIX = 2048, 8192  # side of the matrices whose product is timed, on a CPU and on a GPU
#: Largest allowed relative difference of float32 logits between the original and ecgtune.
TOLERANCE = 1e-3
STEPS = 3  # timed steps of ecgtune per round, after the audited ones
EPOCHS = 3  # epochs of a method whose first epoch is slower
TRAINED: Mapping[str, Method] = {"lora": LoRA(rank=16), "full": Full()}


NAMES = ("lora", "full", "probe", "top-layers", "inference", "memory")


@dataclass(frozen=True)
class Row:
    """One line of the table in one precision."""

    name: str
    title: str
    precision: str
    unit: str = "s"

    @property
    def id(self) -> str:
        return f"{self.name}-{self.precision}"


@dataclass
class Timed:
    """Seconds of the original and of ecgtune in each round."""

    original: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)


def rows_for(device: torch.device) -> list[Row]:
    """Return all rows; those of a probe's later epochs and of memory have the precision of "auto"."""
    fastest = "fp32" if lacks("bf16", device) else "bf16"
    both = ("fp32", "bf16")
    return [
        *(Row("lora", "LoRA r16 on all linear layers, training step", one) for one in both),
        *(Row("full", "full fine-tuning, training step", one) for one in both),
        Row("probe", "linear probe, epoch after the first", fastest),
        *(Row("top-layers", "top 4 layers from cached hidden states, epoch after the first", one) for one in both),
        *(Row("inference", "inference", one, unit="records/s") for one in (*both, "int8")),
        Row("memory", "peak memory of a LoRA step", fastest, unit="bytes"),
    ]


def main(words: Sequence[str] | None = None) -> dict[str, Any]:
    options = arguments().parse_args(words)
    device = torch.device(options.device)
    config = CONFIGS[options.size]
    config = replace(config, leads=config.leads[: options.leads])
    size = Size(config, options.batch, options.samples, options.windows, device)
    if options.memory_of:
        print(json.dumps(peak_of(*options.memory_of, size)))
        return {}
    wanted = [row for row in rows_for(device) if row.name in (options.rows or [row.name])]
    left_out = {row.id: reason for row in wanted if (reason := lacks(row.precision, device))}
    wanted = [row for row in wanted if row.id not in left_out]
    rates = measure_rates(128 if options.size == "tiny" else MATRIX if device.type == "cpu" else LARGE_MATRIX, device)
    classifier = random_classifier(config, device)
    original, step = original_step(size, classifier)
    difference = largest_difference(size, classifier, original)
    if difference > TOLERANCE:
        sys.exit(f"the logits of original and ecgtune differ by {difference:.2g} of the largest one; nothing is timed")
    timed = {row.id: Timed() for row in wanted}
    predictors = {row.id: predictor(size, classifier, row.precision) for row in wanted if row.name == "inference"}
    for number in range(options.rounds + 1):
        found = one_round(size, classifier, wanted, original, step, predictors)
        for name, (theirs, ours) in found.items() if number else ():  # the first round is a warm-up
            timed[name].original.append(theirs)
            timed[name].ours.append(ours)
        print(f"round {number} of {options.rounds}" + (" (not counted)" if number == 0 else ""), flush=True)
    rows = []
    for row in wanted:
        line = memory_row(row, options) if row.name == "memory" else timed_row(row, size, timed[row.id])
        if row.name == "inference" and row.precision != "fp32":
            line["agreement"] = agreement(size, classifier, predictors[row.id])
        needed = demand_of(size, classifier, row)
        if needed is not None and needed.precision in rates.products:
            bound = needed.bound(rates)
            spent = size.batch / line["ours"] if row.unit == "records/s" else line["ours"]
            line |= {"bound": bound, "over_bound": spent / bound["seconds"]}
        rows.append(line)
    facts = {
        "encoder": {name: getattr(config, name) for name in ("width", "depth", "heads", "feed_forward")},
        "signal": [len(config.leads), size.samples],
        **{name: getattr(options, name) for name in ("batch", "memory_batch", "windows", "rounds")},
        "largest_difference": difference,
        "rates": asdict(rates),
        "left_out": left_out,
        "rows": rows,
    }
    file = options.result or result_file("speed", device)
    result = write_result(file, facts, device)
    print(table(result))
    if options.result is None:
        update()
    return result


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--size", choices=CONFIGS, default="full")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--memory-batch", type=int, default=64)
    parser.add_argument("--leads", type=int, default=12)
    parser.add_argument("--samples", type=int, default=2500)
    parser.add_argument("--windows", type=int, default=64, help="windows of an epoch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", nargs="+", choices=NAMES)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--result", type=Path)
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    return parser


def one_round(
    size: Size,
    classifier: Classifier,
    rows: Sequence[Row],
    original: Original,
    step: Callable[[], None],
    predictors: Mapping[str, Callable[..., Any]],
) -> dict[str, tuple[float, float]]:
    """Return the seconds of the original and of ecgtune by the id of each row, timed alternately."""
    batches, signal, found = -(-size.windows // size.batch), size.signal(), {}
    works = {"probe": original_probe_epoch(size, original), "inference": lambda: original(signal)}

    @cache
    def theirs(name: str) -> float:
        original.train(name != "inference")
        with torch.set_grad_enabled(name != "inference"):
            return seconds(works.get(name, step), size.device)

    for row in rows:
        ours = partial(our_timing, size, classifier, precision=row.precision)
        if row.name == "inference":
            found[row.id] = (theirs("inference"), seconds(predictors[row.id], size.device))
        elif row.name == "probe":
            spent = ours(LinearProbe(), windows=size.windows, epochs=EPOCHS).step * batches
            found[row.id] = (theirs("probe"), spent)
        elif row.name == "top-layers":
            spent = ours(top_layers(size), windows=size.windows, epochs=EPOCHS).step * batches
            found[row.id] = (theirs("step") * batches, spent)
        elif row.name in TRAINED:
            found[row.id] = (theirs("step"), ours(TRAINED[row.name], windows=(STEPS + 2) * size.batch, epochs=1).step)
    return found


def top_layers(size: Size) -> TopLayers:
    return TopLayers(layers=min(4, size.config.depth))


def predictor(size: Size, classifier: Classifier, precision: str) -> Callable[..., np.ndarray]:
    """Return a function that computes logits in `precision`, of a batch by default."""
    model = int8_copy(classifier) if precision == "int8" else classifier
    inside = ("fp32" if lacks("bf16", size.device) else "bf16") if precision == "int8" else precision
    inputs, _ = size.noise(size.batch)
    return lambda signal=inputs: logits_of(model, signal, batch_size=size.batch, precision=inside)


def agreement(size: Size, classifier: Classifier, predict: Callable[..., np.ndarray]) -> dict[str, float]:
    """Return the fraction of noise windows with the class of float32; `middle`: with the median as threshold."""
    inputs, _ = size.noise(size.windows)
    margins = [np.diff(logits)[:, 0] for logits in (logits_of(classifier, inputs), predict(inputs))]
    cuts = {"top1": 0.0, "middle": float(np.median(margins[0]))}
    return {name: float(np.mean((margins[0] > cut) == (margins[1] > cut))) for name, cut in cuts.items()}


def demand_of(size: Size, classifier: Classifier, row: Row) -> Demand | None:
    """Count the operations and bytes that ecgtune needs for a row, on one batch; None if not known."""
    precision, signal, batches = row.precision, size.signal(), size.windows / size.batch
    if row.name in TRAINED:
        model = attach(copy.deepcopy(classifier), TRAINED[row.name]).train()
        return demand(model, lambda: loss(model, signal, precision), precision)
    if row.name == "inference" and precision != "int8":
        model = copy.deepcopy(classifier).eval()
        return demand(model, lambda: loss(model, signal, precision), precision, training=False)
    if row.name == "probe":
        head = copy.deepcopy(classifier.head)
        pooled = torch.randn(size.batch, size.config.width, device=size.device)
        label = torch.zeros(size.batch, dtype=torch.long, device=size.device)
        once = demand(head, lambda: cross_entropy(head(pooled), label), "fp32")
        return replace(once, bytes=once.bytes + pooled.nbytes).times(batches)
    if row.name == "top-layers":
        upper = nn.ModuleList(copy.deepcopy(classifier.encoder.layers[-top_layers(size).layers :]))
        length = size.samples // size.config.samples_per_token
        tokens = torch.randn(size.batch, length, size.config.width, device=size.device)

        def forward() -> torch.Tensor:
            states = tokens
            with autocast(size.device, precision):
                for layer in upper:
                    states = layer(states, None)
            return states.float().square().mean()

        once = demand(upper, forward, precision)
        return replace(once, bytes=once.bytes + tokens.nbytes).times(batches)
    return None


def timed_row(row: Row, size: Size, timed: Timed) -> dict[str, Any]:
    """Return medians and their ratio, in the unit of the row."""
    theirs, ours = float(np.median(timed.original)), float(np.median(timed.ours))
    ratio = theirs / ours
    if row.unit == "records/s":
        theirs, ours = size.batch / theirs, size.batch / ours
    line = {**asdict(row), "original": theirs, "ours": ours, "ratio": ratio}
    return line | {"all_original": timed.original, "all_ours": timed.ours}


def memory_row(row: Row, options: argparse.Namespace) -> dict[str, Any]:
    """Measure the peak memory of two steps of each in separate processes; the ratio is original / ecgtune."""
    line = asdict(row)
    for who in ("original", "ours"):
        words = ["--size", options.size, "--batch", str(options.memory_batch), "--samples", str(options.samples)]
        words += ["--leads", str(options.leads), "--device", options.device, "--memory-of", who, row.precision]
        done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=True)
        line[who] = json.loads(done.stdout.splitlines()[-1])
    return line | {"ratio": line["original"] / line["ours"]}


def peak_of(who: str, precision: str, size: Size) -> int:
    """Return the peak memory in bytes of two training steps in this process."""
    peak = PeakMemory(size.device)
    classifier = random_classifier(size.config, size.device)
    if who == "original":
        _, step = original_step(size, classifier)
        del classifier
        step()
        step()
    else:
        our_timing(size, classifier, TRAINED["lora"], windows=3 * size.batch, epochs=1, precision=precision)
    return peak.read()


def table(result: Mapping[str, Any]) -> str:
    """Return Markdown with the machine and its rates, a table, and notes."""
    encoder, rates, (leads, samples) = result["encoder"], result["rates"], result["signal"]
    products = ", ".join(f"{value / 1e9:,.0f} GFLOP/s in {name}" for name, value in rates["products"].items())
    head = (
        f"{described(result)}, PyTorch {result['machine']['versions']['torch']}. Encoder of {encoder['depth']} layers, "
        f"width {encoder['width']}, random weights; windows of {leads} x {samples} samples, batch {result['batch']}, "
        f"an epoch of {result['windows']} windows; medians of {result['rounds']} rounds. Measured in the same run: "
        f"{products}, {rates['bytes'] / 1e9:.1f} GB/s."
    )
    rows, notes = [], []
    for row in result["rows"]:
        bound = row.get("bound")
        if "agreement" in row:
            parts = (f"{100 * row['agreement'][name]:.1f} %" for name in ("top1", "middle"))
            notes.append(
                f"{row['title']} in {row['precision']}: {next(parts)} of {result['windows']} noise windows have the "
                f"same class as in fp32, {next(parts)} with the decision threshold at the median."
            )
        bounds = "" if bound is None else f"{amount(bound['arithmetic'])}, {amount(bound['traffic'])}"
        values = (amount(row[name], row["unit"]) for name in ("original", "ours"))
        ratio, over_bound = times(row["ratio"]), times(row.get("over_bound"))
        rows.append((row["title"], row["precision"], *values, ratio, bounds, over_bound))
    notes += [f"Left out: {name}, {reason}." for name, reason in result["left_out"].items()]
    if any(row["name"] == "memory" for row in result["rows"]):
        notes.append(f"Memory: of the whole process, libraries included, with batch {result['memory_batch']}.")
    header = ("", "precision", "original (fp32)", "ecgtune", "ratio", "bound: arithmetic, traffic", "ecgtune / bound")
    return "\n".join([head, "", markdown(header, rows), *(f"- {note}" for note in notes)]) + "\n"


if __name__ == "__main__":
    main()
