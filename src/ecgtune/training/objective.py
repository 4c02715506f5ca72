"""What a training is for: the seam between the one loop and everything that goes through it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class StepContext:
    """Where a training stands: all that a random draw may depend on beside the rows of its batch.

    epoch counts from 0, step (of the optimizer) from 0 over all `total_steps` of the training.
    """

    seed: int
    epoch: int
    step: int
    total_steps: int


class Objective(ABC):
    """What `train` trains, on which items, by which loss, and how it tells that an epoch was good.

    One object serves one training. Everything it draws is a pure function of the context and the rows, so that a
    resumed training ends on the same bits; what else must survive a stop is in `tensors` and `audit`.
    """

    #: Of Adam, where an objective was published with its own; these are torch's.
    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)
    epsilon: ClassVar[float] = 1e-8

    #: Everything that belongs to the training; its parameters that require a gradient are what the optimizer moves.
    model: nn.Module
    #: The part of `model` that a step runs forward and backward through.
    trained: nn.Module
    #: How many items an epoch passes once, in an order of its own.
    items: int
    #: Peak learning rate: that of the settings, or of what is trained where they give none.
    learning_rate: float
    #: One sentence when the audits of this training are done; "" until then.
    audit: str = ""

    @abstractmethod
    def weight(self, rows: np.ndarray, context: StepContext) -> float:
        """What the summed loss of the items `rows` at that context is divided by to give their mean loss."""

    @abstractmethod
    def batch(self, rows: np.ndarray, context: StepContext, device: torch.device) -> Any:
        """The items `rows` on the device, as `loss` takes them."""

    @abstractmethod
    def loss(self, trained: nn.Module, batch: Any) -> dict[str, Tensor]:
        """ "loss", summed over the batch in float32 and with its gradient, and what else is to be summed for the log.

        `trained` is `self.trained`, possibly wrapped for several processes; only its call may be used.
        """

    def rate_factor(self, parameter: str) -> float:
        """Factor on the learning rate of one weight, by its name in `model`; above 0."""
        return 1.0

    def before_step(self, batch: Any) -> None:  # noqa: B027, most objectives need none
        """Before the first forward pass of a step."""

    def after_backward(self) -> None:  # noqa: B027, most objectives need none
        """When the gradients of a step are complete."""

    def after_step(self, context: StepContext) -> None:  # noqa: B027, most objectives need none
        """When the weights have moved and their gradients are still there."""

    def averaged(self) -> None:  # noqa: B027, most objectives need none
        """When averaged weights stand in `model`: make exact what an average only comes close to."""

    @abstractmethod
    def evaluate(
        self, trained: nn.Module, sums: Mapping[str, float], weight: float, context: StepContext
    ) -> dict[str, Any]:
        """The log row of an epoch: `sums` over it of what `loss` gave, `weight` of all of its batches."""

    def check(self, row: Mapping[str, Any]) -> None:  # noqa: B027, most objectives go on whatever it says
        """Raise RunError when going on after this log row makes no sense; the row stands in the log already."""

    @abstractmethod
    def score(self, row: Mapping[str, Any]) -> float:
        """How good the epoch of this log row was; the first one with the highest score is kept."""

    @abstractmethod
    def sentence(self, row: Mapping[str, Any]) -> str:
        """The log row in a few words for the user who waits."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """All that a step can change: of `model` by its names in the state dict, and what `restore` puts elsewhere."""

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` gave when the training was stopped."""
        self.model.load_state_dict(tensors, strict=False)

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write what an epoch has made into `folder`, which exists."""

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Read it back into `model`."""
