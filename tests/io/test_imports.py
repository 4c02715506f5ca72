"""Reading imports only the libraries that a file needs."""

import subprocess
import sys

import numpy as np
import pytest

from ecgtune.data.simulation import simulate
from ecgtune.io.writing import write_csv
from helpers.methods import slow

HEAVY = {"torch", "pandas", "pyarrow", "scipy.signal", "wfdb", "matplotlib"}


@pytest.mark.parametrize(("suffix", "needed"), [(".csv", {"pyarrow"}), *slow((".npz", set()))])
def test_a_file_of_windows(tmp_path, suffix, needed):
    dataset = simulate(60, patients=30, seconds=2)
    path = tmp_path / f"windows{suffix}"
    if suffix == ".csv":
        write_csv(dataset, path)
    else:
        np.savez(path, signal=dataset.signal, label=dataset.label)
    code = (
        "import sys, ecgtune\n"
        f"dataset = ecgtune.read_dataset({str(path)!r}, sampling_rate=100)\n"
        "ecgtune.split_dataset(dataset, allow_duplicates=True)\n"
        "ecgtune.Preprocessing(100.0)(dataset.signal, 100.0)\n"
        "print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert HEAVY & set(loaded) == needed | {"scipy.signal"}  # the split counts beats
