"""Time of reading a CSV file of windows, compared with pandas, and recordings, compared with wfdb and scipy.

    python benchmarks/reading.py [--windows 65425] [--recordings 10000]

The recordings are simulated: 12 leads, 10 s, 500 Hz, WFDB. "alone" reads each with `wfdb.rdrecord` and resamples it
with `scipy.signal.resample_poly` in the same number of processes, without storing it; "first" reads into an empty
cache; "second" reads all samples from the cache. The reads alternate. Medians (CSV) and the fastest round (recordings)
are written to benchmarks/results/reading-KIND.json and docs/performance.md. The files are in a temporary folder
(TMPDIR), about 170 kB per recording.
"""

import argparse
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import wfdb
from encoders import medians
from machines import described, result_file, write_result
from pages import amount, markdown, update
from scipy.signal import resample_poly

from ecgtune.data.leads import arrange_leads
from ecgtune.data.simulation import simulate
from ecgtune.io.records.reading import RecordSettings, read_records
from ecgtune.io.windows import WindowSettings, read_dataset
from ecgtune.io.writing import write_csv

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
RATE, MODEL_RATE, SECONDS = 500, 100, 10
BATCH = 100


def csv_file(folder: Path, windows: int, rounds: int) -> dict[str, Any]:
    """Return the median seconds of each way to read a CSV file of windows of 600 samples."""
    path = write_csv(replace(simulate(windows), group=None), folder / "windows.csv")

    def first() -> None:
        os.utime(path)  # a new modification time makes the cache entry outdated
        read_dataset(path, sampling_rate=MODEL_RATE)

    ways = {
        "pandas": lambda: pd.read_csv(path),
        "in_memory": lambda: read_dataset(path, sampling_rate=MODEL_RATE, settings=WindowSettings(cache=False)),
        "first": first,
        "second": lambda: read_dataset(path, sampling_rate=MODEL_RATE).signal.max(),
    }
    return {"windows": windows, "file_bytes": path.stat().st_size, "seconds": medians(ways, rounds)}


def write_recordings(folder: Path, first: int, count: int) -> None:
    """Write recordings with eight independent simulated leads and the four derived from I and II."""
    recorded = [lead for lead in LEADS if lead not in ("III", "aVR", "aVL", "aVF")]
    signal = simulate(count * len(recorded), sampling_rate=RATE, seconds=SECONDS, seed=first).signal[:, 0]
    header = {"fs": RATE, "units": ["mV"] * 12, "sig_name": list(LEADS), "write_dir": str(folder)}
    header |= {"fmt": ["16"] * 12, "adc_gain": [1000] * 12, "baseline": [0] * 12}
    for index, leads in enumerate(signal.reshape(count, len(recorded), -1)):
        whole, _, _ = arrange_leads(leads, recorded, LEADS)
        wfdb.wrsamp(f"{first + index:05}", p_signal=whole.T.astype(np.float64), **header)


def alone(paths: list[str]) -> int:
    """Read and resample recordings with the libraries only, a lower bound for every reader."""
    for path in paths:
        signal = wfdb.rdrecord(path, return_res=32).p_signal
        resample_poly(signal.astype(np.float32), MODEL_RATE, RATE, axis=0)
    return len(paths)


def recordings(folder: Path, count: int, rounds: int, workers: int) -> dict[str, Any]:
    """Return seconds and peak memory of each way to read a folder of recordings."""
    (folder / "records").mkdir()
    table = folder / "labels.csv"
    table.write_text("record,label\n" + "".join(f"{i:05},{i % 2}\n" for i in range(count)))
    firsts = range(0, count, BATCH)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for done in [pool.submit(write_recordings, folder / "records", i, min(BATCH, count - i)) for i in firsts]:
            done.result()
    paths = [str(folder / "records" / f"{i:05}") for i in range(count)]
    settings = RecordSettings(sampling_rate=MODEL_RATE, workers=workers)

    def in_processes() -> None:
        chunks = [paths[start : start + BATCH] for start in firsts]
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            assert sum(pool.map(alone, chunks)) == count

    def first() -> None:
        shutil.rmtree(os.environ["ECGTUNE_CACHE"], ignore_errors=True)
        read_records(table, folder / "records", settings=settings)

    def second() -> None:
        read_records(table, folder / "records", settings=settings).signal.max()

    ways = {"alone": in_processes, "first": first, "second": second}
    found: dict[str, list[tuple[float, int]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(measured(way))
    return {
        "recordings": count,
        "workers": workers,
        "file_bytes": sum(file.stat().st_size for file in (folder / "records").iterdir()),
        "seconds": {name: min(seconds for seconds, _ in values) for name, values in found.items()},
        "peak_memory_bytes": {name: max(peak for _, peak in values) for name, values in found.items()},
    }


def measured(run: Callable[[], object]) -> tuple[float, int]:
    """Return the seconds of a call and the peak memory (bytes) of this process and its children."""
    me, peak, done = psutil.Process(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.05):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            peak = max(peak, total)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    try:
        run()
    finally:
        seconds = time.perf_counter() - start
        done.set()
        watcher.join()
    return seconds, peak


def table(result: Mapping[str, Any]) -> str:
    """Return Markdown tables of the CSV file and of the recordings."""
    one, many = result["csv"], result["recordings"]
    ways = {
        "`pandas.read_csv`": "pandas",
        "ecgtune, without the cache": "in_memory",
        "ecgtune, first read, into the cache": "first",
        "ecgtune, from the cache": "second",
    }
    passes = {
        "wfdb and scipy only, without storing": "alone",
        "first read, with all checks, into the cache": "first",
        "from the cache, all samples": "second",
    }
    rows = [
        (title, f"{many['seconds'][name]:.1f}", amount(many["peak_memory_bytes"][name], "bytes"))
        for title, name in passes.items()
    ]
    heading = (
        f"{many['recordings']:,} simulated recordings of 12 leads, 10 s at 500 Hz as WFDB "
        f"({amount(many['file_bytes'], 'bytes')}), resampled to 100 Hz, {many['workers']} processes:\n"
    )
    return "\n".join(
        [
            f"{described(result)}. A CSV file of {one['windows']:,} windows of 600 samples "
            f"({amount(one['file_bytes'], 'bytes')}):\n",
            markdown(("", "seconds"), [(title, f"{one['seconds'][name]:.2f}") for title, name in ways.items()]),
            heading,
            markdown(("", "seconds", "peak memory of all processes"), rows),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--windows", type=int, default=65_425)
    parser.add_argument("--recordings", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        os.environ["ECGTUNE_CACHE"] = str(Path(name) / "cache")
        one = csv_file(Path(name), options.windows, rounds=7)
        many = recordings(Path(name), options.recordings, rounds=3, workers=options.workers)
    write_result(result_file("reading"), {"csv": one, "recordings": many})
    update()


if __name__ == "__main__":
    main()
