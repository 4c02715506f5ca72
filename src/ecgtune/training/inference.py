"""Windows through a model without gradients."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ecgtune.errors import SettingError
from ecgtune.methods import Features
from ecgtune.models import Classifier
from ecgtune.training.batches import Windows

BATCH = 256


def choose_device(name: str) -> torch.device:
    """ "auto", "cpu", "cuda" or "mps" as a device. Raises SettingError when this machine does not have it."""
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if present["cuda"] else "mps" if present["mps"] else "cpu")
    if not present.get(name, False):
        here = ", ".join(device for device, there in present.items() if there)
        raise SettingError(f"device {name!r} is not on this machine; here: auto, {here}")
    return torch.device(name)


@torch.no_grad()
def logits_of(module: nn.Module, inputs: np.ndarray, *, batch_size: int = BATCH, precision: str = "fp32") -> np.ndarray:
    """`module(inputs)` in batches, in evaluation mode; float32 `(windows, ...)`. The module's mode is put back."""
    device = next(module.parameters()).device
    training = module.training
    module.eval()
    pieces = []
    for start in range(0, len(inputs), batch_size):
        batch = torch.from_numpy(np.ascontiguousarray(inputs[start : start + batch_size])).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            pieces.append(module(batch).float().cpu())
    module.train(training)
    return torch.cat(pieces).numpy()


def encode_once(model: Classifier, windows: Windows, *, precision: str = "fp32") -> Windows:
    """The windows as pooled tokens `(windows, ...)`, see `methods.Features`: what a head on a frozen encoder reads."""
    return Windows(logits_of(Features(model), windows.inputs, precision=precision), windows.label)


def probability_of(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, in float64."""
    shifted = np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True)
    exponent = np.exp(shifted)
    return exponent / exponent.sum(axis=-1, keepdims=True)
