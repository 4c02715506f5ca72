"""`check_reader`: the interface of `ecgtune.io.readers.base.FileReader`, check by check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ecgtune.config.base import choose
from ecgtune.errors import DataError, QuestionError
from ecgtune.io.readers.base import FileReader, ReadOptions, Recording
from ecgtune.io.readers.registry import files_of, read_recording, readers, recording_reader
from ecgtune.testing.checks import expect, failed_checks, raise_failures
from ecgtune.utils.files import temporary_folder

MANY = ReadOptions().max_values


@dataclass(frozen=True)
class ReaderSubject:
    """A reader, a recording, and the file of it in a folder that the check may change."""

    reader: FileReader
    recording: Recording
    path: Path
    tolerance: float


def check_reader(
    reader: str | FileReader, write: Callable[[Path, Recording], Path], *, tolerance: float = 0.002, leads: int = 2
) -> None:
    """Check that a reader gives back a recording, asks for and contradicts facts, and refuses damaged files.

    reader: its name, or the reader. write: (folder, recording) -> path; writes an example file in the reader's format,
    with rate, leads and unit where the format states them. tolerance: allowed difference in millivolts. leads: of the
    example, 1 to 3.

    Raises ConformanceError with one line per failed check.
    """
    reader = _named(reader) if isinstance(reader, str) else reader
    time = np.arange(1000) / 250
    signal = np.stack([np.sin(2 * np.pi * (number + 1) * time) for number in range(leads)]).astype(np.float32)
    recording = Recording(signal, ("I", "II", "V5")[:leads], 250.0, "")
    with temporary_folder() as place:
        number = 0

        def make() -> ReaderSubject:
            nonlocal number
            number += 1
            folder = Path(place) / str(number)
            folder.mkdir()
            return ReaderSubject(reader, recording, write(folder, recording), tolerance)

        raise_failures(f"reader {reader.name}", {reader.name: failed_checks(READER_CHECKS, make)})


def _named(name: str) -> FileReader:
    """The registered reader of this name. Raises SettingError."""
    known = {reader.name: reader for reader in readers()}
    choose(name, known, "reader")
    return known[name]


def _registered(subject: ReaderSubject) -> None:
    expect(subject.reader in readers(), "not registered; call ecgtune.register_reader(reader)")
    found = recording_reader(subject.path)
    expect(found is subject.reader, f"{subject.path.name} is taken for {found.name}")
    expect(all(path.is_file() for path in files_of(subject.path)), "files() names a file that is not there")


def _reading(subject: ReaderSubject) -> None:
    found = read_recording(subject.path, _options(subject))
    wanted = subject.recording
    expect(found.leads == wanted.leads, f"leads {found.leads} instead of {wanted.leads}")
    expect(found.sampling_rate == wanted.sampling_rate, f"{found.sampling_rate} Hz instead of {wanted.sampling_rate}")
    expect(found.signal.dtype == np.float32, f"samples are {found.signal.dtype} instead of float32")
    expect(found.signal.shape == wanted.signal.shape, f"shape {found.signal.shape} instead of {wanted.signal.shape}")
    largest = float(np.abs(found.signal - wanted.signal).max())
    expect(largest <= subject.tolerance, f"samples differ by {largest:.3g} mV, allowed {subject.tolerance} mV")


def _contradictions(subject: ReaderSubject) -> None:
    """A fact that the file states is not overruled by a flag, and one that it does not state is asked for."""
    wanted, options = subject.recording, _options(subject)
    for flag, fact, other in (
        ("--sampling-rate", "sampling_rate", 2 * wanted.sampling_rate),
        ("--unit", "unit", "V"),
        ("--lead-names", "lead_names", (*wanted.leads[1:], "aVR")),
    ):
        try:
            without = read_recording(subject.path, replace(options, **{fact: None}))
        except QuestionError as question:
            expect(flag in str(question), f"the question {str(question)!r} does not name {flag}")
            continue
        except DataError as error:
            expect(False, f"without {flag}, {str(error)!r} is no question; raise ecgtune.QuestionError")
            continue
        if without.leads != wanted.leads or without.sampling_rate != wanted.sampling_rate:
            continue  # a usual value, such as lead II of one channel; `_reading` checks that of the flags
        try:
            read_recording(subject.path, replace(options, **{fact: other}))
        except DataError:
            continue
        expect(False, f"the file states its {fact}, but {flag} {other} overrules it")


def _size_limit(subject: ReaderSubject) -> None:
    _expect_refusal(subject, "a recording above max_values", max_values=100)


def _damaged_files(subject: ReaderSubject) -> None:
    for path in files_of(subject.path):
        content = path.read_bytes()
        for what, damaged in (("an empty file", b""), ("a file of noise", bytes(range(256)) * 4)):
            path.write_bytes(damaged)
            _expect_refusal(subject, f"{what} in the place of {path.name}", or_recording=True)
        path.write_bytes(content[: len(content) // 2])
        _expect_refusal(subject, f"half of {path.name}", or_recording=True)
        path.write_bytes(content)


def _missing_file(subject: ReaderSubject) -> None:
    for path in files_of(subject.path):
        path.unlink()
    _expect_refusal(subject, "a missing file")


def _options(subject: ReaderSubject, max_values: int = MANY) -> ReadOptions:
    wanted = subject.recording
    try:
        read_recording(subject.path)
    except DataError:  # the format does not state all of it
        return ReadOptions(
            sampling_rate=wanted.sampling_rate, unit="mV", lead_names=wanted.leads, max_values=max_values
        )
    return ReadOptions(max_values=max_values)


def _expect_refusal(
    subject: ReaderSubject, what: str, *, or_recording: bool = False, max_values: int = 1 << 24
) -> None:
    """or_recording: text formats may still hold a shorter recording; then it has to be one."""
    try:
        found = read_recording(subject.path, _options(subject, max_values))
    except DataError as error:
        expect(str(error).count("\n") == 0, f"{what}: the error has more than one line")
        return
    expect(or_recording and found.signal.size > 0, f"{what} is read")


#: All checks, each takes a `ReaderSubject`.
READER_CHECKS = (_registered, _reading, _contradictions, _size_limit, _damaged_files, _missing_file)
