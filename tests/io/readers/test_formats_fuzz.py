"""Whatever is in a file, a reader gives a recording or our error: never another one, 1 GB of memory, or 10 seconds."""

import resource
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecgtune.errors import DataError
from ecgtune.io.readers.base import ReadOptions, Recording
from ecgtune.io.readers.registry import BUILT_IN, read_recording
from helpers.formats import FORMATS
from helpers.recordings import LEADS

#: Without answers, and with some; rate and unit of the files below are left to them, or they say other ones.
OPTIONS = [
    ReadOptions(),
    ReadOptions(lead_names=LEADS, ignore_checksums=True),
    ReadOptions(sampling_rate=250.0, unit="mV", lead_names=LEADS),
]
GIGABYTE_KIB = 1 << 20


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch):
    monkeypatch.setattr("ecgtune.io.readers.hdf5_files.SECONDS", 1.0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, tuple[Path, bytes]]:
    """The file to be fuzzed of each format, and its valid content."""
    made = {}
    for name, (write, file) in FORMATS.items():
        folder = tmp_path_factory.mktemp("valid")
        write(folder)
        made[name] = (folder / file, (folder / file).read_bytes())
    return made


def outcome(path: Path, options: ReadOptions) -> Recording | str:
    try:
        return read_recording(path, options)
    except DataError as error:
        return str(error)


def check(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    main = next(p for p in sorted(path.parent.iterdir()) if p.suffix in [s for r in BUILT_IN for s in r.suffixes])
    for options in OPTIONS:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        read = outcome(main, options)
        if isinstance(read, str):
            assert str(main) in read
            assert len(read.splitlines()) == 1
        else:
            assert read.signal.dtype == np.float32
            assert read.signal.shape[0] == len(read.leads) >= 1
            assert read.signal.shape[1] >= 1
            assert 0 < read.sampling_rate < np.inf
            assert not np.isinf(read.signal).any()
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GIGABYTE_KIB


def fuzz(examples: int):
    return settings(
        max_examples=examples,
        deadline=timedelta(seconds=10),
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
        derandomize=True,
        database=None,
    )


#: Where (as a share of the file), how many bytes go, and what comes in their place.
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1), st.integers(0, 4), st.one_of(st.binary(max_size=4), st.sampled_from([b"9" * 12, b"-1"]))
    ),
    min_size=1,
    max_size=6,
)


def edited(content: bytes, edits: list[tuple[float, int, bytes]], cut: float) -> bytes:
    for share, length, new in edits:
        place = int(share * len(content))
        content = content[:place] + new + content[place + length :]
    return content[: int(cut * len(content)) + 1]


@pytest.mark.parametrize("name", FORMATS)
@fuzz(25)
@given(content=st.binary(max_size=300))
def test_any_bytes(folders, name, content):
    check(folders[name][0], content)


@pytest.mark.parametrize("name", FORMATS)
@fuzz(40)
@given(edits=EDITS, cut=st.one_of(st.just(1.0), st.just(1.0), st.floats(0, 1)))
def test_valid_files_with_changes(folders, name, edits, cut):
    path, content = folders[name]
    check(path, edited(content, edits, cut))


@pytest.mark.parametrize("name", FORMATS)
def test_the_files_that_are_changed_are_valid(folders, name):
    path, content = folders[name]
    path.write_bytes(content)
    main = next(p for p in sorted(path.parent.iterdir()) if p.suffix in [s for r in BUILT_IN for s in r.suffixes])
    assert any(isinstance(outcome(main, options), Recording) for options in OPTIONS)
