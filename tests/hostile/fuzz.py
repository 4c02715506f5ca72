"""Fuzz each reader for a number of seconds: `python tests/hostile/fuzz.py SECONDS [READER ...]` (make fuzz).

Valid files of every format are changed at random, as `test_formats_fuzz.py` does with fixed seeds. Whatever comes of a
change, it has to be a value or our error, within the limits of the corpus. A file that breaks this is kept, and its
name, seed and problem are printed. The exit status is 1 then.

Seconds are processor time of all processes, in turns of `TURN`, the reader with the fewest first. With `--result FILE`
they are added to those in the file, so that a call that was interrupted resumes.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # helpers

import torch

from ecgtune.utils.files import json_value, write_json
from ecgtune.workflows.environment import machine, now
from helpers.ecg_fm import official_content
from helpers.formats import FORMATS
from helpers.pretraining import write_recordings
from hostile import folders, signals
from hostile.test_corpus import BYTES, SECONDS, Worker

TURN = 60.0  # seconds
INTERESTING = (b"\0", b"\xff", b"\x7f", b"-1", b"9" * 12, b"nan", b"inf", b"\x80\x02", b"\xff" * 8, b"\0" * 8, b"1e999")
Seed = tuple[str, Callable[[Path], Path]]


def mutated(content: bytes, random: random.Random) -> bytes:
    """A copy with 1 to 8 changes: bytes replaced, inserted, removed, repeated, or cut off."""
    data = bytearray(content)
    for _ in range(random.randint(1, 8)):
        place, length = random.randrange(len(data) + 1), random.choice((1, 1, 2, 4, 8, 64))
        what = random.randrange(6)
        if what == 0 and place < len(data):
            data[place] ^= 1 << random.randrange(8)
        elif what == 1:
            data[place : place + length] = random.randbytes(length)
        elif what == 2:
            data[place:place] = random.choice(INTERESTING)
        elif what == 3:
            del data[place : place + length]
        elif what == 4:
            data[place:place] = data[place : place + length] * random.choice((1, 2, 50))
        elif random.random() < 0.1:
            del data[place:]
    return bytes(data)


def _torch_file(folder: Path, zipped: bool) -> Path:
    torch.save(official_content(), folder / "model.pt", _use_new_zipfile_serialization=zipped)
    return folder / "model.pt"


def _state(folder: Path) -> Path:
    torch.save(folders.TrainingParts.make().content(), folder / "state.pt")
    return folder / "state.pt"


def _run(folder: Path) -> Path:
    encoder = folders.make_encoder(folder / "encoder")
    return folders.make_run(folder / "run", encoder, folders.Full())


def _csv_windows(folder: Path) -> Path:
    rows = [",".join([*(f"{(i + 3 * j) % 7}.5" for j in range(8)), str(i % 2)]) for i in range(12)]
    (folder / "w.csv").write_text("\n".join([",".join([*(f"signal_{j}" for j in range(8)), "label"]), *rows]) + "\n")
    return folder / "w.csv"


def _npz_windows(folder: Path) -> Path:
    return signals._npz(folder / "w.npz", signal=signals.VALUES.reshape(12, 10), label=[0, 1] * 6, fs=100)


def _recording(name: str) -> Callable[[Path], Path]:
    write, file = FORMATS[name]

    def make(folder: Path) -> Path:
        write(folder)
        return folder / file

    return make


def _xz_pool(folder: Path) -> Path:
    signals._xz(folder, bytes(range(256)) * 100, 12_800)
    return folder / "p_index.npz"


#: Reader -> kind of the worker, what writes a valid file or folder, and the files in it that are changed.
TARGETS: dict[str, tuple[str, Callable[[Path], Path], tuple[str, ...]]] = {
    "checkpoint": ("checkpoint", lambda folder: _torch_file(folder, True), ()),
    "old checkpoint": ("checkpoint", lambda folder: _torch_file(folder, False), ()),
    "converted encoder": (
        "checkpoint",
        lambda folder: folders.make_encoder(folder / "encoder"),
        ("encoder/model.json", "encoder/model.safetensors"),
    ),
    "run": ("run", _run, ("run/metrics.json", "run/best/model.json", "run/best/head.safetensors", "run/recipe.toml")),
    "state": ("state", _state, ()),
    "CSV windows": ("windows", _csv_windows, ()),
    "NPZ windows": ("windows", _npz_windows, ()),
    "NPZ pool": ("pool", lambda folder: write_recordings(folder / "p.npz"), ()),
    "xz pool": ("pool", _xz_pool, ("p_index.npz", "p.delta16.xz")),
    **{f"recording: {name}": ("answered recording", _recording(name), ()) for name in FORMATS},
}


@dataclass
class Reader:
    """What the fuzzing of one reader has come to. `broken`: number and problem of the files that broke a rule."""

    seed: int
    seconds: float = 0.0
    files: int = 0
    refused: int = 0
    broken: list[tuple[int, str]] = field(default_factory=list)

    def fuzz(self, name: str, seconds: float, worker: Worker, kept: Path) -> None:
        """Continue for so many seconds."""
        kind, write, changed = TARGETS[name]
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            main = write(folder)
            files = [folder / file for file in changed] or [main]
            valid = {file: file.read_bytes() for file in files}
            valid_one = worker.read(kind, _main(kind, main))
            assert valid_one["kind"] == "", (name, valid_one)
            left = seconds
            while left > 0:
                started, before = time.process_time(), worker.used()
                file = files[self.files % len(files)]
                file.write_bytes(mutated(valid[file], random.Random(f"{name} {self.seed} {self.files}")))
                found = worker.read(kind, _main(kind, main))
                slow, large = found["seconds"] > SECONDS, found["bytes"] > BYTES
                if found["kind"] not in ("", "ours") or slow or large or "\n" in found["message"]:
                    target = kept / f"{name.replace(' ', '-').replace(':', '')}-{self.seed}-{self.files}"
                    shutil.copytree(folder, target)
                    problem = (
                        f"{found['kind']} {found['message'][:200]!r}, {found['seconds']:.1f} s, {found['bytes']:,} B"
                    )
                    self.broken.append((self.files, problem))
                    print(f"  {target}: {problem}", flush=True)
                file.write_bytes(valid[file])
                self.files, self.refused = self.files + 1, self.refused + (found["kind"] == "ours")
                # The reader may have had a child, which is in its own seconds alone; one that died began anew.
                left -= max(found["seconds"], worker.used() - before) + time.process_time() - started
            self.seconds += seconds - left


def _main(kind: str, path: Path) -> Path:
    """The path that the reader is given: of a WFDB record, the header."""
    headers = sorted(path.parent.glob("rec.hea")) if kind == "answered recording" else []
    return headers[0] if headers else path


def main() -> int:
    """Fuzz the readers that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float, help="of each reader")
    parser.add_argument("readers", nargs="*", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the changes; printed")
    parser.add_argument("--result", type=Path, help="file to which the counts are added")
    given = parser.parse_args()
    kept = Path(tempfile.mkdtemp(prefix="fuzz-"))
    print(f"seed {given.seed}; files that break a rule are kept in {kept}", flush=True)
    before = json_value(given.result)["readers"] if given.result and given.result.exists() else {}
    readers = {name: Reader(given.seed) for name in given.readers or TARGETS} | {
        name: Reader(**counts) for name, counts in before.items()
    }
    with Worker(kept) as worker:
        while unfinished := [name for name in given.readers or TARGETS if readers[name].seconds < given.seconds]:
            name = min(unfinished, key=lambda each: readers[each].seconds)
            reader = readers[name]
            reader.fuzz(name, min(TURN, given.seconds - reader.seconds), worker, kept)
            print(f"{name}: {reader.seconds:.0f} s, {reader.files} files, {reader.refused} refused", flush=True)
            if given.result:
                origin = {"command": "make fuzz", "date": now(), "machine": machine()}
                write_json(given.result, {**origin, "readers": {key: asdict(each) for key, each in readers.items()}})
    broken = {name: readers[name].broken for name in given.readers or TARGETS if readers[name].broken}
    print("\n".join(f"{name}: {len(found)} files broke a rule" for name, found in broken.items()) or "no rule broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
