"""Encoders with random weights and training steps on noise, which have the time and memory of real ones."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ecgtune.models.checkpoint import save_encoder
from ecgtune.models.classifier import Classifier, Head, LoadedFrom
from ecgtune.models.ecg_fm.network import EcgFM, EcgFmConfig
from ecgtune.models.weights import Weights
from ecgtune.training.precision import autocast

FULL_SIZE = "ECG-FM's size, random weights"


def classifier(config: EcgFmConfig, device: torch.device | None = None) -> Classifier:
    """Return an encoder of this size with a linear head for two classes."""
    torch.manual_seed(0)
    weights = Weights("random", "benchmark", seed=0)
    return Classifier(EcgFM(config), Head(), ("0", "1"), weights, LoadedFrom("ecg-fm"), seed=0).to(device)


def full_size(folder: Path) -> Path:
    """Write a model folder of ECG-FM's size, which `load_model` reads; return it."""
    torch.manual_seed(0)
    folder.mkdir()
    save_encoder(EcgFM(EcgFmConfig()), folder, {"weights": "random"})
    return folder


def loss(model: nn.Module, inputs: Any, precision: str = "bf16") -> Tensor:
    """Return the cross-entropy of one batch with alternating labels."""
    kind = next(model.parameters()).device
    with autocast(kind, precision):
        logits = model(inputs).float()
    return cross_entropy(logits, torch.arange(len(logits), device=kind) % 2)


def step(model: nn.Module, inputs: Any, precision: str = "bf16") -> None:
    """Run forward and backward pass of one batch."""
    loss(model, inputs, precision).backward()
    model.zero_grad()


def seconds(work: Callable[[], Any], device: torch.device | None = None) -> float:
    """Return the seconds of one call, including the work of a GPU."""
    cuda = device is not None and device.type == "cuda"
    if cuda:
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    work()
    if cuda:
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def medians(
    ways: Mapping[str, Callable[[], Any]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Return the median seconds of each function; calls alternate, and the first round is a warm-up."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            started = clock()
            way()
            taken[name].append(clock() - started)
    return {name: float(np.median(values[1:])) for name, values in taken.items()}
