"""The cache gives what the file gives, and never half of it."""

import errno
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from ecgtune.data.dataset import Dataset
from ecgtune.errors import DataError
from ecgtune.io import window_files as module
from helpers.reading import read_windows

GROUPS = [f"p{i // 2}" for i in range(12)]


def read(path: Path, **options) -> Dataset:
    return read_windows(path, sampling_rate=100, **options)


@pytest.fixture
def no_parsing(monkeypatch: pytest.MonkeyPatch):
    """From now on a read can only come from the cache."""

    def start() -> None:
        def refuse(*_):
            raise AssertionError("the file was parsed again")

        monkeypatch.setattr(module, "parse", refuse)

    return start


def test_the_second_read_maps_the_cache_and_is_equal(csv_file, no_parsing):
    path = csv_file(patient=GROUPS, split=["train"] * 8 + ["val"] * 4)
    first = read(path)
    no_parsing()
    second = read(path)
    uncached_parts = (second.signal, second.label, second.group, second.split)
    for got, expected in zip(uncached_parts, (first.signal, first.label, first.group, first.split), strict=True):
        assert_array_equal(got, expected)
    assert isinstance(second.signal, np.memmap)
    assert (second.classes, second.group_name, second.source) == (first.classes, first.group_name, first.source)


def test_npz_facts_survive_the_cache(npz_file, no_parsing):
    path = npz_file(unit="uV", leads=["V1"])
    first = read_windows(path)
    no_parsing()
    second = read_windows(path)
    assert (second.unit, second.leads, second.sampling_rate) == ("mV", ("V1",), 100.0)
    assert_array_equal(second.signal, first.signal)


def test_without_cache_nothing_is_written(csv_file, cache_folder):
    read(csv_file(), cache=False)
    assert list(cache_folder.iterdir()) == []


def test_a_changed_file_is_read_again_and_its_old_entry_goes(csv_file, cache_folder):
    path = csv_file()
    before = read(path)
    path.write_text(path.read_text().replace("signal_0", "signal_0", 1).replace(",0\n", ",2\n"))
    after = read(path)
    assert before.classes == ("0", "1")
    assert after.classes == ("1", "2")
    assert after.source.sha256 != before.source.sha256
    assert len(list(cache_folder.iterdir())) == 1


def test_the_same_size_at_another_time_is_another_version(csv_file):
    path = csv_file()
    read(path)
    path.write_text(path.read_text().replace(",0\n", ",2\n"))
    os.utime(path, ns=(0, 10**18))
    assert read(path).classes == ("1", "2")


def test_reading_options_do_not_share_an_entry(csv_file, cache_folder):
    path = csv_file(patient=GROUPS, record=[f"r{i}" for i in range(12)])
    assert read(path).group_name == "patient"
    assert read(path, group="record").group_name == "record"
    assert_array_equal(read(path, unit="V").signal, 1000 * read(path).signal)
    assert len(list(cache_folder.iterdir())) == 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: (entry / "signal.f32").write_bytes(b"short"),
        lambda entry: (entry / "signal.f32").unlink(),
        lambda entry: (entry / "entry.json").write_text("{"),
        lambda entry: (entry / "entry.json").write_text("[]"),
        lambda entry: (entry / "entry.json").write_text('{"format": 0, "shape": [12, 1, 8]}'),
        lambda entry: (entry / "label.npy").unlink(),
        lambda entry: (entry / "label.npy").write_bytes(b"junk"),
        lambda entry: np.save(entry / "label.npy", np.zeros(3)),
        lambda entry: (shutil.rmtree(entry), entry.write_text("a file")),
    ],
)
def test_a_broken_entry_is_built_again(csv_file, cache_folder, signal, label, damage):
    path = csv_file()
    read(path)
    (entry,) = cache_folder.iterdir()
    damage(entry)
    dataset = read(path)
    assert_array_equal(dataset.signal[:, 0], signal)
    assert_array_equal(dataset.label, label)
    assert isinstance(dataset.signal, np.memmap)


def test_readers_at_the_same_time_agree(csv_file, signal, cache_folder):
    path = csv_file()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: read(path), range(24)))
    for dataset in results:
        assert_array_equal(dataset.signal[:, 0], signal)
    assert len(list(cache_folder.iterdir())) == 1


def test_a_full_disk_is_one_line_and_leaves_nothing(csv_file, cache_folder, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.np, "save", full)
    with pytest.raises(DataError, match=r"cannot be written .No space left on device.; set ECGTUNE_CACHE") as caught:
        read(csv_file())
    assert "\n" not in str(caught.value)
    assert list(cache_folder.iterdir()) == []


def test_a_cache_folder_that_cannot_be_is_an_error(csv_file, tmp_path, monkeypatch):
    path = csv_file()
    monkeypatch.setenv("ECGTUNE_CACHE", str(path / "below a file"))
    with pytest.raises(DataError, match=r"set ECGTUNE_CACHE to a folder that can, or read with cache=False"):
        read(path)


def test_leftovers_of_a_crash_go_after_a_day(csv_file, cache_folder):
    for name, age in (("unfinished-old", 2 * 86_400), ("unfinished-now", 0)):
        folder = cache_folder / name
        folder.mkdir()
        time = folder.stat().st_mtime - age
        os.utime(folder, (time, time))
    read(csv_file())
    names = {folder.name for folder in cache_folder.iterdir()}
    assert "unfinished-old" not in names
    assert "unfinished-now" in names


def test_a_file_that_grows_while_it_is_read_is_refused(csv_file, cache_folder, monkeypatch):
    path = csv_file()
    real = module.parse

    def parse_and_append(*arguments):
        result = real(*arguments)
        with path.open("a") as file:
            file.write("more\n")
        return result

    monkeypatch.setattr(module, "parse", parse_and_append)
    with pytest.raises(DataError, match="changed while it was read"):
        read(path)
    assert list(cache_folder.iterdir()) == []


@pytest.mark.parametrize("change", ["a NaN in the samples", "the rate as text"])
def test_a_changed_entry_is_noticed_and_made_again(csv_file, cache_folder, change):
    path = csv_file()
    expected = read(path).signal.copy()
    (entry,) = (folder for folder in cache_folder.iterdir() if (folder / "entry.json").is_file())
    if change == "the rate as text":
        facts = (entry / "entry.json").read_text()
        (entry / "entry.json").write_text(facts.replace('"sampling_rate": null', '"sampling_rate": "ha"'))
    else:
        samples = np.fromfile(entry / "signal.f32", np.float32)
        samples[5] = np.nan
        samples.tofile(entry / "signal.f32")
    assert_array_equal(read(path).signal, expected)
