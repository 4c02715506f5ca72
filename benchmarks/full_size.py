"""An encoder of ECG-FM's size with random weights, for benchmarks: time and memory do not depend on the weights."""

from pathlib import Path

import torch

from ecgtune.models.checkpoint import save_encoder
from ecgtune.models.ecg_fm.network import EcgFM, EcgFmConfig

TITLE = "ECG-FM's size, random weights"


def full_size(folder: Path) -> Path:
    """A new model folder that `load_model` takes."""
    torch.manual_seed(0)
    folder.mkdir()
    save_encoder(EcgFM(EcgFmConfig()), folder, {"weights": "random"})
    return folder
