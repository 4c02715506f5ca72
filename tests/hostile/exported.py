"""Hostile exported files and recipes: a valid one with a change, sealed as whoever makes it can seal it."""

from __future__ import annotations

import base64
import io
import os
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ecgtune.runtime.exported_file import References, sealed
from ecgtune.runtime.model import INPUT, OUTPUT

Write = Callable[[Path], object]
ROWS = 64  # windows that are simulated
UNKNOWN = np.full(ROWS, -1)
REFERENCES = {
    "digest": np.zeros(ROWS, np.uint64),
    "probability": np.full((ROWS, 2), 0.5, np.float32),
    "label": UNKNOWN.astype(np.int8),
    "recording": UNKNOWN.astype(np.int32),
}
METADATA: dict[str, Any] = {
    **{"format": 1, "task": "binary", "classes": ["a", "b"], "decision": {"value": 0.5, "rule": "fixed"}},
    **{
        "recording": "mean",
        "window": 6.0,
        "step": 6.0,
        "run": {},
        "summary": "weights: random",
        "precision": "float32",
    },
    "input": {"leads": ["II"], "sampling_rate": 100.0, "samples": 600, "any_length": True},
    "preprocessing": {"sampling_rate": 100.0, "resampling": "polyphase", "normalisation": "zscore"},
    "data": {"sha256": "0" * 64, "sampling_rate": 100.0, "samples": 600, "leads": ["II"], "signal_path": None},
    "references": {"simulated": References(**REFERENCES).packed()},
}

UNIT = {"thresholds": [0.5], "confidence": [0.5], "groups": 3}


def graph(change: Callable[[Any, Any], object] = lambda model, onnx: None) -> bytes:
    """A graph (windows, leads, samples) -> (windows, 2) as a serialised model."""
    import onnx
    from onnx import helper

    signal = helper.make_tensor_value_info(INPUT, onnx.TensorProto.FLOAT, ["n", 1, "s"])
    probability = helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, ["n", 2])
    weight = helper.make_tensor("weight", onnx.TensorProto.FLOAT, [1, 2], np.ones(2, "<f4").tobytes(), raw=True)
    nodes = [
        helper.make_node("ReduceMean", [INPUT], ["mean"], axes=[2], keepdims=0),
        helper.make_node("MatMul", ["mean", "weight"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [OUTPUT], axis=1),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [signal], [probability], [weight]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    change(model, onnx)
    return model.SerializeToString()


def exported(metadata: Any = METADATA, model: Callable[[], bytes] = graph) -> Write:
    return lambda path: path.write_bytes(sealed(model(), metadata))


def outside(location: str) -> Callable[[], bytes]:
    """The weight lies in another file."""

    def change(model: Any, onnx: Any) -> None:
        weight = model.graph.initializer[0]
        weight.ClearField("raw_data")
        weight.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", "8")):
            entry = weight.external_data.add()
            entry.key, entry.value = key, value

    return lambda: graph(change)


def _huge(model: Any, onnx: Any) -> None:
    model.graph.initializer[0].dims[0] = 1 << 40


def _references(content: bytes) -> dict[str, Any]:
    return METADATA | {"references": {"simulated": base64.b64encode(content).decode()}}


def _stored(**changes: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **REFERENCES | changes)
    return zlib.compress(buffer.getvalue())


def _one_array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, REFERENCES["digest"])
    return zlib.compress(buffer.getvalue())


def _zeros() -> bytes:
    """An archive whose arrays are 400 MB of zeros."""
    buffer = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(buffer, "w", kind) as archive, archive.open("digest.npy", "w", force_zip64=True) as file:
        for _ in range(100):
            file.write(bytes(4 << 20))
    return zlib.compress(buffer.getvalue(), 9)


EXPORTED: dict[str, Write] = {
    **{f"metadata {name}": exported(value) for name, value in {"null": None, "a list": [1], "text": "x"}.items()},
    **{f"without {key}": exported({k: v for k, v in METADATA.items() if k != key})
       for key in METADATA if key != "precision"},
    **{f"{key} null": exported(METADATA | {key: None}) for key in METADATA},
    **{f"input without {key}": exported(METADATA | {"input": {k: v for k, v in METADATA["input"].items() if k != key}})
       for key in METADATA["input"]},
    "format 99": exported(METADATA | {"format": 99}),
    "format of escapes": exported(METADATA | {"format": "\x1b[31m\n"}),
    "three classes": exported(METADATA | {"classes": ["a", "b", "c"]}),
    "rate 0": exported(METADATA | {"input": METADATA["input"] | {"sampling_rate": 0}}),
    "rate 10^300": exported(METADATA | {"input": METADATA["input"] | {"sampling_rate": 1e300}}),
    "certainty a list": exported(METADATA | {"certainty": [1]}),
    "certainty of one quantile": exported(METADATA | {"certainty": {"level": 0.9, "window": UNIT, "recording": None}}),
    "certainty of texts": exported(METADATA | {"certainty": {"level": "x", "window": ["x"], "recording": None}}),
    "decision of nothing": exported(METADATA | {"decision": {}}),
    "decision as text": exported(METADATA | {"decision": {"value": "x", "rule": "fixed"}}),
    "unknown normalisation": exported(METADATA | {"preprocessing": METADATA["preprocessing"] | {"normalisation": "x"}}),
    "nested metadata": exported(METADATA | {"run": {"a": eval("[" * 80 + "]" * 80)}}),
    "references no archive": exported(_references(zlib.compress(b"x"))),
    "references not packed": exported(_references(b"x")),
    "references of one array": exported(_references(_one_array())),
    "references of texts": exported(_references(_stored(probability=np.full((ROWS, 2), "0.5")))),
    "references of complex numbers": exported(_references(_stored(probability=np.ones((ROWS, 2), complex)))),
    "references of three classes": exported(_references(_stored(probability=np.ones((ROWS, 3), np.float32)))),
    "references of NaN": exported(_references(_stored(probability=np.full((ROWS, 2), np.nan, np.float32)))),
    "references of no window": exported(_references(_stored(**{k: each[:0] for k, each in REFERENCES.items()}))),
    "references of one window": exported(_references(_stored(**{k: each[:1] for k, each in REFERENCES.items()}))),
    "references of other windows": exported(METADATA | {"references": {}}),
    "novelty of none": exported(_references(_stored(novelty=np.zeros(ROWS, np.float32)))),
    "samples 2^53": exported(METADATA | {"input": METADATA["input"] | {"samples": 1 << 53}}),
    "precision unknown": exported(METADATA | {"precision": "float64"}),
    "references of 400 MB": lambda path: exported(_references(_zeros()))(path),
    "references of 256 MB of text": lambda path: exported(_references(zlib.compress(bytes(1 << 28), 9)))(path),
    "weights in /etc": exported(model=outside("../../../../etc/passwd")),
    "weights in /dev": exported(model=outside("/dev/zero")),
    "weights beyond the file": exported(model=lambda: graph(_huge)),
    "no graph": exported(model=bytes),
    "no seal": lambda path: path.write_bytes(graph()),
    "empty": lambda path: path.write_bytes(b""),
    "a pipe": os.mkfifo,
}  # fmt: skip

GOOD = 'name = "x"\n[method]\nname = "lora"\n'
RECIPES: dict[str, Write] = {
    name: partial(Path.write_text, data=text)
    for name, text in {
        "number of 5000 digits": GOOD + "rank = " + "9" * 5000,
        "rank 10^30": GOOD + f"rank = {10**30}",
        "epochs 10^12": GOOD + f"[optimisation]\nepochs = {10**12}",
        "batch of 10^12": GOOD + f"[optimisation]\nbatch_size = {10**12}",
        "rate NaN": GOOD + "[optimisation]\nlearning_rate = nan",
        "rate 10^308": GOOD + "[optimisation]\nlearning_rate = 1e308",
        "nested arrays": "a = " + "[" * 5000 + "]" * 5000,
        "nested tables": "[" + ".".join("a" * 3000) + "]\nb = 1",
        "a key of escapes": GOOD + '"\\u001b[31m\\n" = 1',
        "zero bytes": "\0\1",
        "20 MB": f"a = '{'x' * (20 << 20)}'",
        "another method": GOOD.replace("lora", "os.system"),
    }.items()
} | {"a pipe": os.mkfifo}
