"""Exported files made without torch: a small convolutional network with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ecgtune.data.preprocessing import Preprocessing
from ecgtune.data.signal.path import SignalPath
from ecgtune.runtime.exported_file import FORMAT, References, digests, sealed
from ecgtune.runtime.model import INPUT, NOVELTY, OUTPUT
from ecgtune.runtime.verification import simulated_windows

CHANNELS, KERNEL = 8, 9


def write_exported(
    path: Path,
    *,
    signal_path: SignalPath,
    classes: tuple[str, ...] = ("N", "AF"),
    task: str = "binary",
    input_rate: float | None = None,
    rule: str = "mean",
    seed: int = 0,
    novelty: bool = False,
    **changes: Any,
) -> Path:
    """Write an exported file whose probabilities depend on the shape of a window, not on its amplitude.

    input_rate: Hz of the graph, that of the windows when not given. novelty: add the output of a score. changes: other
    entries of the metadata.
    """
    rate = input_rate or signal_path.sampling_rate
    assert signal_path.window is not None
    samples = round(signal_path.window * signal_path.sampling_rate)
    metadata: dict[str, Any] = {
        "format": FORMAT,
        "notice": "Research software: not a medical device.",
        "task": task,
        "classes": list(classes),
        "decision": _decision(task, classes),
        "recording": rule,
        "input": {
            "name": INPUT,
            "leads": list(signal_path.leads),
            "sampling_rate": rate,
            "samples": round(samples * rate / signal_path.sampling_rate),
            "any_length": True,
            "unit": "any (each window is normalised)",
        },
        "window": signal_path.window,
        "step": signal_path.step or signal_path.window,
        "preprocessing": Preprocessing(rate).to_dict(),
        "precision": "float32",
        "format_of_weights": "float32",
        "data": {
            "sha256": "0" * 64,
            "sampling_rate": signal_path.sampling_rate,
            "samples": samples,
            "leads": list(signal_path.leads),
            "signal_path": signal_path.to_dict(),
        },
        "run": {
            "name": "lora",
            "seed": 0,
            "model": "small network",
            "method": "lora",
            "weights": "random (seed 0)",
            "sha256": "1" * 64,
            "files": {},
        },
        "encoder": {"architecture": "small", "sha256": "2" * 64, "licence": "Apache-2.0"},
        "versions": {"ecgtune": "0", "onnxruntime": "0"},
        "summary": "weights: random\ntest accuracy: 0.900 (95 % interval 0.85 to 0.95)",
        "verification": {
            "precision": "float32",
            "windows": "64 simulated windows",
            "runtime": "onnxruntime 0",
            "processor": "a processor",
            "kernels": {
                "usual": {
                    "of": "windows",
                    "count": 64,
                    "largest_difference": 2e-7,
                    "changed_decisions": 0,
                    "changed_fraction": 0.0,
                    "auroc": {"before": 0.95, "after": 0.95},
                    "recordings": None,
                }
            },
            "seconds_per_window": {"onnxruntime": 0.001},
        },
    }
    graph = _graph(len(signal_path.leads), len(classes), task, seed, novelty)
    windows = simulated_windows(len(signal_path.leads), metadata["input"]["samples"], rate)
    unknown = np.full(len(windows), -1)
    probability = np.full((len(windows), len(classes)), 0.5, np.float32)
    known = References(digests(windows), probability, unknown.astype(np.int8), unknown.astype(np.int32))
    metadata["references"] = {"simulated": known.packed()}
    path.write_bytes(sealed(graph, metadata | changes))
    return path


def _decision(task: str, classes: tuple[str, ...]) -> dict[str, Any]:
    if task == "multiclass":
        return {"rule": "argmax"}
    threshold = {"value": 0.5, "rule": "fixed"}
    return threshold if task == "binary" else {"labels": dict.fromkeys(classes, threshold)}


def _graph(leads: int, classes: int, task: str, seed: int, novelty: bool) -> bytes:
    """Normalisation, two convolutions with rectifiers, the mean over time, a layer, softmax or sigmoid.

    novelty: the length of the vector of means is a second output.
    """
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(seed)

    def weights(name: str, *shape: int, size: float = 1.0) -> Any:
        values = generator.normal(size=shape) * size / np.sqrt(np.prod(shape[1:]))
        return numpy_helper.from_array(values.astype(np.float32), name)

    nodes = [
        helper.make_node("ReduceMean", [INPUT], ["mean"], axes=[2], keepdims=1),
        helper.make_node("Sub", [INPUT, "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "centred"], ["squares"]),
        helper.make_node("ReduceMean", ["squares"], ["variance"], axes=[2], keepdims=1),
        helper.make_node("Add", ["variance", "tiny"], ["positive"]),
        helper.make_node("Sqrt", ["positive"], ["deviation"]),
        helper.make_node("Div", ["centred", "deviation"], ["normal"]),
        helper.make_node("Conv", ["normal", "first"], ["one"], kernel_shape=[KERNEL], strides=[2]),
        helper.make_node("Relu", ["one"], ["two"]),
        helper.make_node("Conv", ["two", "second"], ["three"], kernel_shape=[KERNEL], strides=[2]),
        helper.make_node("Relu", ["three"], ["four"]),
        helper.make_node("ReduceMean", ["four"], ["pooled"], axes=[2], keepdims=0),
        helper.make_node("MatMul", ["pooled", "head"], ["logits"]),
        helper.make_node("Sigmoid" if task == "multilabel" else "Softmax", ["logits"], [OUTPUT]),
    ]
    outputs = [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", classes])]
    if novelty:
        nodes.append(helper.make_node("ReduceL2", ["pooled"], [NOVELTY], axes=[1], keepdims=0))
        outputs.append(helper.make_tensor_value_info(NOVELTY, TensorProto.FLOAT, ["batch"]))
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", leads, "samples"])],
        outputs,
        [
            numpy_helper.from_array(np.float32(1e-6), "tiny"),
            weights("first", CHANNELS, leads, KERNEL),
            weights("second", CHANNELS, CHANNELS, KERNEL),
            weights("head", CHANNELS, classes, size=16.0),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()
