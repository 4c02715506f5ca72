"""The work that is timed: the original's step, and the same through ecgtune's own loop."""

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

#: Windows of noise that a run validates and tests on, both labels among them; that is not what is timed.
FEW = 4


@dataclass(frozen=True)
class Size:
    """Size of the benchmark. samples: of a window at the encoder's rate; windows: of an epoch."""

    config: EcgFmConfig
    batch: int
    samples: int
    windows: int
    device: torch.device

    def noise(self, windows: int) -> tuple[np.ndarray, np.ndarray]:
        """Signals (windows, leads, samples) float32 and labels that alternate."""
        shape = (windows, len(self.config.leads), self.samples)
        return np.random.default_rng(0).standard_normal(shape, dtype=np.float32), np.arange(windows) % 2

    def signal(self, windows: int | None = None) -> Tensor:
        """Noise on the device: a batch, unless `windows` is given."""
        return torch.from_numpy(self.noise(self.batch if windows is None else windows)[0]).to(self.device)


def original_step(size: Size, classifier: Classifier) -> tuple[Original, Callable[[], None]]:
    """The original and its training step: every weight, Adam, float32."""
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
    """An epoch of a probe: the encoder runs over all windows again, the head takes a step for each batch."""
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
    """Between the logits of ours and of the original, both in float32, relative to the largest logit."""
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
    """A run of `method` through ecgtune's own loop, as `ecgtune compare` would run it: its steps and epochs."""
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
        (folder / "report.html").touch()  # an existing report is not written again, and is not what is timed
        run_recipe(run, ProgressBar(quiet=True), [clock])
    return clock.trainings[-1]
