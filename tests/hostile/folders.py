"""Hostile folders: converted encoders, finished runs and saved states, each a valid one with a change."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import struct
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from ecgtune.methods.attach import attach
from ecgtune.methods.base import Method
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.own_weights.settings import Full
from ecgtune.methods.registry import method_to_table
from ecgtune.methods.storage import save_weights
from ecgtune.models.checkpoint import save_encoder
from ecgtune.models.description import describe_model
from ecgtune.models.ecg_fm.network import EcgFM
from ecgtune.models.loading import load_model
from ecgtune.recipes.recipe import Recipe
from ecgtune.training.averaging import WeightAverage
from ecgtune.training.run_folder import RunFolder, begin_run, log_text
from ecgtune.training.schedule import make_optimizer, parameter_groups
from ecgtune.training.state import Course, State
from ecgtune.utils.files import write_json, write_text
from helpers.models import TINY, tiny_classifier
from helpers.settings import loop
from hostile.pickled import asks

Change = Callable[[Path], object]
DEEP = "[" * 200_000 + "]" * 200_000


def _set(*keys: Any, value: Any = ...) -> Callable[[dict[str, Any]], object]:
    def change(content: dict[str, Any]) -> None:
        entry: Any = content
        for key in keys[:-1]:
            entry = entry[key]
        if value is ...:
            del entry[keys[-1]]
        else:
            entry[keys[-1]] = value

    return change


def edit(name: str, *keys: str, value: Any = ..., seal: bool = False) -> Change:
    """Set (or, without value, remove) an entry of a JSON file. seal: with the right checksum of the weights."""

    def change(folder: Path) -> None:
        file = folder / name
        content = json.loads(file.read_text())
        _set(*keys, value=value)(content)
        if seal:
            content["sha256"] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        file.write_text(json.dumps(content))

    return change


def write(name: str, content: str | bytes) -> Change:
    raw = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(raw)


def _instead(name: str, make: Callable[[Path], object]) -> Change:
    """Put something else in the place of a file."""

    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        make(folder / name)

    return change


def weights(name: str, change: Callable[[dict[str, torch.Tensor]], object], seal: str = "") -> Change:
    """Change the tensors of a safetensors file. seal: JSON file that holds its checksum."""

    def apply(folder: Path) -> None:
        tensors = {key: tensor.clone() for key, tensor in load_file(folder / name).items()}
        change(tensors)
        save_file(tensors, folder / name)
        if seal:
            edit(seal, "format", value=1, seal=True)(folder)

    return apply


def all_of(*changes: Change) -> Change:
    return lambda folder: [change(folder) for change in changes]


def head(weight: torch.Tensor, bias: torch.Tensor | None = None) -> Change:
    """Give a converted encoder a head; bias: zeros by default."""
    bias = torch.zeros(len(weight)) if bias is None else bias
    tensors = {"head.weight": weight, "head.bias": bias}
    return weights("model.safetensors", lambda found: found.update(tensors), "model.json")


def first(kind: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[dict[str, torch.Tensor]], object]:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        name = next(iter(tensors))
        tensors[name] = kind(tensors[name])

    return change


def raw_safetensors(header: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + bytes(64)


OVERLAP = json.dumps({name: {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]} for name in "ab"}).encode()
BEYOND = json.dumps({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
TENSORS: dict[str, Callable[[dict[str, torch.Tensor]], object]] = {
    "NaN": first(lambda t: torch.full_like(t, math.nan)),
    "double beyond float": first(lambda t: torch.full_like(t, 1e300, dtype=torch.float64)),
    "half infinite": first(lambda t: torch.full_like(t, math.inf, dtype=torch.float16)),
    "complex": first(lambda t: t.to(torch.complex64)),
    "whole numbers": first(lambda t: t.to(torch.int64)),
    "float8": first(lambda t: t.to(torch.float8_e5m2)),
    "empty": first(lambda t: t[:0]),
    "a number": first(lambda t: torch.tensor(1.0)),
    "one axis too many": first(lambda t: t[None]),
    "missing": lambda tensors: tensors.pop(next(iter(tensors))),
    "all missing": lambda tensors: tensors.clear(),
    "extra": lambda tensors: tensors.update({"extra.weight": torch.zeros(3)}),
}
FILES: dict[str, bytes] = {
    "header of 2^60 bytes": raw_safetensors(b"{}", 1 << 60),
    "header beyond the file": raw_safetensors(b"{}", 1 << 20),
    "deep header": raw_safetensors(DEEP.encode()),
    "overlapping tensors": raw_safetensors(OVERLAP),
    "tensor beyond the file": raw_safetensors(BEYOND),
    "empty": b"",
    "text": b"not safetensors",
    "a pickle": asks("os system", "REDUCE"),
}


def many_tensors(count: int) -> bytes:
    """A safetensors file of numbers for an encoder."""
    header = {f"encoder.{n}": {"dtype": "U8", "shape": [1], "data_offsets": [n, n + 1]} for n in range(count)}
    raw = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(raw)) + raw + bytes(count)


ORIGIN = {"kind": "pretrained", "source": "x.pt", "sha256": None, "seed": None, "used": [], "left_out": []}
#: Facts in `model.json` of an encoder with a head of three outputs.
FACTS: dict[str, tuple[str, Any]] = {
    "licence a list": ("converted_from", ORIGIN | {"licence": [1]}),
    "terms a table": ("continued_from", ORIGIN | {"terms": {"x": 1}}),
    "terms of escapes": ("converted_from", ORIGIN | {"terms": "\x1b[31mx\nerror: y"}),
    "terms of 15 MB": ("converted_from", ORIGIN | {"terms": "x" * (15 << 20)}),
    "source a list": ("converted_from", ORIGIN | {"source": []}),
    "origin without source": ("converted_from", {"kind": "pretrained"}),
    "origin a list": ("continued_from", [1]),
    "objective a list": ("pretraining", {"objective": [1]}),
    "label names equal": ("label_names", ["a", "a", "b"]),
    "label names empty": ("label_names", ["a", "", "b"]),
    "label names blank": ("label_names", ["a", " ", "b"]),
    "label names of escapes": ("label_names", ["a", "\x1b[31m", "b\nerror: x"]),
    "label names of 100,000 letters": ("label_names", ["a", "b", "c" * 100_000]),
    "label names of numbers": ("label_names", [0, 1, 2]),
    "label names too many": ("label_names", ["a", "b", "c", "d"]),
}
JSON: dict[str, str] = {
    "null": "null",
    "a list": "[]",
    "a number": "1",
    "empty": "",
    "deep": DEEP,
    "deep table": '{"format": 1, "config": ' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}",
    "long number": '{"format": ' + "9" * 100_000 + "}",
    "20 MB": '{"a": "' + "x" * (20 << 20) + '"}',
    "not UTF-8": "\udcff",
}
#: Values of `config` of an encoder that no weights can have.
SIZES: dict[str, tuple[str, Any]] = {
    "depth 10^9": ("depth", 10**9),
    "depth -1": ("depth", -1),
    "depth NaN": ("depth", math.nan),
    "depth as text": ("depth", "2"),
    "width 10^9": ("width", 10**9),
    "width 10^30": ("width", 10**30),
    "width 0": ("width", 0),
    "width -32": ("width", -32),
    "heads 0": ("heads", 0),
    "heads -2": ("heads", -2),
    "pos_groups 0": ("pos_groups", 0),
    "feed_forward 10^12": ("feed_forward", 10**12),
    "conv_layers 10^9": ("conv_layers", 10**9),
    "pos_taps 10^12": ("pos_taps", 10**12),
    "sampling_rate -500": ("sampling_rate", -500.0),
    "sampling_rate 0": ("sampling_rate", 0),
    "sampling_rate 10^300": ("sampling_rate", 1e300),
    "sampling_rate NaN": ("sampling_rate", math.nan),
    "no leads": ("leads", []),
    "a lead too many": ("leads", ["II", "V1"]),
    "10^5 leads": ("leads", ["II"] * 100_000),
    "unknown setting": ("eval", "__import__('os')"),
    "dropout 7": ("dropout", 7.0),
}


def _json_text(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def encoders() -> dict[str, Change]:
    """Changes of a converted folder."""
    name = "model.json"
    made = {f"JSON {key}": write(name, _json_text(text)) for key, text in JSON.items()}
    made |= {key: edit(name, "config", setting, value=value) for key, (setting, value) in SIZES.items()}
    made |= {f"weights {key}": weights("model.safetensors", change, name) for key, change in TENSORS.items()}
    made |= {f"file {key}": write("model.safetensors", content) for key, content in FILES.items()}
    made |= {
        "unknown architecture": edit(name, "architecture", value="os.system"),
        "architecture null": edit(name, "architecture", value=None),
        "version 99": edit(name, "version", value=99),
        "format 99": edit(name, "format", value=99),
        "config a list": edit(name, "config", value=[]),
        "config missing": edit(name, "config"),
        "sha256 of another file": edit(name, "sha256", value="0" * 64),
        "head of another width": weights(
            "model.safetensors",
            lambda tensors: tensors.update({"head.weight": torch.zeros(3, 7), "head.bias": torch.zeros(3)}),
            name,
        ),
        "head without bias": weights(
            "model.safetensors", lambda tensors: tensors.update({"head.weight": torch.zeros(3, 32)}), name
        ),
        "head a number": weights(
            "model.safetensors",
            lambda tensors: tensors.update({"head.weight": torch.tensor(1.0), "head.bias": torch.tensor(1.0)}),
            name,
        ),
        "200,000 tensors": all_of(
            lambda folder: (folder / "model.safetensors").write_bytes(many_tensors(200_000)),
            edit(name, "format", value=1, seal=True),
        ),
        "head of 100,000 outputs": head(torch.zeros(100_000, 32)),
        "head with a bias of int64": head(torch.zeros(3, 32), torch.full((3,), 1 << 62)),
        **{f"head of {kind}": head(torch.ones(3, 32).to(kind)) for kind in (torch.int64, torch.bool, torch.uint8)},
        **{key: all_of(head(torch.zeros(3, 32)), edit(name, fact, value=v)) for key, (fact, v) in FACTS.items()},
    }
    return made


def runs() -> dict[str, Change]:
    """Changes of a finished run of full fine-tuning, or of LoRA where the name says so."""
    saved, metrics = "best/model.json", "metrics.json"
    made = {f"metrics {key}": write(metrics, _json_text(text)) for key, text in JSON.items()}
    made |= {f"model {key}": write(saved, _json_text(text)) for key, text in JSON.items()}
    for key in ("seed", "data", "split", "window", "training", "classes", "weights"):
        made[f"metrics without {key}"] = edit(metrics, key)
        made[f"metrics {key} null"] = edit(metrics, key, value=None)
    for key in ("format", "config", "classes", "head", "weights", "method", "preprocessing", "threshold"):
        made[f"model without {key}"] = edit(saved, key)
        made[f"model {key} null"] = edit(saved, key, value=None)
    made |= {f"model {key}": edit(saved, "config", setting, value=value) for key, (setting, value) in SIZES.items()}
    made |= {f"LoRA model {key}": edit(saved, "config", "depth", value=v) for key, v in {"deep": 10**9, "0": 0}.items()}
    made |= {f"weights {key}": weights("best/encoder.safetensors", change) for key, change in TENSORS.items()}
    made |= {f"head {key}": weights("best/head.safetensors", change) for key, change in TENSORS.items()}
    made |= {f"file {key}": write("best/head.safetensors", content) for key, content in FILES.items()}
    made |= {
        "seed NaN": edit(metrics, "seed", value=math.nan),
        "seed -1": edit(metrics, "seed", value=-1),
        "seed true": edit(metrics, "seed", value=True),
        "accuracy infinite": edit(metrics, "window", "metrics", "accuracy", value={"value": math.inf}),
        "accuracy as text": edit(metrics, "window", "metrics", "accuracy", value={"value": "1"}),
        "other classes": edit(metrics, "classes", value=["a", "b"]),
        "one class": edit(saved, "classes", value=["a"]),
        "10^5 classes": edit(saved, "classes", value=[str(number) for number in range(100_000)]),
        "classes of numbers": edit(saved, "classes", value=[0, 1]),
        "threshold NaN": edit(saved, "threshold", "value", value=math.nan),
        "threshold 2": edit(saved, "threshold", "value", value=2),
        "threshold as text": edit(saved, "threshold", "value", value="0.5"),
        "sampling rate 0": edit(saved, "input_sampling_rate", value=0),
        "sampling rate 10^300": edit(saved, "input_sampling_rate", value=1e300),
        "sampling rate as text": edit(saved, "input_sampling_rate", value="100"),
        "normalisation unknown": edit(saved, "preprocessing", "normalisation", value="eval"),
        "mean NaN": edit(saved, "preprocessing", "mean", value=[math.nan]),
        "std 0": edit(saved, "preprocessing", value={"sampling_rate": 100, "resampling": "polyphase",
                                                     "normalisation": "global", "mean": [0], "std": [0]}),
        "hidden 10^9": edit(saved, "head", "hidden", value=10**9),
        "hidden -1": edit(saved, "head", "hidden", value=-1),
        "method unknown": edit(saved, "method", "name", value="os.system"),
        "method without name": edit(saved, "method", value={}),
        "weights of another kind": edit(saved, "weights", "kind", value="random!"),
        "weights used null": edit(saved, "weights", "used", value=None),
        "LoRA rank 10^9": edit(saved, "method", "rank", value=10**9),
        "LoRA rank 0": edit(saved, "method", "rank", value=0),
        "LoRA rank NaN": edit(saved, "method", "rank", value=math.nan),
        "LoRA other weights": edit(saved, "weights", "sha256", value="0" * 64),
        "LoRA encoder gone": edit(saved, "name", value="/nowhere/encoder"),
        "LoRA seed 10^40": edit(saved, "weights", "seed", value=10**40),
        "recipe binary": write("recipe.toml", bytes(range(256))),
        "recipe deep": write("recipe.toml", "a = " + "[" * 100_000),
        "recipe empty": write("recipe.toml", ""),
        "recipe of another": write("recipe.toml", "[method]\nname = 'os.system'\n"),
    }  # fmt: skip
    return made


ROW = {"epoch": 1, "train_loss": 0.5, "val_auroc": None, "learning_rate": 1e-3, "seconds": 0.1}
LOGS: dict[str, Any] = {
    "without epoch": {"train_loss": 0.5, "seconds": 0.1},
    "epoch -1": ROW | {"epoch": -1},
    "epoch true": ROW | {"epoch": True},
    "epoch 1.5": ROW | {"epoch": 1.5},
    "without seconds": {"epoch": 1},
    "seconds null": ROW | {"seconds": None},
    "loss as text": ROW | {"train_loss": "0.5"},
    "loss a list": ROW | {"train_loss": [0.5]},
    "loss NaN": ROW | {"train_loss": math.nan},
    "loss 10^400": ROW | {"train_loss": 10**400},
    "loss 10^300": ROW | {"train_loss": 1e300},
    "loss null": ROW | {"train_loss": None},
    "loss -9": ROW | {"val_loss": -9.0},
    "AUROC 7": ROW | {"val_auroc": 7.0},
    "accuracy -1": ROW | {"train_accuracy": -1.0},
    "seconds -1": ROW | {"seconds": -1.0},
    "a name of escapes": ROW | {"\x1b[31m" * 100: 1.0},
    "a number": 1,
    "a list": [1],
    "null": None,
}


def reports() -> dict[str, Change]:
    """Changes of the files of a finished run that its report reads beside metrics.json."""
    made = {f"log {key}": write("log.jsonl", json.dumps(row)) for key, row in LOGS.items()}
    made |= {"log deep": write("log.jsonl", DEEP), "log 65 levels": write("log.jsonl", "[" * 65 + "]" * 65)}
    made |= {"log cut": write("log.jsonl", json.dumps(ROW)[:-9]), "log 20 MB": write("log.jsonl", JSON["20 MB"])}
    made |= {"log of 400,000 lines": write("log.jsonl", (json.dumps(ROW) + "\n") * 400_000)}
    made |= {f"log of epoch {epoch}": write("log.jsonl", json.dumps(ROW | {"epoch": epoch})) for epoch in (0, 2)}
    made |= {f"{name} {kind}": _instead(name, make) for name in ("log.jsonl", "calibration.json", "certainty.json")
             for kind, make in {"a pipe": os.mkfifo, "a folder": Path.mkdir}.items()}  # fmt: skip
    made |= {"environment 300,000 tables": write("environment.json", '{"x": [' + "{}," * 300_000 + "1]}")}
    made |= {f"environment {key}": write("environment.json", _json_text(text)) for key, text in JSON.items()}
    deep = {"data": json.loads("[" * 100 + "]" * 100)}
    made |= {"environment 100 levels": write("environment.json", json.dumps(deep))}
    made |= {f"calibration {key}": write("calibration.json", _json_text(text)) for key, text in JSON.items()}
    return made


@dataclass
class TrainingParts:
    """A training of a tiny model before its first step; an objective as far as a state needs one."""

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    average: WeightAverage

    @classmethod
    def make(cls) -> TrainingParts:
        torch.manual_seed(0)
        model = attach(tiny_classifier(), Full())
        settings, _ = loop(epochs=3, batch_size=8, learning_rate=1e-3, device="cpu")
        optimizer = make_optimizer(parameter_groups(model, lambda name: 1.0).values(), 1e-3, settings)
        return cls(model, optimizer, WeightAverage(model, 0.9, lambda: None))

    def expected(self) -> dict[str, Any]:
        return {
            "objective": self,
            "average": self.average.tensors(),
            "optimizer": self.optimizer,
            "scale": {},
            "course": Course(epochs=3, steps=6, most_gradient=8.0, weight_of=lambda epoch, steps: 8.0 * steps),
        }

    def tensors(self) -> dict[str, torch.Tensor]:
        return {name: p.detach() for name, p in self.model.named_parameters()}

    def score(self, row: Mapping[str, Any]) -> float:
        return row["val_auroc"]

    def content(self) -> dict[str, Any]:
        """The saved state after a step."""
        for parameter in self.model.parameters():
            parameter.grad = torch.ones_like(parameter)
        self.optimizer.step()
        log = [{"epoch": 1, "val_auroc": 0.5, "seconds": 0.1}]
        state = State(1, 2, sums={"loss": 1.0}, weight_sum=16.0, log=log, best_epoch=1, best_score=0.5)
        return {
            "weights": self.tensors(),
            "average": self.average.tensors(),
            "optimizer": self.optimizer.state_dict(),
            "scale": {},
            "state": asdict(state),
        }


def _moments(name: str, change: Callable[[torch.Tensor], Any]) -> Callable[[dict[str, Any]], object]:
    """Change an entry of the optimizer for all parameters."""

    def apply(content: dict[str, Any]) -> None:
        for entry in content["optimizer"]["state"].values():
            entry[name] = change(entry[name])

    return apply


W = "head.0.weight"
STATES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no weights": _set("weights", value={}),
    "weights null": _set("weights", value=None),
    "weights missing": _set("weights"),
    "a weight missing": _set("weights", W),
    "a weight of another shape": _set("weights", W, value=torch.zeros(7, 7)),
    "a weight of another type": _set("weights", W, value=torch.zeros(2, 32, dtype=torch.float64)),
    "a weight of NaN": _set("weights", W, value=torch.full((2, 32), math.nan)),
    "a weight expanded": _set("weights", W, value=torch.zeros(1).expand(1 << 16, 1 << 16)),
    "a weight sparse": _set("weights", W, value=torch.eye(2).to_sparse()),
    "a weight as text": _set("weights", W, value="0"),
    "no average": _set("average", value={}),
    "average extra": _set("average", "x", value=torch.zeros(1)),
    "optimizer null": _set("optimizer", value=None),
    "optimizer empty": _set("optimizer", value={}),
    "optimizer without moments": _set("optimizer", "state", value={}),
    "optimizer without groups": _set("optimizer", "param_groups", value=[]),
    "optimizer of other settings": _set("optimizer", "param_groups", 0, "weight_decay", value=9.0),
    "optimizer of other parameters": _set("optimizer", "param_groups", 0, "params", value=[0, 0]),
    "optimizer with a text as rate": _set("optimizer", "param_groups", 0, "lr", value="abc"),
    "optimizer without rate": _set("optimizer", "param_groups", 0, "lr"),
    "optimizer with a rate of NaN": _set("optimizer", "param_groups", 0, "lr", value=math.nan),
    "optimizer with a rate of 10^15": _set("optimizer", "param_groups", 0, "lr", value=1e15),
    "optimizer with a tensor as weight decay": _set(
        "optimizer", "param_groups", 0, "weight_decay", value=torch.zeros(2)
    ),
    "optimizer with a list as betas": _set("optimizer", "param_groups", 0, "betas", value=[torch.zeros(2), 0.9]),
    "optimizer with moments of one parameter": lambda content: content["optimizer"].update(
        state={0: content["optimizer"]["state"][0]}
    ),
    "optimizer with an entry too many": _set("optimizer", "state", 0, "max_exp_avg_sq", value=torch.zeros(1)),
    "moments with steps alone": lambda content: content["optimizer"].update(
        state={number: {"step": entry["step"]} for number, entry in content["optimizer"]["state"].items()}
    ),
    "moments of one number": _moments("exp_avg", lambda tensor: torch.tensor(0.0)),
    "moments of float16": _moments("exp_avg_sq", torch.Tensor.half),
    "moments negative": _moments("exp_avg_sq", torch.neg),
    "moments before the first step": _moments("step", lambda tensor: tensor * 0),
    "moments of step -1": _moments("step", lambda tensor: torch.tensor(-1.0)),
    "moments of step 1.5": _moments("step", lambda tensor: torch.tensor(1.5)),
    "moments of a later step": _moments("step", lambda tensor: torch.tensor(9.0)),
    "moments of a step as number": _moments("step", float),
    "moments of a step as text": _moments("step", lambda tensor: "x"),
    "moments of another shape": _set("optimizer", "state", 0, "exp_avg", value=torch.zeros(1, 1)),
    "moments of NaN": _set("optimizer", "state", 0, "exp_avg", value=torch.tensor(math.nan)),
    "moments of 3 * 10^38": _moments("exp_avg_sq", lambda tensor: torch.full_like(tensor, 3e38)),
    "moments beyond the gradients": _moments("exp_avg", lambda tensor: torch.full_like(tensor, -9.0)),
    **{
        f"moments of number {number(1)!r}": lambda content, number=number: content["optimizer"].update(
            state={number(key) if key == 1 else key: entry for key, entry in content["optimizer"]["state"].items()}
        )
        for number in (bool, float)
    },
    "moments null": _set("optimizer", "state", 0, value=None),
    "moments of number 10^6": _set("optimizer", "state", 10**6, value={}),
    "epoch 10^9": _set("state", "epoch", value=10**9),
    "epoch -1": _set("state", "epoch", value=-1),
    "epoch NaN": _set("state", "epoch", value=math.nan),
    "step 10^9": _set("state", "step", value=10**9),
    "step as text": _set("state", "step", value="1"),
    "best epoch 3": _set("state", "best_epoch", value=3),
    "best score NaN": _set("state", "best_score", value=math.nan),
    "best score null": _set("state", "best_score", value=None),
    "best epoch 0": _set("state", "best_epoch", value=0),
    "best score of no epoch": _set("state", "best_score", value=0.9),
    "steps without sums": _set("state", "sums", value={}),
    "sums without a loss": _set("state", "sums", value={"x": 1.0}),
    "sums -5": _set("state", "sums", value={"loss": -5.0}),
    "sums 10^308": _set("state", "sums", value={"loss": 1e308}),
    "100,000 sums": _set("state", "sums", value={"loss": 1.0} | {f"x{n}": 1.0 for n in range(100_000)}),
    "sums with a name of escapes": _set("state", "sums", value={"loss": 1.0, "\x1b[31m": 1.0}),
    **{f"weight of the steps {w:g}": _set("state", "weight_sum", value=w) for w in (-1.0, 15.9, 1e15, 5e-324)},
    "skipped 1 without fp16": _set("state", "skipped", value=1),
    "skipped 2^53": _set("state", "skipped", value=1 << 53),
    "peak memory 2^53": _set("state", "peak_memory", value=1 << 53),
    "audit of 20 MB": _set("state", "audit", value="x" * (20 << 20)),
    "audit of escapes": _set("state", "audit", value="\x1b[31m\nerror: x"),
    "log of epoch 99": _set("state", "log", 0, "epoch", value=99),
    "log with AUROC NaN": _set("state", "log", 0, "val_auroc", value=math.nan),
    "log with AUROC as text": _set("state", "log", 0, "val_auroc", value="0.5"),
    "log without AUROC": _set("state", "log", 0, "val_auroc"),
    "log with a number as name": _set("state", "log", 0, 7, value=0.5),
    "log with AUROC and score 7": lambda content: (
        content["state"]["log"][0].update(val_auroc=7.0),
        content["state"].update(best_score=7.0),
    ),
    "log with a loss of NaN": _set("state", "log", 0, "train_loss", value=math.nan),
    "log with an infinite loss": _set("state", "log", 0, "train_loss", value=math.inf),
    "log with a loss of -9": _set("state", "log", 0, "val_loss", value=-9.0),
    "log with seconds -1": _set("state", "log", 0, "seconds", value=-1.0),
    "log with a name of escapes": _set("state", "log", 0, "\x1b[31m" * 100, value=0.5),
    "log null": _set("state", "log", value=None),
    "log empty": _set("state", "log", value=[]),
    "log of numbers": _set("state", "log", value=[1]),
    "seconds infinite": _set("state", "seconds", value=math.inf),
    "seconds -10^9": _set("state", "seconds", value=-1e9),
    "state missing": _set("state"),
    "state of another version": _set("state", "new", value=1),
    "content of another version": _set("new", value=1),
    "optimizer of another version": _set("optimizer", "new", value=1),
    "scale of fp16": _set("scale", value={"scale": 65536.0}),
}


def make_encoder(folder: Path) -> Path:
    """A valid converted folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return save_encoder(EcgFM(TINY), folder, {})


def make_run(folder: Path, encoder: Path, method: Method) -> Path:
    """A valid folder of a finished run."""
    model = attach(load_model(encoder, classes=("0", "1")), method)
    run = RunFolder(folder)
    begin_run(run, Recipe(name="hostile", method=method), {"seed": 0})
    run.best.mkdir()
    write_text(run.log, log_text([ROW]))
    save_weights(model, run.best)
    preprocessing = {"sampling_rate": 100.0, "resampling": "polyphase", "normalisation": "zscore", "mean": None}
    threshold = {"value": 0.5, "rule": "fixed"}
    facts = {"method": method_to_table(method), "preprocessing": {**preprocessing, "std": None}}
    write_json(
        run.best / "model.json",
        {**describe_model(model), **facts, "input_sampling_rate": 100.0, "threshold": threshold},
    )
    data = {"path": "x.csv", "sha256": "0" * 64, "windows": 9, "sampling_rate": 100.0, "samples": 500, "leads": ["II"]}
    training = {"epochs": 1, "best_epoch": 1, "seconds": 1.0, "learning_rate": 1e-3, "precision": "fp32"}
    training |= {"seconds_per_epoch": 1.0, "peak_memory_bytes": 1, "file_bytes": 1}
    entry = {"value": 0.5, "ci_low": 0.4, "ci_high": 0.6}
    write_json(
        run.metrics,
        {
            **{"format": 2, "name": "hostile", "seed": 0, "model": "x", "method": "Full()", "weights": "random"},
            **{"classes": ["0", "1"], "data": {**data, "signal_path": None}, "training": training},
            "split": {
                **{"unit": "row", "origin": "made", "warnings": []},
                "counts": {name: {"windows": 3, "groups": None} for name in ("train", "val", "test")},
            },
            "parameters": {"trainable": 1, "total": 1, "trainable_fraction": 1.0},
            "threshold": threshold,
            "window": {"n": 3, "metrics": dict.fromkeys(("accuracy", "f1", "auroc"), entry)},
            "group": {"reason": "no groups"},
        },
    )
    return folder


def _changed(source: Path, change: Change) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        shutil.copytree(source, folder)
        change(folder)
        return folder

    return make


def folders(place: Path, *, peft: bool) -> dict[str, tuple[str, Callable[[Path], Path]]]:
    """Name of each hostile folder or state, the reader it is for, and what writes it and gives its path.

    peft: those of LoRA alone, as it takes seconds to import that library; else all others.
    """
    encoder = make_encoder(place / "encoder")
    run = make_run(place / "run", encoder, LoRA(rank=2) if peft else Full())
    if peft:
        made = {"valid run of LoRA": ("peft run", lambda folder: run)}
        changes = {name: change for name, change in runs().items() if "LoRA" in name}
        return made | {f"run: {name}": ("peft run", _changed(run, change)) for name, change in changes.items()}
    parts = TrainingParts.make()
    torch.save(parts.content(), place / "state.pt")
    whole = (place / "state.pt").read_bytes()

    def state(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], Path]:
        def make(folder: Path) -> Path:
            content = torch.load(place / "state.pt", weights_only=True)
            change(content)
            folder.mkdir()
            torch.save(content, folder / "state.pt")
            return folder / "state.pt"

        return make

    def raw(content: bytes) -> Callable[[Path], Path]:
        def make(folder: Path) -> Path:
            folder.mkdir()
            (folder / "state.pt").write_bytes(content)
            return folder / "state.pt"

        return make

    def pipe(folder: Path) -> Path:
        folder.mkdir()
        os.mkfifo(folder / "state.pt")
        return folder / "state.pt"

    flipped = bytearray(whole)
    flipped[whole.index(parts.tensors()[W].numpy().tobytes())] ^= 1
    named = bytearray(whole)
    named[whole.index(b"exp_avg")] ^= 1
    made: dict[str, tuple[str, Callable[[Path], Path]]] = {
        "valid encoder": ("checkpoint", lambda folder: encoder),
        "valid run": ("run", lambda folder: run),
        "valid report": ("report", lambda folder: run),
        "valid state": ("state", lambda folder: place / "state.pt"),
    }
    made |= {f"encoder: {name}": ("checkpoint", _changed(encoder, change)) for name, change in encoders().items()}
    changes = {name: change for name, change in runs().items() if "LoRA" not in name}
    made |= {f"run: {name}": ("run", _changed(run, change)) for name, change in changes.items()}
    made |= {f"report: {name}": ("report", _changed(run, change)) for name, change in reports().items()}
    made |= {f"state: {name}": ("state", state(change)) for name, change in STATES.items()}
    made |= {
        "state: a bit of a tensor": ("state", raw(bytes(flipped))),
        "state: a bit of a name": ("state", raw(bytes(named))),
        "state: cut": ("state", raw(whole[: len(whole) // 2])),
        "state: empty": ("state", raw(b"")),
        "state: a pipe": ("state", pipe),
        "state: asks to run": ("state", raw(asks("os system", "REDUCE"))),
    }
    return made
