"""Windows of a recording that is too long to be read at once, such as a Holter's: piece by piece, in flat memory.

The windows begin where those of the whole recording do. Each piece is read with some seconds more at both ends, so that
the edges of filters lie outside of its windows. A z-score over the recording, and leads that never change, are those of
a piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.signal.path import Findings, SignalPath, joined_findings
from ecgtune.errors import DataError
from ecgtune.io.readers.base import LongRecordingError, ReadOptions, Recording
from ecgtune.io.readers.registry import read_recording

PIECE_VALUES = 1 << 21  # of a piece, without its margins
MARGIN = 10.0  # seconds at either end of a piece, or five periods of the lowest frequency that is kept
_LARGEST_FACTOR = 10_000  # of the ratio of two rates


def windows_in_pieces(
    path: Path,
    long: LongRecordingError,
    options: ReadOptions,
    signal_path: SignalPath,
    write: Callable[[NDArray[np.float32]], object],
) -> tuple[Recording, int, dict[str, Any]]:
    """Pass the windows of a long recording to `write`, in order.

    Returns its first piece with all notes, the number of windows, and the findings. Raises DataError when no piece has
    a window.
    """
    first: Recording | None = None
    notes: dict[str, None] = {}
    found: list[Findings] = []
    count, error = 0, None
    most = max(options.max_values, 2 * PIECE_VALUES)  # margins included
    for span, windows in _spans(long, options.start or 0.0, signal_path):
        recording = read_recording(path, replace(options, start=span[0], stop=span[1], max_values=most))
        first = first or recording
        notes |= dict.fromkeys(recording.notes)
        try:
            processed = signal_path(recording.signal, recording.leads, recording.sampling_rate)
        except DataError as reason:  # such as a piece in which no lead changes
            error = error or reason
            continue
        chosen = (processed.start >= windows[0]) & (processed.start < windows[1])
        write(np.ascontiguousarray(processed.windows[chosen]))
        count += int(chosen.sum())
        found.append(processed)
    if first is None or not count:
        raise error or DataError(f"{path}: no window in it in which a lead changes")
    return replace(first, notes=tuple(notes)), count, joined_findings(found, 0.0)


def _spans(
    long: LongRecordingError, offset: float, signal_path: SignalPath
) -> Iterator[tuple[tuple[float, float], tuple[int, int]]]:
    """Yield start and end of each piece (s), and the range in which its windows start, in samples of the windows.

    Pieces begin on a sample at both rates, so that resampling meets the same points as over the whole recording.
    """
    assert signal_path.window is not None
    rate, made = long.sampling_rate, signal_path.sampling_rate
    ratio = (Fraction(rate) / Fraction(made)).limit_denominator(_LARGEST_FACTOR)
    window = round(signal_path.window * made)
    step = window if signal_path.step is None else round(signal_path.step * made)
    unit = (step * ratio).denominator  # windows after which one begins on a sample again
    total = ceil(Fraction(round(long.seconds * rate)) / ratio)
    margin = max(MARGIN, 0.0 if signal_path.band is None else 5 / signal_path.band[0])
    before = ceil(margin * made / step / unit) * unit  # windows
    several = max(1, int(PIECE_VALUES / (len(long.leads) * step * ratio)) // unit) * unit
    for start in range(0, max(0, total - window) // step + 1, several):
        first = max(0, start - before)
        last = min(start + several, (total - window) // step + 1)  # one past the last window
        end = min(float(long.seconds), ((last - 1) * step + window) / made + margin)
        begin = float(first * step * ratio) / rate
        yield (offset + begin, offset + end), ((start - first) * step, (last - first) * step)
