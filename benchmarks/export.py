"""Exported files beside their runs: size, time of a window on one core, agreement, memory without torch.

    python benchmarks/export.py [--windows 400]

fine-tunes the bundled encoder (LoRA) on recordings of CinC 2017, or simulated ones where ../shared is missing, and an
encoder of ECG-FM's size (linear probe) on simulated windows; exports each in float32 and int8; and predicts one
recording of ten seconds in a process of its own. Results go to benchmarks/results/export-KIND.json and
docs/performance.md.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from encoders import FULL_SIZE, full_size
from machines import described, result_file, write_result
from pages import amount, markdown, times, update

import ecgtune

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "cinc2017_windows.npz"
#: Predicts with an exported file and writes processor seconds and peak memory (KiB).
CHILD = """
import resource, sys
from ecgtune.cli.main import main
main(sys.argv[1:])
assert "torch" not in sys.modules
used = resource.getrusage(resource.RUSAGE_SELF)
print("used", used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


def run_of(model: str | Path, method: Any, data: ecgtune.Dataset, folder: Path, epochs: int) -> Path:
    """Fine-tune and return the run folder."""
    recipe = ecgtune.recipe(method, epochs=epochs, batch_size=16, device="cpu", precision="fp32")
    loaded = ecgtune.load_model(model, classes=data.classes, leads=data.leads)
    ecgtune.fine_tune(data, recipe, model=loaded, out=folder, quiet=True)
    return folder


def process(file: Path, recording: Path, folder: Path) -> dict[str, float]:
    """Predict one recording in a process of its own, and return its processor seconds and peak memory (bytes)."""
    words = ["predict", file, recording, "--out", folder / "out", "--quiet"]
    words += ["--sampling-rate", "100", "--unit", "mV", "--lead-names", "II"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ECGTUNE_CACHE": str(folder / "cache")}
    command = [sys.executable, "-c", CHILD, *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    seconds, memory = done.stdout.split("used ")[1].split()
    return {"process_seconds": float(seconds), "process_bytes": 1024 * float(memory)}


def measured(title: str, run: Path, recording: Path, folder: Path) -> list[dict[str, Any]]:
    """Export a run in both formats, and return size, figures and the cost of a process for each."""
    rows = []
    for int8 in (False, True):
        found = ecgtune.export(run, folder / "model.onnx", ecgtune.ExportSettings(int8=int8))
        report = found.report
        rows.append(
            {
                "model": title,
                "format": report["weights"],
                "bytes": found.path.stat().st_size,
                "seconds": report["seconds_per_window"],
                "kernels": report["kernels"],
                **process(found.path, recording, folder),
            }
        )
    return rows


def table(result: Mapping[str, Any]) -> str:
    """Return a Markdown table of the exported files."""
    rows = []
    for row in result["files"]:
        seconds, kernels = row["seconds"], row["kernels"].values()
        difference = max(each["largest_difference"] for each in kernels)
        changed = max(each["changed_fraction"] for each in kernels)
        rows.append(
            (
                row["model"],
                row["format"],
                amount(row["bytes"], "bytes"),
                amount(seconds["torch"]),
                amount(seconds["onnxruntime"]),
                times(seconds["torch"] / seconds["onnxruntime"]),
                f"{difference:.2g}",
                f"{100 * changed:.2g} %",
                amount(row["process_seconds"]),
                amount(row["process_bytes"], "bytes"),
            )
        )
    header = (
        *("run", "weights", "file", "torch, a window", "onnxruntime", "faster", "largest difference"),
        *("changed decisions", "process for one recording, processor time", "its peak memory"),
    )
    return f"{described(result)}, one core.\n\n{markdown(header, rows)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--windows", type=int, default=400)
    windows = parser.parse_args().windows
    real = ecgtune.read_dataset(REAL, limit=5 * windows) if REAL.is_file() else ecgtune.simulate(5 * windows, seed=0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        recording = folder / "recording.npy"
        np.save(recording, ecgtune.simulate(2, seconds=10, seed=3).signal[0, 0])
        tiny = run_of("ecg-fm-tiny", ecgtune.LoRA(rank=8), real, folder / "tiny", 1)
        full = run_of(
            full_size(folder / "encoder"), ecgtune.LinearProbe(), ecgtune.simulate(windows, seed=0), folder / "full", 20
        )
        files = [
            row
            for title, run in (("ecg-fm-tiny, LoRA", tiny), (f"{FULL_SIZE}, linear probe", full))
            for row in measured(title, run, recording, folder)
        ]
    write_result(result_file("export"), {"windows": windows, "real": REAL.is_file(), "files": files})
    update()


if __name__ == "__main__":
    main()
