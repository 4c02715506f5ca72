"""Every hostile file is answered by one line of our error, in 5 s and 500 MB, and nothing of it runs."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hostile.exported import EXPORTED, RECIPES
from hostile.inputs import INPUTS as COMMAND_INPUTS
from hostile.pickled import PAYLOAD, checkpoints
from hostile.signals import POOLS, RECORDINGS, RECORDS, WINDOWS

SECONDS, BYTES = 5.0, 500 << 20
PATIENCE = 120.0  # seconds after which a reader is taken to hang, if it had the processor for a part of them
LEAST_USED, MOST_WAITS = 20.0, 5  # seconds of the processor, and times that a reader without them is waited for
WORKER = Path(__file__).with_name("worker.py")
#: Kinds whose errors name settings; there is no file, or it has the name that the user gave.
WITHOUT_PATH = ("recipe", "pretraining", "map", "request")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peak memory of a process is read from /proc")


class Worker:
    """A process that reads files; one that hangs or dies is replaced."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._process = folder, None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def read(self, kind: str, path: Path) -> dict[str, Any]:
        if self._process is None:
            with (self._folder / "stderr.txt").open("ab") as errors:
                self._process = subprocess.Popen(
                    [sys.executable, str(WORKER)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    cwd=self._folder,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                )
            assert self._line() == "ready\n", (self._folder / "stderr.txt").read_text()
        assert self._process.stdin is not None
        self._process.stdin.write(f"{kind}\t{path}\n")
        self._process.stdin.flush()
        line = self._line()
        if not line:
            self.__exit__()
            self._process = None
            return {"kind": "hangs or dies", "message": "", "seconds": PATIENCE, "bytes": 0, "ran": []}
        return json.loads(line)

    def _line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        before, ready = self.used(), []
        for _ in range(MOST_WAITS):
            ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
            if ready or self.used() - before > LEAST_USED:
                break
        return self._process.stdout.readline() if ready else ""

    def used(self) -> float:
        """Processor seconds of the process, 0 before it starts; infinite where the system reports none."""
        if self._process is None:
            return 0.0
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return float("inf")
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with Worker(tmp_path_factory.mktemp("worker")) as worker:
        yield worker


def problems(worker: Worker, kind: str, path: Path, folder: Path) -> list[str]:
    """What is wrong with the answer to a hostile file; nothing for a good one."""
    found = worker.read(kind, path)
    message = found["message"]
    wrong = [f"{found['kind'] or 'no error'}: {message[:200]}"] if found["kind"] != "ours" else []
    if found["kind"] == "ours" and (len(message.splitlines()) != 1 or len(message) > 1000 or "\x1b" in message):
        wrong.append(f"not one short line: {message[:200]!r}")
    if found["kind"] == "ours" and folder.name not in message and kind not in WITHOUT_PATH:
        wrong.append(f"does not name the file: {message[:200]}")
    if found["seconds"] > SECONDS:
        wrong.append(f"{found['seconds']:.1f} s")
    if found["bytes"] > BYTES:
        wrong.append(f"{found['bytes'] >> 20} MB")
    if found["ran"] or list(folder.rglob(PAYLOAD)) or (worker._folder / PAYLOAD).exists():
        wrong.append(f"ran {found['ran']}")
    return wrong


def check(worker: Worker, files: dict[str, tuple[str, Callable[[Path], Path]]], place: Path) -> None:
    """Read all files; each is written into a folder of its own and removed again."""
    failures = {}
    for number, (name, (kind, write)) in enumerate(files.items()):
        folder = place / f"hostile-{number}"
        path = write(folder)
        wrong = problems(worker, kind, path, folder)
        if wrong:
            failures[name] = wrong
        subprocess.run(["rm", "-rf", str(folder)], check=True)
    assert not failures, "\n".join(f"{name}: {'; '.join(wrong)}" for name, wrong in failures.items())


def in_folder(kind: str, write: Callable[[Path], object], name: str = "") -> tuple[str, Callable[[Path], Path]]:
    """A writer that is given a folder; name: of the file in it, which `write` is given instead."""

    def make(folder: Path) -> Path:
        folder.mkdir()
        target = folder / name if name else folder
        path = write(target)
        return target if name else Path(str(path))

    return kind, make


CHECKPOINTS = {name: in_folder("checkpoint", write, "model.pt") for name, write in checkpoints().items()}
OTHERS = {
    **{f"exported: {name}": in_folder("exported", write, "model.onnx") for name, write in EXPORTED.items()},
    **{f"recipe: {name}": in_folder("recipe", write, "recipe.toml") for name, write in RECIPES.items()},
}
INPUTS = {
    f"{kind}: {name}": in_folder(kind, write) for kind, table in COMMAND_INPUTS.items() for name, write in table.items()
}
SIGNALS = {
    f"{kind}: {name}": in_folder(kind, write)
    for kind, table in (("recording", RECORDINGS), ("records", RECORDS), ("windows", WINDOWS), ("pool", POOLS))
    for name, write in table.items()
}
#: Parts of the names of files that take seconds to write or to read.
LARGE = (
    "500 MB",
    "400 MB",
    "1.5 GB",
    "behind the pickle",
    "2 GB",
    "60,000",
    "200,000 seq",
    "3 GB",
    "one line",
    "all zeros",
    "10^9 l",
    " million ",
    "900,000",
    "199 letters",
)
PARTS = [False, pytest.param(True, marks=pytest.mark.slow)]  # every sixth of the others, and all the rest
Files = dict[str, tuple[str, Callable[[Path], Path]]]


def part_of(files: Files, rest: bool) -> Files:
    chosen = [name for name in files if not any(part in name for part in LARGE)][::6]
    return {name: file for name, file in files.items() if (name not in chosen) == rest}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Files:
    from hostile.folders import folders

    return folders(tmp_path_factory.mktemp("valid"), peft=False)


@pytest.mark.parametrize("rest", PARTS)
@pytest.mark.parametrize("table", ["CHECKPOINTS", "SIGNALS", "OTHERS", "INPUTS"])
def test_files(worker: Worker, tmp_path: Path, table: str, rest: bool) -> None:
    check(worker, part_of(globals()[table], rest), tmp_path)


@pytest.mark.parametrize("rest", PARTS)
def test_folders(worker: Worker, made: Files, tmp_path: Path, rest: bool) -> None:
    check_valid(worker, made, tmp_path)
    check(worker, part_of({name: file for name, file in made.items() if not name.startswith("valid")}, rest), tmp_path)


@pytest.mark.slow
def test_folders_of_peft(worker: Worker, tmp_path: Path) -> None:
    from hostile.folders import folders

    files = folders(tmp_path / "valid", peft=True)
    check_valid(worker, files, tmp_path)
    check(worker, {name: file for name, file in files.items() if not name.startswith("valid")}, tmp_path)


def check_valid(worker: Worker, files: Files, place: Path) -> None:
    """What the hostile folders were made of can be read."""
    valid = {name: file for name, file in files.items() if name.startswith("valid")}
    assert valid
    assert {name: worker.read(kind, write(place / name))["message"] for name, (kind, write) in valid.items()} == (
        dict.fromkeys(valid, "")
    )


def test_the_corpus_has_at_least_250_files(made: Files) -> None:
    assert len(CHECKPOINTS) + len(SIGNALS) + len(OTHERS) + len(INPUTS) + len(made) >= 250
