"""Exported files beside their runs: size, speed on one core, agreement, memory; and many recordings streamed.

    python benchmarks/export.py [--windows 400] [--recordings 10000] [--only embedded full stream]

fine-tunes the bundled encoder (LoRA) on recordings of CinC 2017, or simulated ones where ../shared is missing, and an
encoder of ECG-FM's size with random weights (linear probe) on simulated windows with and without a tone, which such
features tell apart; exports each in float32 and int8; and compares them with torch in float32: records per second,
a window at a time, and a process that predicts one recording of ten seconds. Times are processor seconds of one core.
Then an exported file predicts many recordings. Results go to benchmarks/results/export-KIND.json, whose other parts
`--only` keeps, and to docs/performance.md.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from encoders import FULL_SIZE, full_size, medians
from machines import command, described, result_file, write_result
from pages import amount, markdown, times, update
from speed.roofline import demand

import ecgtune
from ecgtune.deployment.run import read_run
from ecgtune.runtime import Model
from ecgtune.utils.files import json_value
from ecgtune.workflows.environment import now

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "cinc2017_windows.npz"
EMBEDDED, FULL = "ecg-fm-tiny, LoRA", f"{FULL_SIZE}, linear probe"
PARTS = ("embedded", "full", "stream")
BATCH, ROUNDS = 8, 5
SQUARE = 2048  # rows and columns of the matrices whose product gives the rate of the core
#: Predicts with the command line, and writes processor seconds, peak memory (KiB), memory at the end without mapped
#: files (KiB), and whether torch was imported. Not ru_maxrss, which begins at the memory of the process that started
#: this one.
CHILD = """
import resource, sys
from ecgtune.cli.main import main
main(sys.argv[1:])
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
seconds = sum(each.ru_utime + each.ru_stime for each in used)
status = dict(line.split(":") for line in open("/proc/self/status"))
peak, own = (status[name].split()[0] for name in ("VmHWM", "RssAnon"))
print("used", seconds, peak, own, "torch" in sys.modules)
"""


def run_of(model: str | Path, method: Any, data: ecgtune.Dataset, folder: Path, epochs: int) -> Path:
    """Fine-tune and return the run folder."""
    recipe = ecgtune.recipe(method, epochs=epochs, batch_size=16, device="cpu", precision="fp32")
    loaded = ecgtune.load_model(model, classes=data.classes, leads=data.leads)
    ecgtune.fine_tune(data, recipe, model=loaded, out=folder)
    return folder


def process(predictor: Path, data: Path, folder: Path, *words: str) -> dict[str, Any]:
    """Predict in a process of its own: seconds, processor seconds, peak memory (bytes), whether torch was imported."""
    flags = ["predict", predictor, data, "--out", folder / "out", "--quiet"]
    flags += ["--sampling-rate", "100", "--unit", "mV", "--lead-names", "II", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ECGTUNE_CACHE": tempfile.mkdtemp(dir=folder)}
    command = [sys.executable, "-c", CHILD, *map(str, flags)]
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    seconds, peak, own, with_torch = done.stdout.split("used ")[1].split()
    return {
        "elapsed": time.perf_counter() - started,
        "seconds": float(seconds),
        "bytes": 1024 * float(peak),
        "own_bytes": 1024 * float(own),
        "torch": with_torch == "True",
    }


def tones(folder: Path, count: int) -> ecgtune.Dataset:
    """Simulated windows, half of the recordings with a tone of 25 Hz: a task for an encoder of random weights."""
    data = ecgtune.simulate(count, seed=0)
    noisy = (np.unique(data.group, return_inverse=True)[1] % 2).astype(np.int64)
    tone = 0.3 * np.sin(2 * np.pi * 25 * np.arange(data.samples) / data.sampling_rate)
    file = folder / "tones.npz"
    signal = (data.signal + noisy[:, None, None] * tone).astype(np.float32)
    np.savez(file, signal=signal, label=noisy, group=data.group, sampling_rate=data.sampling_rate, leads=data.leads)
    return ecgtune.read_dataset(file)


def rates(run: Path, files: Mapping[str, Path]) -> dict[str, Any]:
    """Windows per second on one core, in batches, of the run in float32 and of its exported files; calls alternate.

    "operations": of the products for a window; "product": operations per second of one large matrix product of torch.
    """
    loaded = read_run(run)
    facts = loaded.trained_on
    signal = np.random.default_rng(0).standard_normal((BATCH, len(loaded.leads), facts["samples"]), np.float32)
    rate = facts["sampling_rate"]
    one, other = torch.randn(2, SQUARE, SQUARE)
    ways: dict[str, Callable[[], Any]] = {
        "torch": lambda: loaded.predict(signal, rate, precision="fp32"),
        "product": lambda: one @ other,
    }
    for name, file in files.items():
        ways[name] = partial(Model(file, threads=1).predict, signal, rate)
    taken = medians(ways, ROUNDS, time.process_time)
    product = 2 * SQUARE**3 / taken.pop("product")
    prepared = torch.from_numpy(loaded.preprocessing(signal, rate))
    operations = demand(loaded.model, lambda: loaded.model(prepared), "fp32", training=False).operations / BATCH
    return {
        "records_per_second": {name: BATCH / seconds for name, seconds in taken.items()},
        "operations": operations,
        "product": product,
    }


def measured(title: str, run: Path, recording: Path, folder: Path) -> dict[str, Any]:
    """Export a run in both formats; size, agreement, speed and the cost of a process for each, and for the run."""
    files, formats = {}, {}
    for precision in ("float32", "int8"):
        file = files[precision] = folder / f"{precision}.onnx"
        report = ecgtune.export(run, file, ecgtune.ExportSettings(int8=precision == "int8")).report
        formats[precision] = {
            "weights": report["weights"],
            "bytes": file.stat().st_size,
            "seconds": report["seconds_per_window"],
            "kernels": report["kernels"],
            "windows": report["windows"],
            "process": min((process(file, recording, folder) for _ in range(3)), key=lambda each: each["seconds"]),
        }
    parameters = json_value(run / "metrics.json")["parameters"]["total"]
    return {
        "title": title,
        "formats": formats,
        **rates(run, files),
        "torch": {"bytes": 4 * parameters, "process": process(run, recording, folder)},
    }


def streamed(file: Path, recording: Path, count: int, folder: Path) -> list[dict[str, Any]]:
    """Predict a tenth of `count` recordings, links to one file, and all of them, in a process each."""
    rows = []
    for number in (count // 10, count):
        place = folder / f"recordings-{number}"
        place.mkdir()
        for index in range(number):
            os.link(recording, place / f"r{index:05}.npy")
        rows.append({"recordings": number, **process(file, place, folder, "--workers", "1")})
    return rows


def requirements(result: Mapping[str, Any]) -> list[tuple[str, str, str, bool]]:
    """What an exported file must reach: (subject, limit, measured, whether it is reached)."""
    rows = []
    for name in ("embedded", "full"):
        part = result[name]
        of = part["title"].partition(",")[0] if name == "embedded" else "ECG-FM's size"
        exact, small = (part["formats"][each] for each in ("float32", "int8"))
        difference, changed, _ = _worst(exact)
        found = f"{difference:.1g}, {changed}"
        reached = difference <= 1e-5 and not changed
        rows.append((f"{of}, float32: difference in probability, changed decisions", "1e-5, 0", found, reached))
        _, _, fraction = _worst(small)
        lost = max(_lost(each) for each in small["kernels"].values())
        found = f"{100 * fraction:.2g} %, {lost:.2g}"
        title = f"{of}, int8: changed decisions, AUROC lost, both kinds of kernels"
        rows.append((title, "0.5 %, 0.002", found, fraction <= 0.005 and lost <= 0.002))
    small = result["embedded"]["formats"]["int8"]
    values = (1000 * small["seconds"]["onnxruntime"], small["bytes"] / 1e6, small["process"]["bytes"] / 1e6)
    found = f"{values[0]:.3g} ms, {values[1]:.1f} MB, {values[2]:.0f} MB"
    reached = values[0] <= 10 and values[1] <= 5 and values[2] <= 150 and not small["process"]["torch"]
    rows.append(("embedded, int8: a 6 s window, file, memory of a process", "10 ms, 5 MB, 150 MB", found, reached))
    seconds = small["process"]["seconds"]
    rows.append(("embedded, int8: start to answer for a 10 s recording", "1 s", amount(seconds), seconds < 1))
    rates = result["full"]["records_per_second"]
    for name, least in (("float32", 1.5), ("int8", 2.5)):
        ratio = rates[name] / rates["torch"]
        rows.append((f"ECG-FM's size, {name}: records/s against torch", f"{least}x", times(ratio), ratio >= least))
    return rows


def _worst(made: Mapping[str, Any]) -> tuple[float, int, float]:
    """Largest difference, changed decisions and their fraction, of windows and recordings with all kernels."""
    parts = [each for kernel in made["kernels"].values() for each in (kernel, kernel["recordings"]) if each]
    names = ("largest_difference", "changed_decisions", "changed_fraction")
    return tuple(max(each[name] for each in parts) for name in names)  # type: ignore[return-value]


def _lost(found: Mapping[str, Any]) -> float:
    return 0.0 if found["auroc"] is None else found["auroc"]["before"] - found["auroc"]["after"]


def table(result: Mapping[str, Any]) -> str:
    """Return Markdown tables: what must be reached, the files, and the recordings that were streamed."""
    rows = []
    for part in (result["embedded"], result["full"]):
        rates = part["records_per_second"]
        made = part["formats"]["float32"]
        cells = [(part["title"], "float32, torch", part["torch"], made["seconds"]["torch"], "torch")]
        cells += [
            (part["title"], f"{name} ({each['weights']})", each, each["seconds"]["onnxruntime"], name)
            for name, each in part["formats"].items()
        ]
        rows += [
            (
                title,
                form,
                amount(each["bytes"], "bytes"),
                amount(seconds),
                f"{rates[name]:.3g}",
                times(rates[name] / rates["torch"]),
                amount(each["process"]["seconds"]),
                amount(each["process"]["bytes"], "bytes"),
            )
            for title, form, each, seconds, name in cells
        ]
    header = (
        *("run", "weights", "file", "a window alone", f"records/s, {BATCH} at a time", "against torch"),
        *("process for one recording: processor time", "its peak memory"),
    )
    full = result["full"]
    reached = [
        f"{full['operations'] * rate / 1e9:.0f} with {'torch' if name == 'torch' else f'onnxruntime in {name}'}"
        for name, rate in full["records_per_second"].items()
    ]
    most = full["product"] / (full["operations"] * full["records_per_second"]["torch"])
    musts = [(*row[:3], "yes" if row[3] else "**no**") for row in requirements(result)]
    streams = [
        (
            f"{row['recordings']:,}",
            amount(row["seconds"]),
            f"{row['recordings'] / row['seconds']:,.0f}",
            amount(row["bytes"], "bytes"),
            amount(row["own_bytes"], "bytes"),
        )
        for row in result["stream"]
    ]
    return "\n".join(
        [
            f"{described(result)}, one core.\n",
            markdown(("subject", "must", "measured", "reached"), musts),
            markdown(header, rows),
            f"A product of large matrices reaches {full['product'] / 1e9:.0f} GFLOP/s with torch on this core; ECG-FM's"
            f" size reaches {', '.join(reached)}. With the kernels of torch, float32 could be at most {times(most)} as"
            " fast as torch.\n",
            "Recordings of ten seconds, ecg-fm-tiny in int8, one process:\n",
            markdown(("recordings", "time", "recordings/s", "peak memory", "without mapped files"), streams),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--windows", type=int, default=400)
    parser.add_argument("--recordings", type=int, default=10_000)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=None)
    asked = parser.parse_args()
    parts = asked.only or PARTS
    torch.set_num_threads(1)
    file, facts = result_file("export"), {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        recording = folder / "recording.npy"
        np.save(recording, ecgtune.simulate(2, seconds=10, seed=3).signal[0, 0])
        if "full" in parts:
            data = tones(folder, asked.windows)
            run = run_of(full_size(folder / "encoder"), ecgtune.LinearProbe(), data, folder / "full", 100)
            facts["full"] = measured(FULL, run, recording, folder)
        if {"embedded", "stream"} & set(parts):
            real, count = REAL.is_file(), 5 * asked.windows
            data = (
                ecgtune.read_dataset(REAL, settings=ecgtune.WindowSettings(limit=count))
                if real
                else ecgtune.simulate(count, seed=0)
            )
            run = run_of("ecg-fm-tiny", ecgtune.LoRA(rank=8), data, folder / "tiny", 1)
            facts["embedded"] = {"real": real, **measured(EMBEDDED, run, recording, folder)}
            facts["stream"] = streamed(folder / "int8.onnx", recording, asked.recordings, folder)
    kept = json_value(file) if asked.only and file.is_file() else {}
    facts = {name: part for name, part in kept.items() if name in PARTS} | facts
    origins = kept.get("parts", {}) | {each: {"command": command(), "date": now()} for each in parts}
    write_result(file, {"windows": asked.windows, "parts": origins, **facts})
    if set(facts) == set(PARTS):
        update()


if __name__ == "__main__":
    main()
