"""An ONNX graph with weights of whole numbers, in formats that every processor computes exactly.

On x86 processors without VNNI the runtime multiplies unsigned inputs with signed weights in pairs whose sum saturates
in sixteen bits: with weights of eight bits, predictions move by percents unseen. Signed weights have seven bits here
(2 * 255 * 64 is below 2^15), and those of eight bits are unsigned, whose products are exact everywhere. The runtime has
fast kernels (VNNI, AMX) for signed weights alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.runtime.model import INPUT, load_onnxruntime
from ecgtune.utils.files import temporary_folder

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

SCOPES = "pkg.torch.onnx.name_scopes"
ENCODER = "classifier.encoder'"  # of one run; behind "members.0." and so on of an ensemble
#: Values of a weight from which eight bits are worth it; below are norms, biases and small kernels.
SMALLEST = 1024


def dynamic(model: ModelProto, calibration: NDArray[np.float32], *, signed: bool = False) -> ModelProto | None:
    """Matrix products of whole numbers; inputs are rounded by their range in each call. None without such products.

    signed: weights of seven bits with a sign, instead of eight without.
    """
    load_onnxruntime()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    def quantise(source: str, target: str, nodes: list[str]) -> None:
        quantize_dynamic(
            source,
            target,
            nodes_to_quantize=nodes,
            per_channel=True,
            reduce_range=signed,
            weight_type=QuantType.QInt8 if signed else QuantType.QUInt8,
            op_types_to_quantize=["MatMul"],
        )

    return _through_files(model, _products(model, ("MatMul",)), quantise)


def static(model: ModelProto, calibration: NDArray[np.float32]) -> ModelProto | None:
    """Products and convolutions with weights of seven bits; inputs are rounded by their range in the calibration."""
    load_onnxruntime()
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.windows: Iterator[NDArray] = iter(calibration)

        def get_next(self) -> dict[str, NDArray] | None:  # type: ignore[override]
            window = next(self.windows, None)
            return None if window is None else {INPUT: window[None]}

    def quantise(source: str, target: str, nodes: list[str]) -> None:
        quantize_static(
            source,
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            nodes_to_quantize=nodes,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Conv", "Gemm"],
        )

    return _through_files(model, _products(model, ("MatMul", "Conv", "Gemm")), quantise)


def weights_only(model: ModelProto, calibration: NDArray[np.float32]) -> ModelProto:
    """Weights of eight bits in the file, float32 in memory: a quarter of the size, no faster."""
    import onnx
    from onnx import helper, numpy_helper

    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    weights = {each.name: each for each in graph.initializer}
    nodes: list[NodeProto] = []
    done: set[str] = set()
    for node in _products(changed, ("MatMul", "Conv", "Gemm")):
        name = node.input[1]
        if name in done:
            continue
        done.add(name)
        values = numpy_helper.to_array(weights[name])
        axis = values.ndim - 1 if node.op_type == "MatMul" else 0
        rounded, scale, zero = rounded_weights(values, axis)
        graph.initializer.remove(weights[name])
        parts = {f"{name}_u8": rounded, f"{name}_zero": zero, f"{name}_scale": scale}
        graph.initializer.extend(numpy_helper.from_array(array, key) for key, array in parts.items())
        # Not DequantizeLinear: the runtime computes these three once, when it opens the file, and that in every call.
        nodes += [
            helper.make_node("Cast", [f"{name}_u8"], [f"{name}_f32"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Sub", [f"{name}_f32", f"{name}_zero"], [f"{name}_centred"]),
            helper.make_node("Mul", [f"{name}_centred", f"{name}_scale"], [name]),
        ]
    for node in reversed(nodes):
        graph.node.insert(0, node)
    return changed


#: Formats that an export chooses from, by the name in its metadata.
FORMATS: dict[str, Callable[[ModelProto, NDArray[np.float32]], ModelProto | None]] = {
    "dynamic-7": partial(dynamic, signed=True),
    "dynamic-8": dynamic,
    "static": static,
    "weights": weights_only,
}


def rounded_weights(values: NDArray, axis: int) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """Weights as whole numbers 0 to 255, with scale and zero point for each entry of `axis`: w ~ scale * (q - zero).

    Scales and zero points have the number of axes of the weights, for a product with them.
    """
    others = tuple(each for each in range(values.ndim) if each != axis)
    low = np.minimum(values.min(axis=others, keepdims=True), 0)
    high = np.maximum(values.max(axis=others, keepdims=True), 0)
    scale = np.maximum((high - low) / 255, np.finfo(np.float32).tiny).astype(np.float32)
    zero = np.clip(np.rint(-low / scale), 0, 255)
    rounded = np.clip(np.rint(values / scale) + zero, 0, 255).astype(np.uint8)
    return rounded, scale, zero.astype(np.float32)


def _products(model: ModelProto, kinds: tuple[str, ...]) -> list[NodeProto]:
    """Nodes of the encoder that multiply with a stored weight of some size."""
    sizes = {each.name: int(np.prod(each.dims)) for each in model.graph.initializer}
    return [
        node
        for node in model.graph.node
        if node.op_type in kinds
        and sizes.get(node.input[1], 0) >= SMALLEST
        and any(entry.key == SCOPES and ENCODER in entry.value for entry in node.metadata_props)
    ]


def _through_files(
    model: ModelProto, nodes: list[NodeProto], quantise: Callable[[str, str, list[str]], Any]
) -> ModelProto | None:
    import onnx

    if not nodes:
        return None
    with temporary_folder() as folder:
        source, target = folder / "float32.onnx", folder / "int8.onnx"
        onnx.save(model, source)
        level = logging.root.level
        logging.root.setLevel(logging.ERROR)  # the library recommends a step that torch's exporter has done
        try:
            quantise(str(source), str(target), [node.name for node in nodes])
        finally:
            logging.root.setLevel(level)
        return onnx.load(target)
