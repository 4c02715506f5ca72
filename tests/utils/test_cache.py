"""The cache folder, keys, atomic entries and eviction."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ecgtune.errors import DataError
from ecgtune.utils.cache import cache_folder, cache_key, cached, evict, file_version


def test_the_variable_wins_and_the_platform_folder_is_the_default(monkeypatch, tmp_path):
    monkeypatch.setenv("ECGTUNE_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("ECGTUNE_CACHE")
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert cache_folder() == tmp_path / "ecgtune"
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert cache_folder() == tmp_path / ".cache" / "ecgtune"


@pytest.mark.parametrize("earlier", [False, True])
def test_a_user_without_a_home_folder_is_told_what_to_set(monkeypatch, tmp_path, earlier):
    def no_home(*_names, **_settings):
        if earlier:
            return Path("~/.cache/ecgtune")
        raise RuntimeError

    monkeypatch.delenv("ECGTUNE_CACHE", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", no_home)
    with pytest.raises(DataError, match="no home folder; set ECGTUNE_CACHE"):
        cache_folder()
    monkeypatch.setenv("ECGTUNE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path


WRITE = """
import sys, time
from pathlib import Path
from ecgtune.utils.cache import cached
def load(entry):
    return (entry / "value").read_text() if (entry / "value").exists() else None
def make(folder):
    print("making", flush=True)
    time.sleep(1)
    (folder / "value").write_text("made")
print(cached(Path(sys.argv[1]), load, make), flush=True)
"""


def test_of_two_processes_one_writes_an_entry_and_the_other_waits(tmp_path):
    command = [sys.executable, "-c", WRITE, str(tmp_path / "records-1")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(process.communicate()[0] for process in both) == ["made\n", "making\nmade\n"]
    assert [path.name for path in tmp_path.iterdir()] == ["records-1"]


def test_what_a_killed_process_left_of_an_entry_is_removed_at_once(tmp_path):
    command = [sys.executable, "-c", WRITE, str(tmp_path / "records-1")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "making\n"
        process.kill()
    assert len(list(tmp_path.iterdir())) == 2
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert [path.name for path in tmp_path.iterdir()] == ["records-1"]


def test_keys_depend_on_facts_and_chunks():
    keys = [cache_key([1]), cache_key([2]), cache_key([1], [b"a"]), cache_key([1], [np.arange(3).data])]
    assert len(set(keys)) == 4
    assert cache_key([1], [b"ab"]) == cache_key([1], [b"a", b"b"])
    assert [len(cache_key(1)), len(cache_key(1, digits=24))] == [20, 24]


def test_a_changed_file_has_another_version(tmp_path):
    file = tmp_path / "a"
    file.write_text("x")
    before = file_version(file)
    os.utime(file, ns=(0, 10**18))
    assert file_version(file) != before


def load(entry: Path) -> str | None:
    return (entry / "content").read_text() if (entry / "content").is_file() else None


def make(folder: Path) -> None:
    (folder / "content").write_text("made")


def test_an_entry_appears_whole_and_replaces_other_versions_of_its_subject(tmp_path):
    for entry in ("pool-a-1", "pool-b-1", "pool-a-2"):
        assert cached(tmp_path / entry, load, make) == "made"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pool-a-2", "pool-b-1"]
    os.utime(tmp_path / "pool-a-2" / "content", (0, 0))
    assert cached(tmp_path / "pool-a-2", load, make) == "made"
    assert (tmp_path / "pool-a-2" / "content").stat().st_mtime == 0  # not written again
    (tmp_path / "pool-a-2" / "content").write_text("changed by another program")
    assert cached(tmp_path / "pool-a-2", load, make) == "made"


@pytest.mark.parametrize(
    ("error", "expected"),
    [(ZeroDivisionError("by zero"), ZeroDivisionError), (OSError("No space left on device"), DataError)],
)
def test_an_error_leaves_nothing(tmp_path, error, expected):
    def fail(folder: Path) -> None:
        make(folder)
        raise error

    with pytest.raises(expected, match=r"by zero|set ECGTUNE_CACHE"):
        cached(tmp_path / "a-1", load, fail)
    assert list(tmp_path.iterdir()) == []


def test_an_entry_that_cannot_be_read_back_is_an_error(tmp_path):
    with pytest.raises(DataError, match="damaged while it was written"):
        cached(tmp_path / "a-1", load, lambda folder: None)


def test_eviction_keeps_what_was_used_last_and_removes_stale_leftovers(tmp_path):
    for number, age in enumerate((30, 10, 20)):
        file = tmp_path / f"prefix-{number}.npy"
        file.write_bytes(bytes(100))
        os.utime(file, (file.stat().st_mtime - age,) * 2)
    for name, age in ((".prefix-9.npy.partial-1", 2 * 86_400), (".prefix-8.npy.partial-1", 0)):
        file = tmp_path / name
        file.write_bytes(b"")
        os.utime(file, (file.stat().st_mtime - age,) * 2)
    (tmp_path / "other.npy").write_bytes(bytes(1000))
    evict(tmp_path, "prefix-*.npy", budget=250)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [".prefix-8.npy.partial-1", "other.npy", "prefix-1.npy", "prefix-2.npy"]
