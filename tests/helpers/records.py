"""Small WFDB recordings, written with wfdb."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import wfdb

from ecgtune.data.simulation import simulate


def heartbeats(count: int, *, rate: float = 200, seconds: float = 10, seed: int = 0) -> np.ndarray:
    """(count, samples) in millivolts, each of another patient."""
    many = max(count, 2)
    return simulate(many, sampling_rate=rate, seconds=seconds, patients=many, seed=seed).signal[:count, 0]


def write_record(
    folder: Path, name: str, signal: np.ndarray, rate: float = 200, leads: Sequence[str] = ("II",), gain: float = 1000
) -> None:
    """One WFDB recording of `signal` (leads, samples) in millivolts, `gain` steps to the millivolt."""
    folder.mkdir(parents=True, exist_ok=True)
    wfdb.wrsamp(
        name,
        fs=rate,
        units=["mV"] * len(leads),
        sig_name=list(leads),
        p_signal=np.atleast_2d(signal).T.astype(np.float64),
        fmt=["16"] * len(leads),
        adc_gain=[gain] * len(leads),
        baseline=[0] * len(leads),
        write_dir=str(folder),
    )
