"""A moving average of the weights that train: often better than the weights themselves, and never noisier."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of the trainable weights of `model`, and of what its norms count (their buffers).

    average <- d * average + (1 - d) * weights after every step, d = min(decay, (1 + step) / (10 + step)): a short
    memory at first, so that random weights are soon forgotten. decay None: none of this happens. refresh: called when
    the average stands in the model, for what an average blurs.
    """

    def __init__(self, model: nn.Module, decay: float | None, refresh: Callable[[], None]) -> None:
        self._decay, self._refresh = decay, refresh
        weights = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
        counted = {name: buffer for name, buffer in model.named_buffers() if buffer.is_floating_point()}
        self._weights = {} if decay is None else weights | counted
        self._average = {name: weight.clone() for name, weight in self._weights.items()}

    def update(self, step: int) -> None:
        """After optimizer step `step` (0, 1, ...)."""
        if self._decay is None:
            return
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, average in self._average.items():
            average.lerp_(self._weights[name], 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model with the averaged weights; outside it has its own."""
        if self._decay is None:
            yield
            return
        own = {name: weight.clone() for name, weight in self._weights.items()}
        try:
            self._put(self._average)
            self._refresh()
            yield
        finally:
            self._put(own)

    def tensors(self) -> dict[str, Tensor]:
        """What a resume must find unchanged."""
        return self._average

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Read back what `tensors` gave when the training was stopped."""
        for name, average in self._average.items():
            average.copy_(tensors[name])

    def _put(self, tensors: dict[str, Tensor]) -> None:
        for name, weight in self._weights.items():
            weight.copy_(tensors[name])
