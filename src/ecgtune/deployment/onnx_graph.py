"""The graph of a model in ONNX, by torch's exporter."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ecgtune.deployment.graph import Graph, architectures
from ecgtune.errors import DataError, SettingError
from ecgtune.runtime.model import INPUT, NOVELTY, OUTPUT, load_onnxruntime

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 20  # the first with GELU as one operation


@dataclass(frozen=True, eq=False)
class OnnxGraph:
    """A graph in ONNX. any_length: whether windows of other lengths than the example's go through it."""

    model: ModelProto
    any_length: bool


def to_onnx(graph: Graph, leads: int, samples: int) -> OnnxGraph:
    """Trace `graph` for windows (any number, leads, samples), and for any number of samples where its encoders allow.

    Raises SettingError where the extra `export` is not installed, or torch cannot trace the graph.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401

        load_onnxruntime()  # before torch or onnxscript import it
    except ImportError as error:
        raise SettingError(
            f"export needs {error.name}, which is not installed; pip install 'ecgtune[export]'"
        ) from None
    example = torch.linspace(-1, 1, 2 * leads * samples).reshape(2, leads, samples)
    any_length = all(encoder.input_spec.samples is None for encoder in graph.encoders)
    try:
        if any_length:
            try:
                model = _exported(graph, example, {0: "windows", 2: "samples"})
                if _takes_any_length(graph, model, example):
                    return OnnxGraph(model, True)
            except torch.onnx.OnnxExporterError:  # code that depends on the length, such as a table of positions
                pass
        return OnnxGraph(_exported(graph, example, {0: "windows"}), False)
    except torch.onnx.OnnxExporterError as error:
        reason = next((line for line in str(error.__cause__ or error).splitlines() if line.strip()), "no reason given")
        raise SettingError(
            f"torch cannot export {architectures(graph)} ({reason.strip()[:200]});"
            " ecgtune.testing.check_encoder names code that depends on data"
        ) from error


def _takes_any_length(graph: Graph, model: ModelProto, example: torch.Tensor) -> bool:
    """Whether windows of other lengths than the example's give what torch gives.

    torch's exporter takes comparisons of lengths, such as that of two depths of a network, as they are for the example.
    """
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # a failure is an answer here
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    samples = example.shape[2]
    longer, shorter = (samples + 1, samples + samples // 3, 2 * samples), (samples - samples // 3, samples // 2)
    for lengths in (longer, shorter):  # the example may be the longest that the encoder takes
        compared = 0
        for length in lengths:
            signal = torch.linspace(-1, 1, example[0, :, 0].numel() * length).reshape(1, -1, length)
            try:
                with torch.no_grad():
                    found_by_torch = graph(signal)
                expected = found_by_torch if graph.novelty is None else found_by_torch[0]
            except DataError:
                continue
            try:
                found = torch.from_numpy(session.run([OUTPUT], {INPUT: signal.numpy()})[0])
            except Exception:  # onnxruntime's own classes, one for each kind of failure
                return False
            if not torch.allclose(found, expected, rtol=0, atol=1e-4):
                return False
            compared += 1
        if compared:
            return True
    return False


def _exported(graph: Graph, example: torch.Tensor, names: dict[int, str]) -> ModelProto:
    dynamic = {axis: torch.export.Dim.DYNAMIC for axis in names}
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            graph.eval(),
            (example,),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT] if graph.novelty is None else [OUTPUT, NOVELTY],
            dynamic_shapes={INPUT: dynamic},
        )
    assert program is not None
    model = program.model_proto
    # onnxruntime (1.20 to 1.24) transposes a weight under its name, which would then contradict its stated shape.
    del model.graph.value_info[:]
    for axis, name in names.items():
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    for output in model.graph.output:
        for dimension, name in zip(output.type.tensor_type.shape.dim, ("windows", "classes"), strict=False):
            if dimension.dim_param:
                dimension.dim_param = name
    return model


def stripped(model: ModelProto) -> ModelProto:
    """`model` without what only describes the export: shapes of inner values, and stack traces with paths."""
    del model.graph.value_info[:]
    parts: list[Any] = [model.graph, *model.graph.node, *model.graph.initializer]
    for part in [*parts, *model.graph.input, *model.graph.output, *model.functions]:
        del part.metadata_props[:]
        part.ClearField("doc_string")
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks about libraries that are not installed, and torch's about its own code."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
