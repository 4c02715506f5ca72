"""Recordings written as files of every format, by the library made for it or by the standard's own words."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ecgtune.data.formats import ReadOptions, Recording, read_recording

LEADS = ("I", "II", "V1")


def digital(leads: int = 3, samples: int = 40, seed: int = 0) -> np.ndarray:
    """Whole numbers (leads, samples) for files of 12 bits and more; with 1000 steps per millivolt exact in float32."""
    return np.random.default_rng(seed).integers(-2000, 2000, (leads, samples))


def read(path: Path, **options) -> Recording:
    return read_recording(path, ReadOptions(**options))


def write_wfdb(
    folder: Path, values: np.ndarray, name: str = "rec", leads=LEADS, rate: float = 250, fmt: str = "16", **fields
) -> Path:
    """A record through the library's own writer; gives the path of the header."""
    import wfdb

    count = len(values)
    signal = {"units": ["mV"] * count, "adc_gain": [1000.0] * count, "baseline": [0] * count} | fields
    wfdb.wrsamp(
        name,
        fs=rate,
        units=signal["units"],
        sig_name=list(leads[:count]),
        d_signal=values.T.astype(np.int64),
        fmt=[fmt] * count,
        adc_gain=signal["adc_gain"],
        baseline=signal["baseline"],
        write_dir=str(folder),
    )
    return folder / f"{name}.hea"


def write_hdf5(path: Path, values: np.ndarray, on_file: bool = False, **attributes) -> Path:
    import h5py

    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("signal", data=values)
        for key, value in attributes.items():
            (file if on_file else dataset).attrs[key] = value
    return path


def write_csv(path: Path, values: np.ndarray, names=LEADS) -> Path:
    lines = [",".join(names), *(",".join(map(repr, row)) for row in values.T.tolist())]
    path.write_text("\n".join(lines) + "\n")
    return path
