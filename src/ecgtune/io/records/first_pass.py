"""Every recording read and prepared once, in several processes, in the order of the table, in bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
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
from ecgtune.data.signal.path import SignalPath
from ecgtune.errors import DataError, RunError, SettingError
from ecgtune.io.readers.base import ReadOptions, Recording
from ecgtune.io.readers.registry import read_recording

Progress = Callable[[int, int], object]
"""Called with how many recordings are done, and how many there are."""
_CHUNK = 16  # recordings per task: one message and one file to hand over
_ALONE = 256  # recordings up to which starting processes takes longer than they save


@dataclass(frozen=True)
class Expected:
    """What every recording has to have for want of a setting that would make them equal; None: anything goes."""

    sampling_rate: float | None = None
    leads: frozenset[str] | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Facts:
    """What was met in one recording. windows: how many were written; 0 when it differs from what is expected.

    derived, zeroed, constant, saturated: names of leads. filled: seconds of closed gaps. repeated: shorter than a
    window. still: windows that were dropped because no lead changes in them.
    """

    sampling_rate: float
    leads: tuple[str, ...]
    seconds: float
    windows: int = 0
    derived: tuple[str, ...] = ()
    zeroed: tuple[str, ...] = ()
    constant: tuple[str, ...] = ()
    saturated: tuple[str, ...] = ()
    filled: float = 0.0
    repeated: bool = False
    still: int = 0


@dataclass(frozen=True, eq=False)
class Outcome:
    """Of one recording: facts and fingerprint, or the reason why there are none."""

    facts: Facts | None
    fingerprint: NDArray[np.float32] | None
    reason: str | None = None


@dataclass(frozen=True)
class Job:
    """Recordings that one task prepares; their windows go to `part`, one after the other, as raw float32."""

    paths: tuple[Path, ...]
    options: ReadOptions
    signal_path: SignalPath
    expected: Expected
    part: Path


def first_pass(
    paths: Sequence[Path],
    options: ReadOptions,
    signal_path: SignalPath,
    expected: Expected,
    folder: Path,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Prepare the recordings `paths`; their windows stand, in this order, in `folder`/signal.f32 afterwards.

    workers: processes; as many as there are cores when None, and none but this one for a few recordings. A recording
    that cannot be used has a reason in its outcome and stops nobody. Raises RunError when a process dies.
    """
    jobs = [
        Job(tuple(paths[start : start + _CHUNK]), options, signal_path, expected, folder / f"part-{start}")
        for start in range(0, len(paths), _CHUNK)
    ]
    alone = workers == 1 or (workers is None and len(paths) <= _ALONE)
    outcomes: list[Outcome] = []
    with (folder / "signal.f32").open("wb") as whole:
        results = map(prepare, jobs) if alone else _in_processes(jobs, workers or os.cpu_count() or 1)
        for job, result in zip(jobs, results, strict=True):
            with job.part.open("rb") as part:
                while block := part.read(1 << 20):
                    whole.write(block)
            job.part.unlink()
            outcomes += result
            if progress is not None:
                progress(len(outcomes), len(paths))
    return outcomes


def prepare(job: Job) -> list[Outcome]:
    """Read and prepare the recordings of a job, and write their windows."""
    outcomes = []
    with job.part.open("wb") as part:
        for path in job.paths:
            try:
                recording = read_recording(path, job.options)
                outcomes.append(_prepare(recording, job, part))
            except (DataError, SettingError) as error:  # a band that this recording's rate cannot hold, say
                reason = str(error).removeprefix(f"{path}: ")
                outcomes.append(Outcome(None, None, reason))
            except MemoryError:
                outcomes.append(Outcome(None, None, "does not fit into memory; cut it into shorter recordings"))
    return outcomes


def _prepare(recording: Recording, job: Job, part: Any) -> Outcome:
    rate, leads, expected = recording.sampling_rate, recording.leads, job.expected
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise DataError(f"{rate:g} Hz is no rate of an ECG; {LOWEST_RATE:g} to {HIGHEST_RATE:g} Hz are allowed")
    facts = Facts(rate, leads, recording.seconds)
    print_of_it = fingerprint(recording.signal, leads, rate)
    if (
        expected.sampling_rate not in (None, rate)
        or expected.leads not in (None, frozenset(leads))
        or expected.seconds not in (None, recording.seconds)
    ):
        return Outcome(facts, print_of_it)
    prepared = job.signal_path(recording.signal, leads, rate)
    part.write(np.ascontiguousarray(prepared.windows).data)
    met = {item.name: getattr(prepared, item.name) for item in fields(prepared) if item.name != "windows"}
    return Outcome(replace(facts, windows=len(prepared.windows), **met), print_of_it)


def _in_processes(jobs: Sequence[Job], workers: int) -> Iterator[list[Outcome]]:
    """Results in the order of the jobs, with few of them under way, so that neither memory nor disk fills."""
    # Spawned, not forked: a fork of a process with threads (pyarrow's, torch's) may stand still for ever.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting: deque[Future[list[Outcome]]] = deque()
        left = iter(jobs)
        try:
            for job in left:
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
