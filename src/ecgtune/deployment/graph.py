"""A fine-tuned model as one graph from raw windows to probabilities: what an exported file computes.

Resampling and normalisation follow `data.preprocessing` operation by operation. What decides about rounding, means and
the line through the end points, is computed in float64; the filter of the resampling is a float32 convolution.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from ecgtune.data.preprocessing import Preprocessing
from ecgtune.data.signal.filters import FLAT, low_pass, resampling_ratio
from ecgtune.data.tasks import Task
from ecgtune.errors import SettingError
from ecgtune.evaluation.calibration.maps import Calibration
from ecgtune.evaluation.novelty import MAHALANOBIS, NEIGHBOUR, Novelty
from ecgtune.models.base import Encoder
from ecgtune.models.classifier import Classifier

#: Weights of a resampling convolution: 50 million would be 200 MB of a file.
LARGEST_FILTER = 1 << 22


class PolyphaseResampling(nn.Module):
    """`data.signal.filters.resample` with "polyphase" as one convolution: `up` samples for every `down`.

    Sample up * m + p of the result is a sum over the samples around down * m, weighted by taps of the low pass that
    depend on p alone: p is an output channel of a convolution with the stride `down`.
    """

    def __init__(self, ratio: Fraction) -> None:
        super().__init__()
        up, down = self.up, self.down = ratio.numerator, ratio.denominator
        half = 10 * max(up, down)
        first, last = -(half // up), ((up - 1) * down + half) // up
        if up * (last - first + 1) > LARGEST_FILTER:
            raise SettingError(
                f"resampling by {up}/{down} needs a filter of {up * (last - first + 1)} weights in the file; at most "
                f"{LARGEST_FILTER} are allowed: export for the rate of the model, or one in a simpler ratio to it"
            )
        tap = np.arange(up)[:, None] * down - np.arange(first, last + 1) * up + half
        taps = up * low_pass(max(up, down))
        weight = np.where((tap >= 0) & (tap <= 2 * half), taps[np.clip(tap, 0, 2 * half)], 0.0)
        self.padding = (-first, last)
        self.weight: Tensor
        self.register_buffer("weight", torch.tensor(weight[:, None], dtype=torch.float32))

    def forward(self, signal: Tensor) -> Tensor:
        """(batch, leads, samples) float64 -> (batch, leads, ceil(samples * up / down)) float64."""
        batch, leads, samples = signal.shape
        position = torch.arange(samples, dtype=torch.float64, device=signal.device)
        length = position[-1:]
        start = signal[..., :1]
        rise = (signal[..., -1:] - start) / length
        level = (signal - (start + rise * position)).float().view(-1, 1, samples)
        blocks = F.conv1d(F.pad(level, self.padding), self.weight, stride=self.down)
        count = (samples * self.up + self.down - 1) // self.down
        values = blocks.transpose(1, 2).flatten(1)[:, :count].view(batch, leads, -1).double()
        position = torch.arange(count, dtype=torch.float64, device=signal.device) * (self.down / self.up)
        return values + (start + rise * position)


class LinearResampling(nn.Module):
    """`data.signal.filters.resample` with "linear": interpolation between aligned end points."""

    def __init__(self, ratio: Fraction) -> None:
        super().__init__()
        self.up, self.down = ratio.numerator, ratio.denominator

    def forward(self, signal: Tensor) -> Tensor:
        """(batch, leads, samples) float64 -> (batch, leads, samples * up // down) float64."""
        samples = signal.shape[-1]
        known = torch.arange(samples, dtype=torch.float64, device=signal.device)
        wanted = torch.arange(samples * self.up // self.down, dtype=torch.float64, device=signal.device)
        position = wanted / wanted[-1:].clamp(min=1) * known[-1:]
        left = torch.minimum(position.floor(), known[-2:-1])
        low = signal.index_select(-1, left.long())
        high = signal.index_select(-1, left.long() + 1)
        return low + (high - low) * (position - left)


class Normalisation(nn.Module):
    """The normalisation of `Preprocessing`: float64 windows (batch, leads, samples) -> float32."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.kind = preprocessing.normalisation
        for name in ("mean", "std"):
            values = getattr(preprocessing, name)
            kept = None if values is None else torch.tensor(values, dtype=torch.float64)[:, None]
            self.register_buffer(name, kept)

    def forward(self, signal: Tensor) -> Tensor:
        if self.kind == "global":
            return ((signal - cast(Tensor, self.mean)) / cast(Tensor, self.std)).float()
        if self.kind == "none":
            return signal.float()
        centred = signal - signal.mean(dim=-1, keepdim=True)
        std = (centred * centred).mean(dim=-1, keepdim=True).sqrt()
        flat = std <= FLAT * signal.abs().amax(dim=-1, keepdim=True)
        return torch.where(flat, 0.0, centred / torch.where(flat, 1.0, std)).float()


class NoveltyScore(nn.Module):
    """`evaluation.novelty.Novelty` for features (batch, features), float32: the novelty (batch,).

    Differences are taken before they are squared, so that float32 is exact enough.
    """

    def __init__(self, novelty: Novelty) -> None:
        super().__init__()
        self.kind, self.scale = novelty.kind, novelty.scale
        for name, values in novelty.arrays.items():
            self.register_buffer(name, torch.from_numpy(values.copy()))

    def forward(self, features: Tensor) -> Tensor:
        if self.kind == MAHALANOBIS:
            mean, directions, variance, rest = (
                self.get_buffer(name) for name in ("mean", "directions", "variance", "rest")
            )
            centred = features - mean
            along = centred @ directions
            outside = centred - along @ directions.T
            square = (along * along / variance).sum(dim=1) + (outside * outside).sum(dim=1) / rest
        else:
            mean, deviation, known = (self.get_buffer(name) for name in ("mean", "deviation", "known"))
            distance = ((features - mean) / deviation)[:, None] - known
            place = min(NEIGHBOUR, len(known))
            square = (distance * distance).sum(dim=2).topk(place, largest=False).values[:, -1]
        return square.sqrt() / self.scale


class InferenceGraph(nn.Module):
    """Windows (batch, leads, samples), float32, in the unit and at the rate of the training data, to probabilities
    (batch, classes): resampling, normalisation, lead mixer, encoder with its method, pooling, head, softmax or sigmoid.
    With a novelty score, to probabilities and the novelty (batch,).

    With the steps of a preset, the windows are those behind them, which the runtime computes.

    sampling_rate: Hz of the input. classifier: a copy is made, with the method multiplied into the encoder's weights
    where that is exact. calibration: of the run, after softmax or sigmoid, in float64. Raises SettingError for a rate
    from which the graph cannot resample, and for an encoder that says that no graph can hold it. novelty: of the run.
    """

    def __init__(
        self,
        classifier: Classifier,
        preprocessing: Preprocessing,
        task: Task,
        sampling_rate: float,
        calibration: Calibration | None = None,
        novelty: Novelty | None = None,
    ) -> None:
        super().__init__()
        encoder = classifier.base_encoder
        if encoder.no_graph:
            raise SettingError(
                f"{encoder.architecture} cannot be exported: {encoder.no_graph}; use the run: ecgtune predict RUN DATA"
            )
        self.resampling: nn.Module = nn.Identity()
        if sampling_rate != preprocessing.sampling_rate and not preprocessing.steps:
            kind = PolyphaseResampling if preprocessing.resampling == "polyphase" else LinearResampling
            self.resampling = kind(resampling_ratio(sampling_rate, preprocessing.sampling_rate))
        self.normalisation = Normalisation(preprocessing)
        self.classifier = merged_copy(classifier)
        self.task, self.calibration = task, calibration
        self.novelty = None if novelty is None else NoveltyScore(novelty)

    @property
    def encoders(self) -> tuple[Encoder, ...]:
        """Its encoder, as those of a `MeanGraph`."""
        return (self.classifier.base_encoder,)

    def forward(self, signal: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        classifier = self.classifier
        tokens, mask = classifier.encode(self.normalisation(self.resampling(signal.double())))
        features = classifier.finish_pooled(classifier.pool(tokens, mask))
        probability = self._probability(classifier.head(features))
        return probability if self.novelty is None else (probability, self.novelty(features.float()))

    def _probability(self, logits: Tensor) -> Tensor:
        if self.calibration is None or not self.calibration.changes:
            return logits.sigmoid() if self.task == "multilabel" else logits.softmax(dim=-1)
        logits = logits.double()
        if self.task == "binary":
            positive = self.calibration.of_log_odds(logits[:, 1] - logits[:, 0], torch)
            return torch.stack([1 - positive, positive], dim=1).float()
        if self.task == "multiclass":
            # Log-odds of each class: its logit minus the logarithm of the sum over the others.
            others = logits.softmax(dim=-1) @ (1 - torch.eye(logits.shape[-1], dtype=torch.float64))
            logits = logits.log_softmax(dim=-1) - others.log()
        return self.calibration.of_log_odds(logits, torch).float()


class MeanGraph(nn.Module):
    """Windows to the mean of the probabilities (batch, classes) of several graphs, each without a novelty score."""

    novelty = None

    def __init__(self, members: Sequence[InferenceGraph]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    @property
    def encoders(self) -> tuple[Encoder, ...]:
        return tuple(encoder for each in self.members for encoder in cast(InferenceGraph, each).encoders)

    def forward(self, signal: Tensor) -> Tensor:
        return torch.stack([member(signal) for member in self.members]).mean(dim=0)


#: What can become an exported file.
Graph: TypeAlias = InferenceGraph | MeanGraph


def architectures(graph: Graph) -> str:
    """The names of its encoders, each once, for messages."""
    return ", ".join(dict.fromkeys(each.architecture for each in graph.encoders))


def merged_copy(classifier: Classifier) -> Classifier:
    """A copy on the CPU, in evaluation mode, whose encoder has the method in its weights where that is exact.

    Merged in float64, so that the product is rounded once. Other methods stay beside the encoder, without peft's outer
    module. Kernels behind a parametrisation, such as weight norm, become plain weights.
    """
    copied = copy.deepcopy(classifier).cpu().eval().requires_grad_(False)
    if copied.attached is not None:
        try:
            encoder = copied.attached.merged(copy.deepcopy(copied.encoder).double()).float()
        except SettingError:
            wrapper = cast(Any, copied.encoder)
            encoder = wrapper.get_base_model() if hasattr(wrapper, "get_base_model") else wrapper
        copied.encoder = encoder
        copied.__dict__["base_encoder"] = next(each for each in encoder.modules() if isinstance(each, Encoder))
    for module in copied.encoder.modules():
        if parametrize.is_parametrized(module):
            # The class holds the computed weight as a property; the original model has the same class and keeps it.
            own = {name: value for name, value in vars(type(module)).items() if name not in ("__dict__", "__weakref__")}
            module.__class__ = cast(type[nn.Module], type(type(module).__name__, type(module).__bases__, own))
            for name in list(cast(nn.ModuleDict, module.parametrizations)):
                parametrize.remove_parametrizations(module, name)
    return copied
