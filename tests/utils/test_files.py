"""Files are written whole or not at all."""

import json
import math
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import tomllib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from ecgtune.errors import RunError
from ecgtune.utils import cache, files
from ecgtune.utils.csv_cells import csv_text, read_csv
from ecgtune.utils.files import (
    check_space,
    is_partial,
    json_value,
    parsed_toml,
    remove_temporary,
    replace_folder,
    system_error,
    temporary_folder,
    write_atomically,
    write_json,
    write_text,
)


def fail(path):
    path.write_text("half") if not path.is_dir() else (path / "part").write_text("half")
    raise RuntimeError("power cut")


def test_a_file_is_replaced_whole_or_kept(tmp_path):
    file = tmp_path / "deep" / "a.txt"
    write_text(file, "old")
    with pytest.raises(RuntimeError):
        write_atomically(file, fail)
    assert file.read_text() == "old"
    write_text(file, "new")
    assert file.read_text() == "new"
    assert [path.name for path in file.parent.iterdir()] == ["a.txt"]


def test_a_folder_is_replaced_whole_or_kept(tmp_path):
    folder = tmp_path / "best"
    replace_folder(folder, lambda partial: (partial / "one").write_text("1"))
    with pytest.raises(RuntimeError):
        replace_folder(folder, fail)
    assert [path.name for path in folder.iterdir()] == ["one"]
    replace_folder(folder, lambda partial: (partial / "two").write_text("2"))
    assert [path.name for path in folder.iterdir()] == ["two"]
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_a_folder_that_a_killed_process_left_half_replaced(tmp_path):
    process = gone()
    for kind in ("old", "partial"):
        (tmp_path / f".best.{kind}-{process}").mkdir()
    (tmp_path / f".best.old-{process}" / "one").write_text("1")
    with pytest.raises(RuntimeError):
        replace_folder(tmp_path / "best", fail)
    assert [path.name for path in (tmp_path / "best").iterdir()] == ["one"]
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def gone() -> str:
    """This machine and the number of a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return f"{socket.gethostname()}-{ended.pid}"


REPLACE = """
import sys, time
from pathlib import Path
from ecgtune.utils.files import replace_folder

def write(folder):
    for number in range(5):
        (folder / str(number)).write_text(sys.argv[1])
        time.sleep(0.02)

for _ in range(10):
    replace_folder(Path("pack"), write)
"""


def test_processes_that_replace_a_folder_at_once_leave_a_whole_one(tmp_path):
    command = [sys.executable, "-c", REPLACE]
    processes = [subprocess.Popen([*command, name], cwd=tmp_path, stderr=subprocess.PIPE) for name in "ab"]
    assert [process.communicate()[1] for process in processes] == [b"", b""]
    assert len({path.read_text() for path in (tmp_path / "pack").iterdir()}) == 1
    assert len(list((tmp_path / "pack").iterdir())) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["pack"]


def test_a_temporary_folder_is_removed_at_its_end_or_after_a_kill(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = "from ecgtune.utils.files import *\nwith temporary_folder() as place: (place / 'job').touch(); os.abort()"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)
    (left,) = tmp_path.iterdir()
    assert left.stat().st_mode & 0o077 == 0
    with temporary_folder() as place:
        assert [path.name for path in tmp_path.iterdir()] == [place.name]
        remove_temporary()
        assert place.is_dir()
    assert not list(tmp_path.iterdir())


def test_names_that_are_no_utf8_are_written_and_read(tmp_path):
    name = os.fsdecode(b"caf\xe9.edf")
    write_json(tmp_path / "a.json", {name: "\ud800"})
    assert json_value(tmp_path / "a.json") == {name: "\ud800"}
    write_text(tmp_path / "a.csv", csv_text([["recording"], [name]]))
    assert read_csv(tmp_path / "a.csv") == [{"recording": name}]
    write_text(tmp_path / "a.html", f"<p>{name}</p>")
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == r"<p>caf\udce9.edf</p>"


def test_a_copy_of_a_folder_on_a_full_disk_says_so():
    error = shutil.Error([("a", "b", "[Errno 28] No space left on device: 'b'"), ("c", "d", "[Errno 28] No space")])
    found = system_error(error)
    assert found is not None
    assert "(No space left on device); free some space" in str(files.unwritable(Path("model"), found))


def test_files_of_a_folder_have_the_permissions_of_the_umask(tmp_path):
    def private(partial):
        (partial / "one").write_text("1")
        (partial / "one").chmod(0o600)

    replace_folder(tmp_path / "best", private)
    (tmp_path / "plain").write_text("1")
    assert (tmp_path / "best" / "one").stat().st_mode == (tmp_path / "plain").stat().st_mode


@contextmanager
def small_files():
    """As on a full disk, no file can grow beyond 10 kB: not even the log into which pytest may write its progress."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def save_open(path):
    with path.open("wb") as file:
        torch.save({"weight": torch.zeros(10_000)}, file)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_text("x" * 20_000),
        lambda path: np.save(path.open("wb"), np.zeros(10_000)),
        lambda path: safetensors.torch.save_file({"weight": torch.zeros(10_000)}, path),
        save_open,
    ],
)
@pytest.mark.parametrize("in_folder", [False, True])
def test_a_full_disk_is_one_line_and_keeps_the_last_whole_file(tmp_path, write, in_folder):
    path = tmp_path / "state.pt"
    if in_folder:
        replace_folder(path, lambda partial: (partial / "weights").write_text("old"))
    else:
        write_text(path, "old")
    reason = r"state\.pt cannot be written \(.*\); free some space and run it again"
    with small_files(), pytest.raises(RunError, match=reason):
        replace_folder(path, lambda partial: write(partial / "weights")) if in_folder else write_atomically(path, write)
    assert (path / "weights" if in_folder else path).read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_names_the_file_as_it_is_at_the_end(tmp_path):
    pack = tmp_path / "tm" / "pack"
    with small_files(), pytest.raises(RunError) as caught:
        replace_folder(pack, lambda partial: write_text(partial / "tables" / "a.md", "x" * 20_000))
    assert str(caught.value).startswith(f"{pack / 'tables' / 'a.md'} cannot be written")
    with small_files(), pytest.raises(RunError) as caught, temporary_folder(tmp_path) as place:
        write_text(place / "a.md", "x" * 20_000)
    assert str(caught.value).startswith(f"{tmp_path / 'a.md'} cannot be written")


def test_a_full_disk_is_named_where_numpy_tells_only_how_much_it_wrote():
    error = OSError("60 requested and 0 written")
    for refused in (files.unwritable(Path("state.npy"), error), cache.unwritable(Path("cache"), error)):
        assert "(No space left on device: 60 requested and 0 written)" in str(refused)


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path):
    code = "from ecgtune.utils.files import *; write_atomically(Path('a.pt'), lambda part: part.touch() or os.abort())"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.DEVNULL)
    (left,) = tmp_path.iterdir()
    assert is_partial(left)
    running = left.with_name(f"{left.name.rpartition('-')[0]}-{os.getppid()}")
    running.touch()
    write_text(tmp_path / "a.pt", "whole")
    assert set(tmp_path.iterdir()) == {tmp_path / "a.pt", running}


def test_a_mistake_of_a_writer_stays_what_it_is(tmp_path):
    with pytest.raises(KeyError):
        write_atomically(tmp_path / "a", lambda partial: {}["name"])


@pytest.mark.parametrize("write", [write_text, lambda path, text: replace_folder(path, lambda partial: None)])
def test_a_place_that_cannot_be_written_is_told(tmp_path, write):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match="cannot be written"):
        write(tmp_path / "file" / "inside", "text")


def test_json_acts_on_no_terminal(tmp_path):
    value = {"A\u202eF": ["\x9b2J", "é"]}
    write_json(tmp_path / "a.json", value)
    assert json_value(tmp_path / "a.json") == value
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert r"A\u202eF" in text
    assert r"\u009b2J" in text
    assert "é" in text


def test_json_has_no_nan(tmp_path):
    write_json(tmp_path / "a.json", {"a": math.nan, "b": [1.0, math.inf], "c": ("x", {"d": -math.inf})})
    assert json_value(tmp_path / "a.json") == {"a": None, "b": [1.0, None], "c": ["x", {"d": None}]}
    json.loads((tmp_path / "a.json").read_text(), parse_constant=lambda name: pytest.fail(name))


@pytest.mark.parametrize("text", ["NaN", "[-Infinity]", '{"a": 1e999}', "[-1e999]"])
def test_json_that_is_no_number_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match="number"):
        json_value(tmp_path / "a.json")


def test_a_full_disk_is_told_with_both_sizes(tmp_path, monkeypatch):
    asked = []

    def usage(path):
        asked.append(path)
        return shutil._ntuple_diskusage(10**9, 10**9 - 5 * 10**6, 5 * 10**6)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    check_space(tmp_path / "runs" / "new", 4 * 10**6)
    with pytest.raises(RunError, match=r"its disk has 5\.0 MB free, but about 800 MB are needed; free some space"):
        check_space(tmp_path / "runs" / "new", 8 * 10**8)
    assert asked == [tmp_path, tmp_path]


DOTS = ".".join("ab" * 50)
QUOTES = "'''", '"""'


@pytest.mark.parametrize(
    "text",
    [
        f"a = \"{DOTS}\"\n\"{DOTS}\" = 1\n['x.{DOTS}'.c]\nb = 2 # {DOTS}",
        *(f"a = {q}{DOTS}\n{q[0]}{DOTS} [x] {q[:2]} {DOTS}{end}\nb = [{q}{q}, {q}c{end}, {q}{DOTS}{q}]"
          for q in QUOTES for end in (q, q + q[0], q + q[:2])),
        f'a = "\\\\"\nb = """\\"""" # {DOTS}\nc = "\\"{DOTS}\\\\" # "\n' + f"d = '\\' # '{DOTS}",
        f"a = [{', '.join(['1.5'] * 1000)}]\r\nb = {{c.d = 1.5, e.f = {{g.h = 1979-05-27T07:32:00.5Z}}}}\r\n",
        f"{'.'.join('a' * 63)} = 1\n[{'.'.join('b' * 62)}]\nc = 0\n",
        f"a = {'[' * 60}{']' * 60}\nb = {'{a = ' * 60}1{'}' * 60}",
    ],
)  # fmt: skip
def test_toml_within_the_limits_is_that_of_the_standard_library(text):
    assert parsed_toml(text) == tomllib.loads(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (".".join("a" * 65) + " = 1", "nested too deep"),
        (" . ".join(['"a.b"'] * 65) + " = 1", "nested too deep"),
        (f"a = '''\n{DOTS}''''' # ''' \n{DOTS} = 1", "nested too deep"),
        ("[" + ".".join("a" * 40) + "]\n" + ".".join("b" * 40) + " = 1", "nested too deep"),
        ("a = " + "[" * 70 + "]" * 70, "nested too deep"),
        ("a = 1\n" * 100_000, "over 262144 characters"),
        (f"[{'a' * 5000}]\n" * 2, r"Cannot declare .{100,145}…$"),
    ],
)
def test_toml_beyond_the_limits_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parsed_toml(text)


def test_toml_that_is_too_large_for_the_memory(monkeypatch):
    monkeypatch.setattr(tomllib, "loads", lambda text: bytearray(1 << 62))
    with pytest.raises(ValueError, match="too large for the memory"):
        parsed_toml("a = 1")
