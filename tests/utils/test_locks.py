"""A folder has one owner at a time, and a killed owner does not block it."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from ecgtune.errors import RunError
from ecgtune.utils.locks import LOCK, OWNER, RESULTS, exclusive, is_empty, one_writer, write_together

HOLD = """
import sys
from pathlib import Path
from ecgtune.utils.locks import exclusive
with exclusive(Path(sys.argv[1]), "ecgtune compare data.csv"):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_second_owner_is_told_process_host_age_and_command(tmp_path):
    with exclusive(tmp_path / "run", "ecgtune compare data.csv"):
        owner = json.loads((tmp_path / "run" / OWNER).read_text())
        owner["started"] -= 3 * 3600
        (tmp_path / "run" / OWNER).write_text(json.dumps(owner))
        wanted = (
            rf"in use by process {os.getpid()} on {owner['host']}, started 3\.0 h ago \(ecgtune compare data\.csv\)"
        )
        with pytest.raises(RunError, match=wanted), exclusive(tmp_path / "run", "second"):
            pass
        assert (tmp_path / "run" / LOCK).exists()
    with exclusive(tmp_path / "run", "third"):
        pass


def test_another_process_keeps_the_folder_until_it_is_killed(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(RunError, match=f"process {other.pid} on"), exclusive(tmp_path, "mine"):
            pass
        other.send_signal(signal.SIGKILL)
    assert is_empty(tmp_path)
    assert list(tmp_path.iterdir())
    with exclusive(tmp_path, "mine"):
        pass
    assert not list(tmp_path.iterdir())


@contextmanager
def killed_soon(code, path):
    """Another process that holds a lock on `path` for a second, and the timer that kills it."""
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        kill = threading.Timer(1.0, other.send_signal, [signal.SIGKILL])
        kill.start()
        yield other, kill


def test_a_second_process_waits_until_the_first_is_gone(tmp_path, caplog):
    caplog.set_level(logging.INFO, "ecgtune")
    with killed_soon(HOLD, tmp_path / "run") as (other, kill), exclusive(tmp_path / "run", "mine", wait=True):
        assert kill.finished.is_set()
        assert json.loads((tmp_path / "run" / OWNER).read_text())["process"] == os.getpid()
    (line,) = caplog.messages
    assert f"run is in use by process {other.pid} on" in line
    assert line.endswith("; waiting for it")
    assert not list((tmp_path / "run").iterdir())


def test_one_process_writes_a_file_at_a_time(tmp_path):
    code = HOLD.replace("exclusive", "one_writer")
    with killed_soon(code, tmp_path / "model.onnx") as (_, kill), one_writer(tmp_path / "model.onnx", "mine"):
        assert kill.finished.is_set()
    assert not list(tmp_path.iterdir())


def test_the_command_of_an_owner_may_name_a_file_that_is_no_utf8(tmp_path):
    command = "ecgtune predict caf\udce9.edf"
    with exclusive(tmp_path, command), pytest.raises(RunError, match=r"caf\\udce9"), exclusive(tmp_path, "second"):
        pass


def test_only_folders_with_content_stay(tmp_path):
    with pytest.raises(KeyError), exclusive(tmp_path / "runs" / "lora", ""):
        raise KeyError
    assert not (tmp_path / "runs").exists()
    with exclusive(tmp_path / "runs" / "lora", ""):
        (tmp_path / "runs" / "metrics.json").touch()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["metrics.json"]


@pytest.mark.parametrize("own", [*RESULTS, "predictions.csv"])
def test_a_folder_holds_one_kind_of_result(own, tmp_path):
    for name, what in RESULTS.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
        if name == own:
            with exclusive(tmp_path / name, "", result=own):
                pass
        else:
            with (
                pytest.raises(RunError, match=f"holds {what}; choose another"),
                exclusive(tmp_path / name, "", result=own),
            ):
                pass
        assert [path.name for path in (tmp_path / name).iterdir()] == [name]
        with exclusive(tmp_path / name, ""):  # such as an entry of the cache
            pass


def test_files_of_a_result_appear_together(tmp_path, monkeypatch):
    moved = []
    monkeypatch.setattr(os, "replace", lambda old, new: (moved.append(new.name), old.rename(new)))

    def write(folder):
        for name in ("result.json", "a.csv", "z.md"):
            (folder / name).write_text("new")

    write_together(tmp_path, write, last="result.json")
    assert moved == ["a.csv", "z.md", "result.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(moved)

    def fail(folder):
        (folder / "a.csv").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match=r"written \(No space left"):
        write_together(tmp_path, fail, last="result.json")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(moved, "new")


def test_places_that_cannot_be_a_folder(tmp_path):
    (tmp_path / "file").touch()
    for place, message in (("file", "is a file; choose another folder"), ("file/run", r"written \(Not a directory\)")):
        with pytest.raises(RunError, match=message), exclusive(tmp_path / place, ""):
            pass
