"""Interface between the training loop and what it trains."""

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
    """Step of a training; a random draw may depend only on it and the rows of the batch.

    `epoch` counts from 0, the optimizer step `step` from 0 over all `total_steps` of the training.
    """

    seed: int
    epoch: int
    step: int
    total_steps: int


class Objective(ABC):
    """Model, items, loss and score of one training.

    Random draws are functions of the context and the rows, so that a resumed training is identical to the bit. Other
    state that a resume needs is in `tensors` and `audit`.
    """

    #: Parameters of Adam; torch's defaults.
    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)
    epsilon: ClassVar[float] = 1e-8

    #: The whole model; the optimizer updates its parameters that require a gradient.
    model: nn.Module
    #: The part of `model` that runs in each step.
    trained: nn.Module
    #: Number of items, each used once per epoch.
    items: int
    #: Peak learning rate.
    learning_rate: float
    #: Summary of the audits when they are complete; "" before.
    audit: str = ""

    @abstractmethod
    def weight(self, rows: np.ndarray, context: StepContext) -> float:
        """Return the divisor that turns the summed loss of the items `rows` into their mean loss."""

    @abstractmethod
    def batch(self, rows: np.ndarray, context: StepContext, device: torch.device) -> Any:
        """Return the batch of the items `rows` on the device, an argument of `loss`."""

    @abstractmethod
    def loss(self, trained: nn.Module, batch: Any) -> dict[str, Tensor]:
        """Return "loss", summed over the batch in float32 with its gradient, and further terms to sum for the log.

        `trained` is `self.trained`, wrapped if there are several processes; it may only be called.
        """

    def rate_factor(self, parameter: str) -> float:
        """Return the factor on the learning rate of a parameter, named as in `model`; above 0."""
        return 1.0

    def before_step(self, batch: Any) -> None:  # noqa: B027, most objectives need none
        """Called before the first forward pass of a step."""

    def after_backward(self) -> None:  # noqa: B027, most objectives need none
        """Called when the gradients of a step are complete."""

    def after_step(self, context: StepContext) -> None:  # noqa: B027, most objectives need none
        """Called after the optimizer step, before the gradients are cleared."""

    def on_average(self) -> None:  # noqa: B027, most objectives need none
        """Called when averaged weights were copied into `model`; restores constraints that averaging violates."""

    @abstractmethod
    def evaluate(
        self, trained: nn.Module, sums: Mapping[str, float], weight: float, context: StepContext
    ) -> dict[str, Any]:
        """Return the log row of an epoch. sums: summed terms of `loss`; weight: summed weight of the batches."""

    def check(self, row: Mapping[str, Any]) -> None:  # noqa: B027, most objectives need none
        """Raise RunError if the training must stop after this log row, which is already written."""

    @abstractmethod
    def score(self, row: Mapping[str, Any]) -> float:
        """Return the score of an epoch; the first epoch with the highest score is kept."""

    @abstractmethod
    def sentence(self, row: Mapping[str, Any]) -> str:
        """Return a summary of the log row for the progress display."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors that a step can change: those of `model` by their name, and others of the objective."""

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Restore the result of `tensors`, for a resume."""
        self.model.load_state_dict(tensors, strict=False)

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the weights of an epoch into the existing `folder`."""

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Load the weights that `save` wrote into `model`."""
