"""The first pass: every recording read and cut into windows once, in order, in bounded memory.

Work starts in the calling process. When the rest would take longer than starting processes does, several processes
share it.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, fields, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.dataset import HIGHEST_RATE, LOWEST_RATE
from ecgtune.data.near_duplicates import fingerprint
from ecgtune.data.signal.path import Findings, SignalPath
from ecgtune.errors import DataError, RunError, SettingError
from ecgtune.io.readers.base import SAVE_LONG, LongRecordingError, ReadOptions
from ecgtune.io.readers.registry import read_recording
from ecgtune.io.records.pieces import windows_in_pieces
from ecgtune.utils.child import end_with_parent
from ecgtune.utils.formatting import counted

Progress = Callable[[int, int], object]
"""Called with the number of recordings that are done, and of all."""
_CHUNK = 16  # recordings per task: one message and one file to hand over
_WORTH_PROCESSES = 10.0  # seconds of remaining work; each process takes about two to start


@dataclass(frozen=True)
class Expected:
    """Properties that all recordings must share because no setting makes them equal; None: any value."""

    sampling_rate: float | None = None
    leads: frozenset[str] | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class RecordingFacts(Findings):
    """Facts about one recording.

    notes: of the reader. windows: number written; 0 when it differs from the expected properties.
    """

    sampling_rate: float
    leads: tuple[str, ...]
    seconds: float
    notes: tuple[str, ...] = ()
    windows: int = 0


def counted_notes(facts: Mapping[str, RecordingFacts | None]) -> list[str]:
    """Return each note of the readers once, with the number of recordings that have it and an example."""
    examples: dict[str, list[str]] = {}
    for name, known in facts.items():
        for text in () if known is None else known.notes:
            examples.setdefault(text, []).append(name)
    return [
        f"{counted(len(names), 'recording')} ({names[0]}{', ...' if len(names) > 1 else ''}): {text}"
        for text, names in examples.items()
    ]


@dataclass(frozen=True, eq=False)
class RecordingOutcome:
    """Facts and fingerprint (None when it was not asked for) of one recording, or the reason why it cannot be used."""

    facts: RecordingFacts | None
    fingerprint: NDArray[np.float32] | None
    reason: str | None = None


@dataclass(frozen=True)
class Preparation:
    """How recordings become windows; fingerprints: for the search of near-duplicates."""

    options: ReadOptions
    signal_path: SignalPath
    expected: Expected = Expected()
    fingerprints: bool = True


@dataclass(frozen=True)
class Job:
    """Recordings that one task prepares; their windows go to `part`, one after the other, as raw float32."""

    paths: tuple[Path, ...]
    preparation: Preparation
    part: Path


def first_pass(
    paths: Sequence[Path],
    preparation: Preparation,
    folder: Path,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[RecordingOutcome]:
    """Prepare the recordings `paths` and write their windows, in this order, to `folder`/signal.f32.

    workers: processes; None to decide by the time that the first recordings take, with up to one per core. A recording
    that cannot be used has a reason in its outcome. Raises RunError when a process dies.
    """
    jobs = [
        Job(tuple(paths[start : start + _CHUNK]), preparation, folder / f"part-{start}")
        for start in range(0, len(paths), _CHUNK)
    ]
    outcomes: list[RecordingOutcome] = []
    with (folder / "signal.f32").open("wb") as whole:
        for job, result in zip(jobs, _results(jobs, workers), strict=True):
            with job.part.open("rb") as part:
                while block := part.read(1 << 20):
                    whole.write(block)
            job.part.unlink()
            outcomes += result
            if progress is not None:
                progress(len(outcomes), len(paths))
    return outcomes


def prepare(job: Job) -> list[RecordingOutcome]:
    """Read and prepare the recordings of a job, and write their windows."""
    outcomes = []
    with job.part.open("wb") as part:
        for path in job.paths:
            try:
                outcomes.append(_prepare(path, job.preparation, part))
            except (DataError, SettingError) as error:  # such as a band that this recording's rate cannot hold
                outcomes.append(RecordingOutcome(None, None, str(error).removeprefix(f"{path}: ")))
            except MemoryError:
                reason = f"does not fit into memory; {SAVE_LONG}"
                outcomes.append(RecordingOutcome(None, None, reason))
    return outcomes


def _prepare(path: Path, preparation: Preparation, part: Any) -> RecordingOutcome:
    try:
        recording = read_recording(path, preparation.options)
    except LongRecordingError as long:
        return _prepare_long(path, long, preparation, part)
    rate, leads, expected = recording.sampling_rate, recording.leads, preparation.expected
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise DataError(f"{rate:g} Hz is no rate of an ECG; {LOWEST_RATE:g} to {HIGHEST_RATE:g} Hz are allowed")
    facts = RecordingFacts(rate, leads, recording.seconds, recording.notes)
    prints = fingerprint(recording.signal, leads, rate) if preparation.fingerprints else None
    if (
        expected.sampling_rate not in (None, rate)
        or expected.leads not in (None, frozenset(leads))
        or expected.seconds not in (None, recording.seconds)
    ):
        return RecordingOutcome(facts, prints)
    processed = preparation.signal_path(recording.signal, leads, rate)
    part.write(np.ascontiguousarray(processed.windows).data)
    found = {item.name: getattr(processed, item.name) for item in fields(Findings)}
    return RecordingOutcome(replace(facts, windows=len(processed.windows), **found), prints)


def _prepare_long(path: Path, long: LongRecordingError, preparation: Preparation, part: Any) -> RecordingOutcome:
    expected = preparation.expected
    if preparation.signal_path.window is None:
        raise DataError(f"{long}, or cut it into windows with --window")
    facts = RecordingFacts(long.sampling_rate, long.leads, long.seconds)
    if expected.sampling_rate not in (None, facts.sampling_rate) or expected.leads not in (
        None,
        frozenset(facts.leads),
    ):
        return RecordingOutcome(facts, None)
    first, windows, found = windows_in_pieces(
        path, long, preparation.options, preparation.signal_path, lambda values: part.write(values.data)
    )
    prints = fingerprint(first.signal, first.leads, first.sampling_rate) if preparation.fingerprints else None
    return RecordingOutcome(replace(facts, windows=windows, notes=first.notes, **found), prints)


def _results(jobs: Sequence[Job], workers: int | None) -> Iterator[list[RecordingOutcome]]:
    """Yield the results in the order of the jobs, from this process or from several."""
    if workers is not None and workers > 1:
        yield from _in_processes(jobs, workers)
        return
    cores, started = os.cpu_count() or 1, time.monotonic()
    for number, job in enumerate(jobs):
        yield prepare(job)
        if number == 0:
            started = time.monotonic()  # the first job imports libraries
        elif workers is None and cores > 1:
            left = len(jobs) - number - 1
            if left * (time.monotonic() - started) / number > _WORTH_PROCESSES:
                yield from _in_processes(jobs[number + 1 :], cores)
                return


def _in_processes(jobs: Sequence[Job], workers: int) -> Iterator[list[RecordingOutcome]]:
    """Yield the results in the order of the jobs; few are submitted ahead, so that neither memory nor disk fills."""
    # Spawned, not forked: a fork of a process with threads (pyarrow's, torch's) may hang.
    spawn = get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, initializer=end_with_parent, initargs=(os.getpid(),)) as pool:
        waiting: deque[Future[list[RecordingOutcome]]] = deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(prepare, job))
                if len(waiting) >= 3 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise RunError(
                "a process that reads recordings ended before it was done; in a script, call it below"
                " `if __name__ == '__main__':`, or read with workers=1"
            ) from None
        finally:
            for future in waiting:
                future.cancel()
