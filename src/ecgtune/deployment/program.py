"""A run as a program of ExecuTorch, torch's runtime for phones and small boards: one window of one length, float32."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ecgtune.deployment.graph import Graph, architectures
from ecgtune.errors import SettingError
from ecgtune.text import reason_of

#: Methods of a program: windows to probabilities, and its metadata as JSON.
FORWARD, METADATA = "forward", "ecgtune"


def check_installed() -> None:
    """Raise SettingError where the extra `executorch` is not installed."""
    try:
        import executorch.exir  # noqa: F401  # type: ignore
    except ImportError as error:
        raise SettingError(
            f"export to .pte needs {error.name}, which is not installed; pip install 'ecgtune[executorch]', or name the"
            " file .onnx"
        ) from None


def to_program(graph: Graph, leads: int, samples: int, metadata: str) -> bytes:
    """Trace `graph` for one window (1, leads, samples) and lower it to the kernels of XNNPACK.

    What XNNPACK has no kernels for, such as the normalisation in float64, is left to ExecuTorch's portable ones.
    metadata: what the method `METADATA` returns. Raises SettingError where the graph cannot be traced or lowered.
    """
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner  # type: ignore
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower  # type: ignore

    example = torch.linspace(-1, 1, leads * samples).reshape(1, leads, samples)
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # it logs every step of its passes
    try:
        with torch.no_grad():
            traced = torch.export.export(graph.eval(), (example,))
        lowered = to_edge_transform_and_lower(
            traced,
            partitioner=[XnnpackPartitioner()],
            compile_config=EdgeCompileConfig(_check_ir_validity=False),  # it would refuse float64
            constant_methods={METADATA: metadata},
        )
        return lowered.to_executorch().buffer
    except Exception as error:  # of many passes, each with classes of its own
        raise SettingError(
            f"ExecuTorch cannot hold {architectures(graph)} ({reason_of(error)}); name the file .onnx"
        ) from error
    finally:
        logging.root.setLevel(level)


class Program:
    """An opened program of `to_program`. metadata: its text."""

    def __init__(self, path: Path) -> None:
        from executorch.runtime import Runtime  # type: ignore

        self._program = Runtime.get().load_program(str(path))
        self._forward = self._program.load_method(FORWARD)
        self.metadata: str = self._program.load_method(METADATA).execute([])[0]

    def predict(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (windows, classes) of windows (windows, leads, samples) as the graph takes them."""
        rows = [self._forward.execute([torch.from_numpy(row[None].copy())])[0].numpy().copy() for row in windows]
        return np.concatenate(rows)
