"""Experiment: the bundled encoder in the formats of runtimes for small devices, compared with torch.

    pip install "ecgtune[executorch]" litert-torch
    python benchmarks/small_devices.py

litert-torch is no dependency. Each library converts the graph of an export (a head with random weights) for one window
of six seconds, and predicts 64 simulated windows on one core. Prints file size, largest difference in probability,
changed decisions and milliseconds per window, or the error.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

import ecgtune
from ecgtune.deployment.graph import InferenceGraph
from ecgtune.deployment.program import Program, to_program

Predict = Callable[[np.ndarray], np.ndarray]


def executorch(graph: InferenceGraph, example: torch.Tensor, file: Path) -> Predict:
    """ExecuTorch with the XNNPACK backend, as `ecgtune export` writes it."""
    _, leads, samples = example.shape
    file.write_bytes(to_program(graph, leads, samples, "{}"))
    return Program(file).predict


def litert(graph: nn.Module, example: torch.Tensor, file: Path) -> Predict:
    """LiteRT, formerly TensorFlow Lite."""
    import litert_torch  # type: ignore
    from ai_edge_litert.interpreter import Interpreter  # type: ignore

    litert_torch.convert(graph, (example,)).export(str(file))
    interpreter = Interpreter(str(file), num_threads=1)
    interpreter.allocate_tensors()
    source, target = (each[0]["index"] for each in (interpreter.get_input_details(), interpreter.get_output_details()))

    def predict(window: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(source, window)
        interpreter.invoke()
        return interpreter.get_tensor(target)

    return predict


def main() -> None:
    torch.set_num_threads(1)
    signal = ecgtune.simulate(64, seed=3).signal
    model = ecgtune.load_model("ecg-fm-tiny").eval()
    spec = model.base_encoder.input_spec
    preprocessing = ecgtune.Preprocessing(spec.sampling_rate, spec.resampling)
    graph = InferenceGraph(model, preprocessing, "binary", 100.0).eval()
    with torch.no_grad():
        expected = graph(torch.from_numpy(signal)).numpy()
    for make in (executorch, litert):
        try:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder, "model")
                predict = make(graph, torch.from_numpy(signal[:1]), file)
                found, seconds = [], []
                for row in range(len(signal)):
                    started = time.perf_counter()
                    found.append(predict(signal[row : row + 1])[0])
                    seconds.append(time.perf_counter() - started)
                difference = np.abs(np.array(found) - expected).max()
                changed = int(((np.array(found)[:, 1] >= 0.5) != (expected[:, 1] >= 0.5)).sum())
                print(
                    f"{make.__name__}: {file.stat().st_size / 1e6:.1f} MB, largest difference {difference:.1g}, "
                    f"{changed} decisions changed, {1000 * np.median(seconds):.3g} ms"
                )
        except Exception as error:  # an experiment: any failure is its result
            print(f"{make.__name__}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")


if __name__ == "__main__":
    main()
