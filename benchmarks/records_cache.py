"""Time the first pass over simulated ten-second 12-lead recordings, beside wfdb and scipy alone on the same cores.

The recordings are written with wfdb at 500 Hz. "alone" reads each with `wfdb.rdrecord`, resamples it with
`scipy.signal.resample_poly` and keeps nothing, in as many processes; "first" is `read_records` into an empty cache;
"second" opens the cache again and touches every sample. All are run from this process, with its imports done and
processes started anew for each; peak memory is the sum over this process and its children, each with what it shares.

Afterwards the residual network, which of all encoders does the least work for what it reads, is trained for an epoch on
lead II of these windows, in a process of its own: from the cache, whose pages are dropped from memory before, and from
a copy in memory. Both times include the preparation of the windows.

    python benchmarks/records_cache.py --records 10000

Everything is written below one temporary folder (TMPDIR), which is removed at the end: about 170 kB for each recording.
"""

import argparse
import datetime
import json
import os
import platform
import shlex
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import scipy
import wfdb
from scipy.signal import resample_poly

from ecgtune.data.leads import arrange_leads
from ecgtune.data.simulation import simulate
from ecgtune.io.records.reading import RecordSettings, read_records

RESULT = Path(__file__).parent / "results" / "records_cache.json"
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
RATE, MODEL_RATE, SECONDS = 500, 100, 10
BATCH = 100


def write_recordings(folder: Path, first: int, count: int) -> None:
    """12 leads each: eight independent simulated ones, and the four that follow from I and II."""
    recorded = [lead for lead in LEADS if lead not in ("III", "aVR", "aVL", "aVF")]
    signal = simulate(count * len(recorded), sampling_rate=RATE, seconds=SECONDS, seed=first).signal[:, 0]
    for index, leads in enumerate(signal.reshape(count, len(recorded), -1)):
        whole, _, _ = arrange_leads(leads, recorded, LEADS)
        wfdb.wrsamp(
            f"{first + index:05}",
            fs=RATE,
            units=["mV"] * 12,
            sig_name=list(LEADS),
            p_signal=whole.T.astype(np.float64),
            fmt=["16"] * 12,
            adc_gain=[1000] * 12,
            baseline=[0] * 12,
            write_dir=str(folder),
        )


def write_all(folder: Path, records: int, workers: int) -> None:
    """`write_recordings` for all, in processes."""
    firsts = range(0, records, BATCH)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for done in [pool.submit(write_recordings, folder, first, min(BATCH, records - first)) for first in firsts]:
            done.result()


def alone(paths: list[str]) -> int:
    """What nobody can do without: the reader library and the filter."""
    for path in paths:
        signal = wfdb.rdrecord(path, return_res=32).p_signal
        resample_poly(signal.astype(np.float32), MODEL_RATE, RATE, axis=0)
    return len(paths)


def in_processes(paths: list[str], workers: int) -> None:
    chunks = [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        assert sum(pool.map(alone, chunks)) == len(paths)


def epoch(table: Path, folder: Path, settings: RecordSettings, out: Path, in_memory: bool) -> float:
    """Seconds of a training of one epoch, from the cache or from a copy of it in memory, made before the clock runs."""
    from ecgtune import workflows
    from ecgtune.recipe.recipe import load_recipes

    dataset = read_records(table, folder, settings=settings)
    if not in_memory:
        drop_pages(Path(dataset.signal.filename))
    signal = dataset.signal[:, [LEADS.index("II")]] if in_memory else dataset.signal[:, LEADS.index("II")][:, None]
    dataset = replace(dataset, signal=signal, leads=("II",))
    (recipe,) = load_recipes("resnet")
    recipe = replace(recipe, optimisation=replace(recipe.optimisation, epochs=1, batch_size=32))
    start = time.perf_counter()
    workflows.train(dataset, recipe, out=out, quiet=True)
    return time.perf_counter() - start


def drop_pages(file: Path) -> None:
    """Let the system forget what it holds of a file, so that it is read from the disk."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def epochs(rounds: int, root: Path, **data: Any) -> dict[str, list[float]]:
    """Seconds of `epoch` from the cache and from memory, taken in turn, each in a process of its own."""
    seconds: dict[str, list[float]] = {"cache": [], "memory": []}
    for number in range(rounds):
        for kind, values in seconds.items():
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                out = root / f"run-{kind}-{number}"
                values.append(pool.submit(epoch, out=out, in_memory=kind == "memory", **data).result())
    return seconds


def measured(run: Callable[[], object]) -> tuple[float, int]:
    """Seconds, and the peak of memory (bytes) of this process and its children."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the first pass over recordings.")
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epoch-rounds", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        folder, table = root / "records", root / "labels.csv"
        folder.mkdir()
        os.environ["ECGTUNE_CACHE"] = str(root / "cache")
        write_all(folder, options.records, options.workers)
        table.write_text("record,label\n" + "".join(f"{i:05},{i % 2}\n" for i in range(options.records)))
        paths = [str(folder / f"{i:05}") for i in range(options.records)]
        settings = RecordSettings(sampling_rate=MODEL_RATE, workers=options.workers)

        def first_pass() -> None:
            shutil.rmtree(root / "cache", ignore_errors=True)
            read_records(table, folder, settings=settings)

        def second() -> None:
            read_records(table, folder, settings=settings).signal.max()

        kinds = {"alone": lambda: in_processes(paths, options.workers), "first": first_pass, "second": second}
        results: dict[str, list[tuple[float, int]]] = {kind: [] for kind in kinds}
        for _ in range(options.rounds):
            for kind, run in kinds.items():
                results[kind].append(measured(run))
        size = sum(file.stat().st_size for file in folder.iterdir())
        trained = epochs(options.epoch_rounds, root, table=table, folder=folder, settings=settings)

    best = {kind: min(seconds for seconds, _ in values) for kind, values in results.items()}
    result = {
        "what": f"seconds for {options.records} simulated recordings of 12 leads, {SECONDS} s, {RATE} Hz in WFDB files,"
        f" resampled to {MODEL_RATE} Hz; 'alone' is wfdb and scipy without keeping anything, 'first' the pass into the"
        " cache with all checks, 'second' from the cache, every sample touched; the best of the rounds, taken in turn",
        "command": shlex.join(["python", "benchmarks/records_cache.py", *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "machine": {"processor": platform.processor() or platform.machine(), "threads": os.cpu_count()},
        "load_average": os.getloadavg()[0],
        "versions": {"python": platform.python_version(), "wfdb": wfdb.__version__, "scipy": scipy.__version__},
        "recordings": options.records,
        "workers": options.workers,
        "file_bytes": size,
        "seconds": {kind: round(value, 3) for kind, value in best.items()},
        "all_seconds": {kind: [round(seconds, 3) for seconds, _ in values] for kind, values in results.items()},
        "speed_over_alone": round(best["alone"] / best["first"], 3),
        "peak_memory_bytes": {kind: max(peak for _, peak in values) for kind, values in results.items()},
        "epoch": "seconds of an epoch of the residual network on lead II with the preparation; 'cache' from the disk",
        "epoch_seconds": {kind: [round(seconds, 3) for seconds in values] for kind, values in trained.items()},
        "epoch_memory_over_cache": round(min(trained["memory"]) / min(trained["cache"]), 3),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["seconds"]), f"speed = {result['speed_over_alone']} of wfdb and scipy alone")
    print(json.dumps(trained), f"an epoch from the cache: {result['epoch_memory_over_cache']} of the speed from memory")


if __name__ == "__main__":
    main()
