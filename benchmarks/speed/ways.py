"""Timed computations: the step of the original implementation, and the same in the training loop of ecgtune."""

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from original import Original, make_original
from torch import Tensor
from torch.nn.functional import cross_entropy

from ecgtune.config.augmentation import Augmentation
from ecgtune.config.model import ModelSettings
from ecgtune.config.optimisation import Optimisation
from ecgtune.config.trainer import TrainerSettings
from ecgtune.data.dataset import Dataset, Source
from ecgtune.data.splits import Split
from ecgtune.methods.base import Method
from ecgtune.models.classifier import Classifier
from ecgtune.models.ecg_fm.network import EcgFmConfig
from ecgtune.recipes.recipe import Recipe
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.dry_run import Clock, Timing
from ecgtune.workflows.ready import RunBuilder
from ecgtune.workflows.run import run_recipe

#: Noise windows of the validation and the test split, with both labels; they are not timed.
FEW = 4


@dataclass(frozen=True)
class Size:
    """Size of the benchmark. samples: per window at the encoder's rate; windows: per epoch."""

    config: EcgFmConfig
    batch: int
    samples: int
    windows: int
    device: torch.device

    def noise(self, windows: int) -> tuple[np.ndarray, np.ndarray]:
        """Return signals (windows, leads, samples) float32 and alternating labels."""
        shape = (windows, len(self.config.leads), self.samples)
        return np.random.default_rng(0).standard_normal(shape, dtype=np.float32), np.arange(windows) % 2

    def signal(self, windows: int | None = None) -> Tensor:
        """Return noise on the device, one batch by default."""
        return torch.from_numpy(self.noise(self.batch if windows is None else windows)[0]).to(self.device)


def original_step(size: Size, classifier: Classifier) -> tuple[Original, Callable[[], None]]:
    """Return the original and its training step: full fine-tuning with Adam in float32."""
    original = make_original(size.config, classifier.encoder, classifier.head[0]).to(size.device).train()
    optimizer = torch.optim.Adam(original.parameters(), lr=1e-5)
    signal = size.signal()
    label = torch.arange(len(signal), device=size.device) % 2

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(original(signal), label).backward()
        optimizer.step()

    return original, step


def original_probe_epoch(size: Size, original: Original) -> Callable[[], None]:
    """Return an epoch of a linear probe: the encoder runs on all windows, the head has one step per batch."""
    signal = size.signal(size.windows)
    label = torch.arange(size.windows, device=size.device) % 2
    head = copy.deepcopy(original.head)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)

    def epoch() -> None:
        for start in range(0, size.windows, size.batch):
            with torch.no_grad():
                pooled = original.encode(signal[start : start + size.batch])
            optimizer.zero_grad()
            cross_entropy(head(pooled), label[start : start + size.batch]).backward()
            optimizer.step()

    return epoch


def largest_difference(size: Size, classifier: Classifier, original: Original) -> float:
    """Return the largest difference of float32 logits of original and ecgtune, relative to the largest logit."""
    signal = size.signal(min(FEW, size.batch))
    with torch.no_grad():
        theirs, ours = original.eval()(signal), classifier.eval()(signal)
    return float((theirs - ours).abs().max() / theirs.abs().max())


def our_timing(
    size: Size,
    classifier: Classifier,
    method: Method,
    *,
    windows: int,
    epochs: int,
    precision: str,
    augmentation: Augmentation | None = None,
) -> Timing:
    """Run `method` as `ecgtune compare` does and return the time of its steps and epochs."""
    inputs, labels = size.noise(windows + 2 * FEW)
    dataset = Dataset(
        signal=inputs,
        label=labels,
        classes=("0", "1"),
        sampling_rate=size.config.sampling_rate,
        leads=size.config.leads,
        unit="mV",
        group=None,
        group_name=None,
        split=None,
        source=Source("noise", ""),
    )
    rows = np.split(np.arange(len(dataset)), [windows, windows + FEW])
    split = Split(*rows, unit="row", origin="a benchmark", warnings=(), duplicates=0)
    recipe = Recipe(
        "benchmark",
        method=method,
        model=ModelSettings(name=classifier.name),
        optimisation=Optimisation(epochs=epochs, batch_size=size.batch),
        trainer=TrainerSettings(precision=precision, device=size.device.type),  # type: ignore[arg-type]
        augmentation=augmentation or Augmentation(),
    )
    model, clock = copy.deepcopy(classifier), Clock()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        run = RunBuilder(dataset, split).ready(recipe, seed=0, folder=folder, model=model)
        folder.mkdir()
        (folder / "report.html").touch()  # suppresses the report, which is not timed
        run_recipe(run, ProgressBar(shown=False), [clock])
    return clock.trainings[-1]
