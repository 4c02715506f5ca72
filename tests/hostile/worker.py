"""A process that reads hostile files one by one, and reports what came of each: error, seconds, memory, what ran."""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # helpers

from hostile.pickled import PAYLOAD
from hostile.readers import INPUT_READERS

_RUNS = ("os.", "subprocess.", "socket.", "pty.", "ctypes.", "webbrowser.", "shutil.", "pickle.")
_LAST_RESORT = 6 << 30  # bytes of address space, so that a bomb ends this process and not the machine
ran: list[str] = []


def _watch(event: str, arguments: tuple) -> None:
    code = (arguments[0].co_consts, arguments[0].co_names) if event == "exec" else ()
    if PAYLOAD in ascii(code) or (event.startswith(_RUNS) and PAYLOAD in ascii(arguments)):
        ran.append(event)


def _reader(kind: str) -> Callable[[Path], object]:
    """The function that reads files of a kind; what it imports is loaded here, outside of any measurement."""
    if kind == "checkpoint":
        from ecgtune.models.checkpoint import load_checkpoint

        return load_checkpoint
    if kind in ("run", "peft run"):
        from ecgtune.deployment.run import load_run

        if kind == "peft run":
            importlib.import_module("peft")
        return load_run
    if kind == "report":
        from ecgtune.reporting.folders import read_run

        return read_run
    if kind == "state":
        from ecgtune.training.state import read_state
        from hostile.folders import TrainingParts

        parts = TrainingParts.make()
        return lambda path: read_state(path, **parts.expected())
    if kind in ("recording", "answered recording"):
        from ecgtune.io.readers.base import ReadOptions

        options = ReadOptions(lead_names=("I", "II", "V1"), ignore_checksums=True)
        return lambda path: _answered(path, options, refused=kind == "recording")
    if kind == "exported":
        from ecgtune.runtime.model import load_onnxruntime
        from ecgtune.workflows.verify import verify

        load_onnxruntime()  # outside of the measurement
        return verify
    if kind == "recipe":
        from ecgtune.recipes.recipe import load_recipes

        return lambda path: load_recipes(str(path))
    if kind in INPUT_READERS:
        return INPUT_READERS[kind]()
    if kind == "records":
        from ecgtune.io.readers.base import ReadOptions
        from ecgtune.io.records.reading import RecordSettings, read_records

        given = {"options": ReadOptions(), "settings": RecordSettings(workers=1)}
        return lambda folder: read_records(folder / "t.csv", folder / "records", **given)
    if kind == "windows":
        from ecgtune.io.windows import WindowSettings, read_dataset

        return lambda path: read_dataset(path, sampling_rate=100, settings=WindowSettings(cache=False))
    from ecgtune.io.recordings import read_recordings

    return lambda path: read_recordings(path, sampling_rate=100)


def _answered(path: Path, options: Any, refused: bool) -> object:
    """Read a recording, and answer what the reader asks for, so that it goes on.

    refused: raise its question where it can read the file after the answer.
    """
    from ecgtune.errors import EcgtuneError
    from ecgtune.io.readers.registry import read_recording

    try:
        return read_recording(path, options)
    except EcgtuneError as question:
        answers = {
            "--unit": ("unit", "mV"),
            "--sampling-rate": ("sampling_rate", 250.0),
            "names; give": ("lead_names", None),
        }
        given = {name: value for part, (name, value) in answers.items() if part in str(question)}
        if all(getattr(options, name) == value for name, value in given.items()):
            raise
        found = _answered(path, replace(options, **given), refused)
        if refused:
            raise
        return found


def _memory(name: str) -> int:
    """Bytes of this process and of the one that reads HDF5: VmRSS now, VmHWM at most since the last reset."""
    found = 0
    for status in _status():
        with suppress(OSError):  # it has ended
            found += next(
                1024 * int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(name)
            )
    return found


def _status(file: str = "status") -> list[Path]:
    module = sys.modules.get("ecgtune.io.readers.hdf5_files")
    child = [] if module is None or module._worker is None else [module._worker.process.pid]
    return [Path(f"/proc/{process}/{file}") for process in ("self", *child)]


def _seconds() -> float:
    """Processor time of this process and its children: on an idle machine, the time of a reader that does not wait.

    The system adds that of a child when it has ended; before, that of the one that reads HDF5 is counted here.
    """
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    alive = 0.0
    for stat in _status("stat")[1:]:
        with suppress(OSError):
            alive += sum(map(int, stat.read_text().rpartition(")")[2].split()[11:13])) / os.sysconf("SC_CLK_TCK")
    return time.process_time() + children.ru_utime + children.ru_stime + alive


def outcome(read: Callable[[Path], object], path: Path) -> dict[str, Any]:
    """What came of reading one file."""
    from ecgtune.errors import EcgtuneError

    ran.clear()
    for file in _status("clear_refs"):
        with suppress(OSError):
            file.write_text("5")  # resets the peak
    before, started = _memory("VmRSS"), _seconds()
    try:
        read(path)
        kind, message = "", ""
    except EcgtuneError as error:
        kind, message = "ours", str(error)
    except BaseException as error:
        kind, message = type(error).__name__, str(error)
    seconds = _seconds() - started
    return {
        "kind": kind,
        "message": message[:5000],
        "seconds": seconds,
        "bytes": _memory("VmHWM") - before,
        "ran": list(ran),
    }


def main() -> None:
    """Answer a line `kind<TAB>path` on standard input by a line of JSON on standard output."""
    readers: dict[str, Callable[[Path], object]] = {}
    resource.setrlimit(resource.RLIMIT_AS, (_LAST_RESORT, _LAST_RESORT))
    sys.addaudithook(_watch)
    answers = sys.stdout
    sys.stdout = sys.stderr
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        kind, path = line.rstrip("\n").split("\t")
        readers[kind] = readers.get(kind) or _reader(kind)
        print(json.dumps(outcome(readers[kind], Path(path))), file=answers, flush=True)


if __name__ == "__main__":
    main()
