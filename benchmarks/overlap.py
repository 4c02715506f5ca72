"""Planted copies that the fingerprints of `ecgtune data overlap` find, false matches, and seconds.

    python benchmarks/overlap.py --data ../shared/data

The recordings are those of the CinC 2017 pool at 300 Hz, and lead II of 500 recordings of PTB-XL, which have none in
common. Changed copies of the first ten seconds of recordings are compared with all of them.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machines import RESULTS, described, write_result
from pages import markdown, replace_section

from ecgtune.data.beat_prints import BeatPrints, beat_prints, matching_pairs
from ecgtune.data.signal.filters import resample
from ecgtune.io.beat_prints import PRETRAINING, prints_of, read_prints
from ecgtune.io.recordings import read_recordings
from ecgtune.utils.files import json_value
from ecgtune.workflows.overlap import recordings_seen

RESULT = RESULTS / "overlap.json"
PAGE = RESULTS.parents[1] / "docs" / "howto" / "overlap.md"
BUNDLED = RESULTS.parents[1] / "src" / "ecgtune" / "models" / "ecg_fm" / "bundled" / "ecg-fm-tiny" / PRETRAINING
RATE, SECONDS, PLANTED, TIMED = 300.0, 10, 2000, 20_000
RATES = (100.0, 125.0, 200.0, 250.0, 360.0, 500.0)

Changed = tuple[np.ndarray, float]


def scaled(signal: np.ndarray, rate: float, rng: np.random.Generator) -> Changed:
    return signal * rng.uniform(0.1, 5) + rng.uniform(-500, 500), rate


def resampled(signal: np.ndarray, rate: float, rng: np.random.Generator) -> Changed:
    to = float(rng.choice(RATES))
    return resample(signal, rate, to), to


def cropped(signal: np.ndarray, rate: float, rng: np.random.Generator, most: float = 1.0) -> Changed:
    kept = int(len(signal) * rng.uniform(0.7, most))
    start = rng.integers(0, len(signal) - kept + 1)
    return signal[start : start + kept], rate


def all_of_them(signal: np.ndarray, rate: float, rng: np.random.Generator) -> Changed:
    for change in (cropped, scaled, resampled):
        signal, rate = change(signal, rate, rng)
    return signal, rate


CHANGES: dict[str, Callable[[np.ndarray, float, np.random.Generator], Changed]] = {
    "none": lambda signal, rate, rng: (signal, rate),
    "gain 0.1 to 5, offset": scaled,
    "another rate, 100 to 500 Hz": resampled,
    "0 to 30 % cut off": cropped,
    "30 % cut off": lambda signal, rate, rng: cropped(signal, rate, rng, 0.7),
    "gain, rate and 0 to 30 % cut off": all_of_them,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    pool = read_recordings(data / "pool_cinc2017_300hz_index.npz", sampling_rate=RATE)
    bounds = zip(pool.offset[:-1].tolist(), pool.offset[1:].tolist(), strict=True)
    whole = [np.asarray(pool.samples[0, start:stop]) for start, stop in bounds]
    samples = int(RATE * SECONDS)
    tens = [each[:samples] for each in whole if len(each) >= samples]
    known = beat_prints(tens, RATE)
    found = {"recall": {name: recall(change, tens[:PLANTED], known) for name, change in CHANGES.items()}}
    found["false"] = {
        "CinC 2017, 10 s, against each other": false_matches(known, known, same=True),
        "PTB-XL, lead II, against CinC 2017, 10 s": false_matches(ptbxl(data), known),
        **windows_against_pretraining(data),
    }
    found |= {"seconds": seconds(whole, samples), "bytes_per_recording": len(known.packed()) / len(known)}
    write_result(RESULT, found)
    replace_section(PAGE, "overlap", table())


def recall(change: Any, signals: Sequence[np.ndarray], known: BeatPrints) -> dict[str, float]:
    """Fraction of changed copies that match their original, and pairs with others."""
    rng = np.random.default_rng(0)
    made = [change(signal.astype(np.float64), RATE, rng) for signal in signals]
    pairs, _ = matching_pairs(beat_prints([each for each, _ in made], [rate for _, rate in made]), known)
    own = pairs[:, 0] == pairs[:, 1]
    return {"copies": len(signals), "found": len(np.unique(pairs[own, 0])) / len(signals), "others": int((~own).sum())}


def false_matches(first: BeatPrints, second: BeatPrints, *, same: bool = False) -> dict[str, float]:
    """Pairs of different recordings that match, and recordings of the first in such a pair."""
    pairs, _ = matching_pairs(first, second)
    if same:
        pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    compared = len(first) * (len(first) - 1) // 2 if same else len(first) * len(second)
    return {"pairs": compared, "matches": len(pairs), "recordings": len(first), "matched": len(np.unique(pairs[:, 0]))}


def ptbxl(data: Path) -> BeatPrints:
    with np.load(data / "ptbxl500_500hz.npz") as arrays:
        return beat_prints(list(arrays["X"][:, arrays["leads"].tolist().index("II")]), 500.0)


def windows_against_pretraining(data: Path) -> dict[str, Any]:
    """Windows of 6 s against the recordings that the bundled encoder was pretrained on, as `compare` compares them."""
    known = read_prints(BUNDLED)
    windows = prints_of(data / "cinc2017_windows.npz")
    with np.load(data / "cinc2017_windows.npz") as arrays:
        record, split = arrays["record"].astype(str), arrays["split"].astype(str)
    pairs, shared = matching_pairs(windows, known)
    seen = recordings_seen(record, pairs, shared)
    left_out = split == "val"
    held = np.unique(record[left_out])
    trained = np.unique(record[~left_out])
    return {
        "CinC 2017, windows of 6 s of recordings left out, against the pretraining": {
            "pairs": int(left_out.sum()) * len(known), "matches": int(left_out[pairs[:, 0]].sum()),
            "recordings": len(held), "matched": int(np.isin(held, seen).sum()),
        },
        "seen": {"recordings": len(trained), "found": int(np.isin(trained, seen).sum())},
    }  # fmt: skip


def seconds(whole: Sequence[np.ndarray], samples: int) -> dict[str, float]:
    """Seconds to fingerprint 20,000 recordings of ten seconds, and to compare them with themselves."""
    starts = [range(0, len(each) - samples + 1, samples // 2) for each in whole]
    parts = [each[start : start + samples] for each, own in zip(whole, starts, strict=True) for start in own][:TIMED]
    beat_prints(parts[:10], RATE)  # imports
    begin = time.perf_counter(), time.process_time()
    found = beat_prints(parts, RATE)
    middle = time.perf_counter(), time.process_time()
    matching_pairs(found, found)
    end = time.perf_counter(), time.process_time()
    return {
        "recordings": len(parts),
        "fingerprint": middle[0] - begin[0], "compare": end[0] - middle[0],
        "fingerprint_processor": middle[1] - begin[1], "compare_processor": end[1] - middle[1],
    }  # fmt: skip


def table() -> str:
    """Markdown of the result file."""
    result = json_value(RESULT)
    recalls = [
        (name, f"{each['copies']:,}", f"{100 * each['found']:.2f} %", str(each["others"]))
        for name, each in result["recall"].items()
    ]
    seen = result["false"]["seen"]
    false = [
        (name, f"{each['pairs']:,}", str(each["matches"]), f"{each['matched']} of {each['recordings']:,}")
        for name, each in result["false"].items()
        if name != "seen"
    ]
    took = result["seconds"]
    return "\n".join(
        [
            markdown(("change of a copy", "copies", "found", "matches with others"), recalls),
            markdown(("different recordings", "pairs", "matches", "recordings matched"), false),
            f"Of {seen['recordings']:,} recordings of the pretraining, {seen['found']:,} are noticed by their windows "
            f"of 6 s. {took['recordings']:,} recordings of ten seconds take {took['fingerprint_processor']:.0f} s of "
            f"one processor ({took['fingerprint']:.0f} s on a clock, beside other work), and their comparison with "
            f"themselves {took['compare_processor']:.0f} s ({took['compare']:.0f} s); a fingerprint has "
            f"{result['bytes_per_recording']:.0f} bytes. {described(result)}.\n",
        ]
    )


if __name__ == "__main__":
    main()
