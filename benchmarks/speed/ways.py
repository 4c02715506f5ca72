"""The work that is timed: the original's step, and ours through the product's own loop."""

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

from ecgtune.config.model import ModelSettings
from ecgtune.config.optimisation import Optimisation
from ecgtune.config.trainer import TrainerSettings
from ecgtune.data.dataset import Dataset, Source
from ecgtune.data.splits import Split
from ecgtune.methods.base import Method
from ecgtune.models.classifier import Classifier, Head
from ecgtune.models.ecg_fm.network import EcgFM, EcgFmConfig
from ecgtune.models.weights import Weights
from ecgtune.recipe.recipe import Recipe
from ecgtune.workflows.measure import Phase, StepClock
from ecgtune.workflows.preparation import prepare
from ecgtune.workflows.run import make_ready, run_recipe

#: Windows of noise that a run validates and tests on, both labels among them; that is not what is timed.
FEW = 4


@dataclass(frozen=True)
class Size:
    """What the benchmark runs at. samples: of a window at the encoder's rate; windows: of an epoch."""

    config: EcgFmConfig
    batch: int
    samples: int
    windows: int
    rounds: int
    device: torch.device


def make_classifier(size: Size) -> Classifier:
    """The encoder with random weights: times do not depend on them."""
    torch.manual_seed(0)
    weights = Weights("random", "benchmark", seed=0)
    return Classifier(EcgFM(size.config), Head(), ("0", "1"), weights, name="ecg-fm", seed=0).to(size.device)


def noise(size: Size, windows: int) -> tuple[np.ndarray, np.ndarray]:
    """Signals (windows, leads, samples) float32 and labels that alternate."""
    shape = (windows, len(size.config.leads), size.samples)
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32), np.arange(windows) % 2


def original_step(size: Size, classifier: Classifier) -> tuple[Original, Callable[[], None]]:
    """The original and its training step: every weight, Adam, float32."""
    original = make_original(size.config, classifier.encoder, classifier.head[0]).to(size.device).train()
    optimizer = torch.optim.Adam(original.parameters(), lr=1e-5)
    inputs, labels = noise(size, size.batch)
    signal, label = torch.from_numpy(inputs).to(size.device), torch.from_numpy(labels).to(size.device)

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(original(signal), label).backward()
        optimizer.step()

    return original, step


def original_probe_epoch(size: Size, original: Original) -> Callable[[], None]:
    """An epoch of a probe: the encoder runs anew over all windows, the head takes a step for each batch."""
    inputs, labels = noise(size, size.windows)
    head = copy.deepcopy(original.head)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)

    def epoch() -> None:
        for start in range(0, size.windows, size.batch):
            signal = torch.from_numpy(inputs[start : start + size.batch]).to(size.device)
            label = torch.from_numpy(labels[start : start + size.batch]).to(size.device)
            with torch.no_grad():
                pooled = original.encode(signal)
            optimizer.zero_grad()
            cross_entropy(head(pooled), label).backward()
            optimizer.step()

    return epoch


def largest_difference(size: Size, classifier: Classifier, original: Original) -> float:
    """Between the logits of ours and of the original, both in float32, relative to the largest logit."""
    signal = torch.from_numpy(noise(size, min(FEW, size.batch))[0]).to(size.device)
    with torch.no_grad():
        theirs, ours = original.eval()(signal), classifier.eval()(signal)
    return float((theirs - ours).abs().max() / theirs.abs().max())


def our_phase(size: Size, classifier: Classifier, method: Method, *, windows: int, epochs: int) -> tuple[Phase, int]:
    """A run of `method` in bf16 through the product's own loop, as `compare` would run it: its steps and epochs.

    And how often the encoder's first layers ran: a cache of what they give would show.
    """
    inputs, labels = noise(size, windows + 2 * FEW)
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
    optimisation = Optimisation(epochs=epochs, batch_size=size.batch)
    trainer = TrainerSettings(precision="bf16", device=size.device.type)  # type: ignore[arg-type]
    recipe = Recipe(
        "benchmark", method=method, model=ModelSettings(name="ecg-fm"), optimisation=optimisation, trainer=trainer
    )
    model = copy.deepcopy(classifier)
    clock, calls = StepClock(), [0]

    def count(*_: object) -> None:
        calls[0] += 1

    model.base_encoder.get_submodule("stem").register_forward_hook(count)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        prepared = prepare(model, dataset, split, recipe.data)
        run = make_ready(recipe, model, prepared, seed=0, folder=folder, resume=False)
        folder.mkdir()
        (folder / "report.html").touch()  # one that is there is not written, and the report is not what is timed
        run_recipe(run, clock)
    return clock.phases[-1], calls[0]


def loss_of(classifier: Classifier, size: Size) -> Callable[[], Tensor]:
    """A forward pass of one batch in bf16, for counting what it asks for."""
    inputs, labels = noise(size, size.batch)
    signal, label = torch.from_numpy(inputs).to(size.device), torch.from_numpy(labels).to(size.device)

    def forward() -> Tensor:
        with torch.autocast(size.device.type, torch.bfloat16):
            return cross_entropy(classifier(signal).float(), label)

    return forward
