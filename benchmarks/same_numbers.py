"""Small runs of every method, whose predictions two versions of the program must share to the bit on one machine.

    python benchmarks/same_numbers.py ../shared/data --out before    # with the one version installed
    python benchmarks/same_numbers.py ../shared/data --out after --against before

Every method on ecg-fm-tiny, three on openecg, a second seed, several classes, recordings, and several labels.
OUT/digests.json has the sha256 of predictions.csv of each run. Runs that are there are kept.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from pathlib import Path

METHODS = (
    "probe", "probe-mix", "lora", "lora-plus", "rslora", "dora", "pissa", "adalora", "vera", "oft", "ia3", "adapter",
    "side", "norm-bias", "top-layers", "full", "resnet", "inception", "s4d",
)  # fmt: skip
WINDOWS, RHYTHMS = ("cinc2017_windows.npz", "--limit", "300"), ("cinc2017_rhythms.npz", "--limit", "300")
RECORDINGS = ("records/cinc2017/labels.csv", "--records", "records/cinc2017", "--resample", "100", "--window", "6")
LABELS = (
    *("records/ptbxl/labels.csv", "--records", "records/ptbxl", "--labels", "NORM", "STTC", "--batch-size", "8"),
    *("--resample", "100", "--leads", "II", "--window", "5"),
)
RUNS = {
    **{method: (*WINDOWS, "--method", method) for method in METHODS},
    **{
        f"openecg-{method}": (*WINDOWS, "--method", method, "--model", "openecg")
        for method in ("probe", "lora", "full")
    },
    "seed-1": (*WINDOWS, "--method", "lora", "--seed", "1"),
    "classes": (*RHYTHMS, "--method", "lora"),
    "recordings": (*RECORDINGS, "--method", "lora"),
    "several-labels": (*LABELS, "--method", "lora"),
}
COMMON = ("--epochs", "1", "--precision", "fp32", "--device", "cpu", "--quiet")


def digest(data: Path, folder: Path, arguments: tuple[str, ...]) -> str:
    predictions = folder / "predictions.csv"
    if not predictions.is_file():
        command = [sys.executable, "-m", "ecgtune", "fine-tune", *arguments, *COMMON, "--out", str(folder.resolve())]
        subprocess.run(command, check=True, cwd=data)
    return hashlib.sha256(predictions.read_bytes()).hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder of the data")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs and of digests.json")
    parser.add_argument("--against", type=Path, help="folder of another version")
    given = parser.parse_args()
    found = {}
    for name, arguments in RUNS.items():
        found[name] = digest(given.data, given.out / name, arguments)
        print(name, found[name][:12], flush=True)
    (given.out / "digests.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if given.against is None:
        return 0
    other = json.loads((given.against / "digests.json").read_text(encoding="utf-8"))
    differing = sorted(name for name in {*found, *other} if found.get(name) != other.get(name))
    print(
        f"{len(found) - len(differing)} of {len(found)} runs are equal"
        + "".join(f"\n{name} differs" for name in differing)
    )
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
