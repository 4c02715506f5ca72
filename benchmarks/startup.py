"""Processor time of short commands relative to `import torch`, and the large modules that they import.

    python benchmarks/startup.py [--rounds 3]

runs each command in a separate process, alternating, and writes medians, ratios and modules to
benchmarks/results/startup-KIND.json and docs/performance.md. `predict` uses a linear probe on one recording of 10 s,
`data check` reads 40 recordings of 10 s.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machines import described, result_file, write_result
from pages import markdown, update

#: Modules whose import takes 0.1 s or more.
HEAVY = (
    *("torch", "torchvision", "peft", "transformers", "accelerate", "scipy.signal", "scipy.stats", "sklearn"),
    *("pandas", "pyarrow", "matplotlib", "wfdb", "huggingface_hub", "rich", "jinja2", "optuna", "neurokit2"),
)
#: Runs a command and writes the modules of `HEAVY` that are then imported to the file of the first argument.
CHILD = f"""
import atexit, pathlib, sys
found = sys.argv.pop(1)
atexit.register(lambda: pathlib.Path(found).write_text(" ".join(m for m in {HEAVY!r} if m in sys.modules)))
if sys.argv[1:] == ["import", "torch"]:
    import torch
else:
    from ecgtune.cli.main import main
    main()
"""
RATE, RECORDINGS = 250, 40


def commands(folder: Path) -> dict[str, list[str]]:
    """Return the arguments of each command by its title; their files are written to `folder`."""
    from ecgtune import fine_tune, simulate

    signal = simulate(RECORDINGS, sampling_rate=RATE, seconds=10, seed=1).signal[:, 0]
    for name in ("records", "one"):
        (folder / name).mkdir()
    np.save(folder / "one" / "r00.npy", signal[0])
    for number, values in enumerate(signal):
        np.save(folder / "records" / f"r{number:02}.npy", values)
    table = folder / "labels.csv"
    table.write_text("recording,label\n" + "".join(f"r{number:02},{number % 2}\n" for number in range(len(signal))))
    fine_tune(simulate(120, seconds=10), "probe", out=folder / "run")
    signals = ["--sampling-rate", str(RATE), "--unit", "mV", "--lead-names", "II", "--quiet"]
    one, out = str(folder / "one"), str(folder / "predictions")
    return {
        "import torch": ["import", "torch"],
        "ecgtune --help": ["--help"],
        "ecgtune models": ["models"],
        "ecgtune methods": ["methods"],
        "ecgtune predict, a probe, one recording": ["predict", str(folder / "run"), one, "--out", out, *signals],
        f"ecgtune data check, {RECORDINGS} recordings": [
            *("data", "check", str(table), "--records", str(folder / "records")),
            *signals,
        ],
    }


def measure(words: Sequence[str], folder: Path) -> tuple[float, list[str]]:
    """Return the processor seconds of a command, child processes included, and its modules of `HEAVY`."""
    found = folder / "modules.txt"
    shutil.rmtree(folder / "cache", ignore_errors=True)
    environment = {**os.environ, "ECGTUNE_CACHE": str(folder / "cache"), "COLUMNS": "120"}
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(found), *words], env=environment, capture_output=True, text=True
    )
    after = os.times()
    if done.returncode:
        raise RuntimeError(f"ecgtune {' '.join(words)} ended with status {done.returncode}: {done.stderr.strip()}")
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return spent, found.read_text().split()


def table(result: Mapping[str, Any]) -> str:
    """Return a Markdown table with one row per command."""
    rows = [
        (f"`{row['command']}`", f"{row['seconds']:.2f}", f"{row['over_torch']:.2f}x", ", ".join(row["modules"]))
        for row in result["rows"]
    ]
    header = ("command", "processor seconds", "/ import torch", "heavy modules imported")
    return f"{described(result)}.\n\n" + markdown(header, rows)


def main(words: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--result", type=Path)
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as place:
        known = commands(Path(place))
        found: dict[str, list[tuple[float, list[str]]]] = {title: [] for title in known}
        for _ in range(options.rounds + 1):
            for title, taken in found.items():
                taken.append(measure(known[title], Path(place)))
    seconds = {title: float(np.median([spent for spent, _ in taken[1:]])) for title, taken in found.items()}
    rows = [
        {
            "command": title,
            "seconds": seconds[title],
            "over_torch": seconds[title] / seconds["import torch"],
            "modules": taken[-1][1],
        }
        for title, taken in found.items()
    ]
    result = write_result(options.result or result_file("startup"), {"rounds": options.rounds, "rows": rows})
    if options.result is None:
        update()
    return result


if __name__ == "__main__":
    main()
