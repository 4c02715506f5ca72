"""Exponential moving average of the trainable weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of the trainable weights of `model` and of its floating-point buffers.

    After every step, average = d * average + (1 - d) * weights with d = min(decay, (1 + step) / (10 + step)), so the
    influence of the initial weights decays quickly. `decay` None disables it. `refresh` is called after the average is
    copied into the model and restores constraints that averaging violates.
    """

    def __init__(self, model: nn.Module, decay: float | None, refresh: Callable[[], None]) -> None:
        self._decay, self._refresh = decay, refresh
        weights = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
        buffers = {name: buffer for name, buffer in model.named_buffers() if buffer.is_floating_point()}
        self._weights = {} if decay is None else weights | buffers
        self._average = {name: weight.clone() for name, weight in self._weights.items()}

    def update(self, step: int) -> None:
        """Update the average after optimizer step `step` (0, 1, ...)."""
        if self._decay is None:
            return
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, average in self._average.items():
            average.lerp_(self._weights[name], 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Context in which the model has the averaged weights."""
        if self._decay is None:
            yield
            return
        own = {name: weight.clone() for name, weight in self._weights.items()}
        try:
            self._copy_to_model(self._average)
            self._refresh()
            yield
        finally:
            self._copy_to_model(own)

    def tensors(self) -> dict[str, Tensor]:
        """Return the state for a resume."""
        return self._average

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Restore a state that `tensors` returned."""
        for name, average in self._average.items():
            average.copy_(tensors[name])

    def _copy_to_model(self, tensors: dict[str, Tensor]) -> None:
        for name, weight in self._weights.items():
            weight.copy_(tensors[name])
