"""`ecgtune simulate`."""

from __future__ import annotations

from pathlib import Path

from ecgtune.cli.output import say
from ecgtune.utils.formatting import counted


def simulate(out: Path, /, *, windows: int = 2000, sampling_rate: float = 100.0, seed: int = 0) -> None:
    """Write a CSV of simulated one-lead windows.

    Labels: sinus rhythm (0) and atrial fibrillation (1).

    Parameters
    ----------
    out
        The CSV file.
    windows
        Number of windows of 6 s.
    sampling_rate
        Sampling rate in Hz.
    seed
        Same seed, same windows.
    """
    from ecgtune.data.simulation import simulate as simulate_windows
    from ecgtune.io.writing import write_csv

    write_csv(simulate_windows(windows, sampling_rate=sampling_rate, seed=seed), out)
    say(f"wrote {counted(windows, 'window')} at {sampling_rate:g} Hz: {out}")
