"""Micro-benchmarks of single code changes on the CPU of this machine.

    python benchmarks/micro.py [--changes NAME ...] [--rounds 7]

times forward and backward pass before and after each change of `CASES`, alternating, and writes medians to
benchmarks/results/micro-KIND.json and docs/performance.md. Rows of other changes stay in the file. Number formats
without instructions on the processor are skipped with the reason.
"""

import argparse
import copy
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from encoders import classifier, medians, seconds, step
from machines import described, lacks, result_file, write_result
from pages import amount, markdown, update
from peft.tuners import lora, oft
from torch import Tensor, nn
from torch.nn import functional as F

from ecgtune import load_model
from ecgtune.methods.adapter.settings import Adapter
from ecgtune.methods.attach import attach
from ecgtune.methods.base import Method
from ecgtune.methods.ia3.settings import IA3
from ecgtune.methods.lora.layers import LowRankLinear
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.oft import rotated_weights
from ecgtune.methods.oft.rotated_weights import RotatedLinear
from ecgtune.methods.oft.settings import OFT
from ecgtune.methods.own_weights.settings import TopLayers
from ecgtune.models.classifier import Classifier
from ecgtune.models.ecg_fm.network import EcgFmConfig
from ecgtune.models.layers import explicit_attention
from ecgtune.models.post_norm import PositionalConv
from ecgtune.models.spectrum import FrozenSpectrum
from ecgtune.training.memory import retain_freed_memory
from ecgtune.training.precision import FORMATS, autocast
from ecgtune.utils.files import json_value
from ecgtune.workflows.environment import now

CPU = torch.device("cpu")
Pair = tuple[Callable[[], Any], Callable[[], Any]]
TINY, LARGE = "ecg-fm-tiny, 64 windows of 6 s", "ECG-FM, 8 windows of 5 s"
SIGNALS = {TINY: (64, 1, 600), LARGE: (8, 12, 2500)}


@dataclass(frozen=True)
class Case:
    """One change at one size. make: precision -> work before and after it. used: whether ecgtune applies it."""

    change: str
    where: str
    make: Callable[[str], Pair]
    precisions: tuple[str, ...] = ("bf16", "fp32")
    used: bool = True


def model_of(where: str, depth: int = 12) -> Classifier:
    return load_model("ecg-fm-tiny-random") if where == TINY else classifier(EcgFmConfig(depth=depth))


def attention(batch: int, heads: int, tokens: int, channels: int, precision: str) -> Pair:
    """torch's fused kernel; two products with a softmax between them."""
    dtype = FORMATS[precision]
    inputs = [torch.randn(batch, tokens, heads, channels, dtype=dtype).transpose(1, 2).requires_grad_() for _ in "qkv"]
    return (
        lambda: F.scaled_dot_product_attention(*inputs).sum().backward(),
        lambda: explicit_attention(*inputs, None, 0.0).sum().backward(),
    )


def projections(tokens: int, width: int, precision: str) -> Pair:
    """Queries, keys and values as three products; as one product."""
    dtype = FORMATS[precision]
    weights = [torch.randn(width, width, dtype=dtype) / width**0.5 for _ in "qkv"]
    together, inputs = torch.cat(weights), torch.randn(tokens, width, dtype=dtype, requires_grad=True)
    return (
        lambda: torch.stack([F.linear(inputs, weight).sum() for weight in weights]).sum().backward(),
        lambda: torch.stack([part.sum() for part in F.linear(inputs, together).chunk(3, -1)]).sum().backward(),
    )


def positional(width: int, taps: int, batch: int, tokens: int, precision: str) -> Pair:
    """Forward pass of a frozen positional convolution by torch; by its spectrum."""
    conv = PositionalConv(width, taps, 16).requires_grad_(False).conv
    spectrum = FrozenSpectrum(conv, tokens)
    signal = torch.randn(batch, width, tokens).to(FORMATS[precision])

    def forward(way: Callable[[Tensor], Tensor]) -> Tensor:
        with autocast(CPU, precision):
            return way(signal)

    return partial(forward, conv), partial(forward, spectrum)


def layers(where: str, method: Method, ours: type[nn.Module], theirs: type[nn.Module], precision: str) -> Pair:
    """A training step with the layers of peft for `method`; with those of ecgtune."""
    models = [attach(model_of(where, depth=4), method).train() for _ in range(2)]
    for module in models[0].modules():
        if isinstance(module, ours):
            module.__class__ = theirs
    rotated_weights._cheaper = lambda *_: True  # also at sizes where it is slower
    signal = torch.randn(SIGNALS[where])
    return partial(step, models[0], signal, precision), partial(step, models[1], signal, precision)


def frozen_copies(where: str, method: Method, precision: str) -> Pair:
    """A step that casts frozen weights each time; one with every frozen linear layer stored in `precision`."""
    model = attach(model_of(where), method).train()
    converted = copy.deepcopy(model)
    for module in converted.modules():
        if isinstance(module, nn.Linear) and not any(p.requires_grad for p in module.parameters()):
            module.to(FORMATS[precision])
    signal = torch.randn(SIGNALS[where])
    return partial(step, model, signal, precision), partial(step, converted, signal, precision)


def compiled(where: str, rank: int, precision: str) -> Pair:
    """A LoRA step without torch.compile; with it (needs a C++ compiler)."""
    torch._dynamo.reset()
    model = attach(model_of(where), LoRA(rank=rank)).train()
    signal = torch.randn(SIGNALS[where])
    return partial(step, model, signal, precision), partial(step, torch.compile(model), signal, precision)


FEWER = "ECG-FM, 4 of 12 layers, 8 windows of 5 s"
PEFT_LAYERS: Mapping[str, tuple[dict[str, Method], type[nn.Module], type[nn.Module]]] = {
    "LoRA's update as one product": ({TINY: LoRA(rank=4), LARGE: LoRA(rank=16)}, LowRankLinear, lora.Linear),
    "OFT's rotation in the weights": ({TINY: OFT(block=16), LARGE: OFT(block=32)}, RotatedLinear, oft.Linear),
}
FROZEN: Mapping[str, Method] = {"adapter": Adapter(width=32), "IA3": IA3(), "OFT": OFT(), "top layer": TopLayers()}
CASES = (
    Case("explicit attention products", "ecg-fm-tiny, 64 windows of 6 s", partial(attention, 64, 3, 75, 64)),
    Case("explicit attention products", "ECG-FM, 16 windows of 5 s", partial(attention, 16, 12, 156, 64)),
    *(
        Case(change, FEWER if where == LARGE else where, partial(layers, where, method, ours, theirs))
        for change, (methods, ours, theirs) in PEFT_LAYERS.items()
        for where, method in methods.items()
    ),
    Case("positional convolution by its spectrum", "ECG-FM, 16 windows of 5 s", partial(positional, 768, 128, 16, 156)),
    Case("positional convolution by its spectrum", TINY, partial(positional, 192, 32, 64, 75)),
    Case("queries, keys and values as one product", TINY, partial(projections, 64 * 75, 192), used=False),
    Case(
        "queries, keys and values as one product",
        "ECG-FM, 16 windows of 5 s",
        partial(projections, 16 * 156, 768),
        used=False,
    ),
    *(
        Case(
            "frozen weights held in bf16",
            f"{where}, {name}",
            partial(frozen_copies, where, method),
            precisions=("bf16",),
            used=False,
        )
        for where in SIGNALS
        for name, method in FROZEN.items()
    ),
    *(
        Case(
            "torch.compile", f"{where}, LoRA r{rank}", partial(compiled, where, rank), precisions=("bf16",), used=False
        )
        for where, rank in ((TINY, 4), (LARGE, 16))
    ),
)
#: Measured in separate processes, because `retain_freed_memory` cannot be undone.
MEMORY = Case("freed memory is kept", f"{TINY}, LoRA r4", lambda precision: NotImplemented)
CHANGES = tuple(dict.fromkeys(case.change for case in (*CASES, MEMORY)))


def measure(case: Case, precision: str, rounds: int) -> dict[str, Any]:
    """Return a row: milliseconds before and after the change, and of the first call after it."""
    if case is MEMORY:
        return row_of(case, precision, *memory(precision, rounds))
    torch.manual_seed(0)
    before, after = case.make(precision)
    first = seconds(after)
    found = medians({"before": before, "after": after}, rounds)
    return row_of(case, precision, 1e3 * found["before"], 1e3 * found["after"]) | {"first_call_ms": 1e3 * first}


def row_of(case: Case, precision: str, before: float, after: float) -> dict[str, Any]:
    facts = {"change": case.change, "where": case.where, "precision": precision, "used": case.used, "date": now()[:10]}
    return facts | {"before_ms": before, "after_ms": after, "ratio": before / after}


def memory(precision: str, rounds: int) -> tuple[float, float]:
    """Return the median milliseconds of a step in processes that release freed memory, and that retain it."""
    taken: dict[str, list[float]] = {"released": [], "retained": []}
    for _ in range(rounds):
        for way, values in taken.items():
            words = [sys.executable, __file__, "--memory", way, precision]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            values.append(json.loads(done.stdout.splitlines()[-1])["ms"])
    before, after = (float(np.median(values)) for values in taken.values())
    return before, after


def memory_child(way: str, precision: str) -> dict[str, float]:
    """Return milliseconds and page faults of a step in this process."""
    if way == "retained":
        retain_freed_memory()
    model, signal = attach(model_of(TINY), LoRA(rank=4)).train(), torch.randn(SIGNALS[TINY])
    found = medians({"step": partial(step, model, signal, precision)}, 3)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    found = medians({"step": partial(step, model, signal, precision)}, 10)
    return {"ms": 1e3 * found["step"], "faults": (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 11}


def table(result: Mapping[str, Any]) -> str:
    """Return a Markdown table with one row per change, size and precision, and the skipped formats."""
    rows = [
        (
            row["change"] + ("" if row["used"] else " (not used)"),
            row["where"],
            row["precision"],
            *(amount(row[name] / 1e3) for name in ("before_ms", "after_ms")),
            f"{row['ratio']:.2f}x",
        )
        for row in result["rows"]
    ]
    left_out = [f"Left out: {name}, {reason}." for name, reason in result["left_out"].items()]
    text = markdown(("change", "where", "precision", "before", "after", "before / after"), rows)
    return "\n".join([f"{described(result)}.", "", text, *(f"{line}\n" for line in left_out)])


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--changes", nargs="+", choices=CHANGES, default=CHANGES, metavar="NAME")
    parser.add_argument("--where", default="", help="only sizes whose name contains this text")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--result", type=Path, default=result_file("micro"))
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if options.memory:
        print(json.dumps(memory_child(*options.memory)))
        return
    left_out = {name: reason for name in ("bf16",) if (reason := lacks(name))}
    kept = {key(row): row for row in json_value(options.result)["rows"]} if options.result.is_file() else {}
    for case in (*CASES, MEMORY):
        if case.change in options.changes and options.where in case.where:
            for precision in (name for name in case.precisions if name not in left_out):
                row = measure(case, precision, options.rounds)
                kept[key(row)] = row
                print(f"{row['change']}, {row['where']}, {precision}: {row['ratio']:.2f}x", flush=True)
    order = {(case.change, case.where): place for place, case in enumerate((*CASES, MEMORY))}
    rows = sorted(kept.values(), key=lambda row: order[row["change"], row["where"]])
    write_result(options.result, {"left_out": left_out, "rows": rows})
    if options.result == result_file("micro"):
        update()


def key(row: Mapping[str, Any]) -> tuple[str, ...]:
    return row["change"], row["where"], row["precision"]


if __name__ == "__main__":
    main()
