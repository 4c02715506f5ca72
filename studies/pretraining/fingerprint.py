"""Write the fingerprints of the recordings that the bundled encoder was pretrained on, beside its weights.

    python studies/pretraining/fingerprint.py ../shared/data/pool_cinc2017_300hz_index.npz

reads the pool of that pretraining and results/run/recordings.csv, which says what it used. `compare` and `fine-tune`
warn where test recordings are among them. The fingerprints have no names.
"""

import csv
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from ecgtune.data.beat_prints import beat_prints
from ecgtune.io.beat_prints import PRETRAINING, write_prints
from ecgtune.io.recordings import read_recordings

HERE = Path(__file__).parent
RATE = 300.0  # Hz, of the pool
BUNDLED = HERE.parents[1] / "src" / "ecgtune" / "models" / "ecg_fm" / "bundled" / "ecg-fm-tiny"


def main(words: list[str]) -> None:
    if len(words) != 1:
        sys.exit("usage: python studies/pretraining/fingerprint.py POOL")
    with (HERE / "results" / "run" / "recordings.csv").open(newline="", encoding="utf-8") as file:
        used = {row["record"] for row in csv.DictReader(file) if row["use"] in ("train", "val")}
    pool = read_recordings(words[0], sampling_rate=RATE)
    rows = [row for row, name in enumerate(pool.record.tolist()) if name in used]
    if len(rows) != len(used):
        sys.exit(f"{words[0]} has {len(rows)} of the {len(used)} recordings of the pretraining; give its pool")
    signals = [pool.samples[0, pool.offset[row] : pool.offset[row + 1]] for row in rows]
    found = beat_prints(signals, RATE).without_names()
    write_prints(BUNDLED / PRETRAINING, replace(found, name=np.zeros(len(rows), "U1")))
    size = (BUNDLED / PRETRAINING).stat().st_size
    print(f"{len(found)} recordings, {found.comparable.sum()} with beats enough, {size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
