"""Time reading 65,425 windows of 600 samples from CSV: the first read beside pandas, and the second from the cache.

Every round makes one read of each kind, one after the other and in turn first, in a process that has read once to warm
up, so that both meet the same machine. The medians and their ratio go to benchmarks/results/read_csv.json.

    python benchmarks/read_csv.py
"""

import argparse
import datetime
import json
import os
import platform
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow

from ecgtune.data.simulation import simulate
from ecgtune.io.windows import read_dataset
from ecgtune.io.writing import write_csv

RESULT = Path(__file__).parent / "results" / "read_csv.json"


def seconds(read: Callable[[], object]) -> float:
    start = time.perf_counter()
    read()
    return time.perf_counter() - start


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    parser = argparse.ArgumentParser(description="Time reading a CSV of ECG windows.")
    parser.add_argument("--windows", type=int, default=65_425)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["ECGTUNE_CACHE"] = str(folder / "cache")
        path = write_csv(replace(simulate(options.windows), group=None), folder / "windows.csv")

        def first() -> None:
            os.utime(path)  # another modification time: the cache entry is of an older version
            read_dataset(path, sampling_rate=100)

        def in_memory() -> None:
            read_dataset(path, sampling_rate=100, cache=False)

        def second() -> None:
            dataset = read_dataset(path, sampling_rate=100)
            dataset.signal.max()  # every sample, not just the map

        kinds = {"pandas": lambda: pd.read_csv(path), "first": first, "second": second, "in_memory": in_memory}
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        for read in kinds.values():
            read()
        for turn in range(options.rounds):
            order = list(kinds.items())
            for kind, read in order if turn % 2 else reversed(order):
                if kind == "second":
                    read_dataset(path, sampling_rate=100)  # the entry is there, whoever came before
                times[kind].append(seconds(read))
        size = path.stat().st_size

    median = {kind: statistics.median(values) for kind, values in times.items()}
    result = {
        "what": "seconds to read a CSV of one-lead windows; 'first' parses it and writes the cache, 'second' maps the"
        " cache and touches every sample, 'in_memory' parses without the cache",
        "command": shlex.join(["python", "benchmarks/read_csv.py", *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "machine": {"processor": processor(), "threads": os.cpu_count(), "system": platform.system()},
        "versions": {"python": platform.python_version(), "pandas": pd.__version__, "pyarrow": pyarrow.__version__},
        "file": {"windows": options.windows, "columns": 601, "bytes": size},
        "rounds": options.rounds,
        "median_seconds": {kind: round(value, 4) for kind, value in median.items()},
        "all_seconds": {kind: [round(value, 4) for value in values] for kind, values in times.items()},
        "first_over_pandas": round(median["first"] / median["pandas"], 3),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["median_seconds"]), f"first / pandas = {result['first_over_pandas']}")


if __name__ == "__main__":
    main()
