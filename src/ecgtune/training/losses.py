"""Losses of labelled windows: cross-entropy, or binary cross-entropy per label, plain or focal.

Each loss is a sum over the batch and `Criterion.total` is its divisor, so that gradient accumulation gives the gradient
of the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, log_softmax

from ecgtune.config.optimisation import Optimisation
from ecgtune.data.tasks import Task, label_counts, task_of
from ecgtune.errors import SettingError
from ecgtune.training.batches import class_weight
from ecgtune.utils.formatting import counted


def focal_cross_entropy(logits: Tensor, label: Tensor, weight: Tensor, gamma: float) -> Tensor:
    """Return the sum of `-weight[y] (1 - p_y)^gamma log p_y`, the focal loss of Lin et al. (ICCV 2017, eq. 5).

    logits: (batch, classes). label: (batch,). weight: (classes,). `gamma` 0 gives weighted cross-entropy.
    """
    log_probability = log_softmax(logits, dim=1).gather(1, label[:, None])[:, 0]
    return -(weight[label] * _error_probability(-log_probability) ** gamma * log_probability).sum()


def label_cross_entropy(
    logits: Tensor, label: Tensor, weight: Tensor, pos_weight: Tensor, gamma: float = 0.0, smoothing: float = 0.0
) -> Tensor:
    """Return the sum of the binary cross-entropies of all known labels.

    logits: (batch, labels) float. label: (batch, labels) of 1, 0 and -1 (missing, without loss and gradient). weight:
    (2, labels), factors of negatives and positives. pos_weight: (labels,), another factor of positives that is not part
    of the divisor. gamma: if above 0, each term is multiplied by (1 - p_t)^gamma with the probability p_t of the true
    value (Lin et al. 2017, eq. 4). smoothing: targets are 1 - smoothing / 2 and smoothing / 2; not combined with gamma.
    """
    known, truth = label >= 0, (label > 0).to(logits.dtype)
    loss = binary_cross_entropy_with_logits(logits, truth * (1 - smoothing) + smoothing / 2, reduction="none")
    if gamma > 0:
        loss = loss * _error_probability(loss) ** gamma
    factor = torch.where(label > 0, weight[1] * pos_weight, weight[0])
    return torch.where(known, loss * factor, 0.0).sum()


def _error_probability(loss: Tensor) -> Tensor:
    """Return 1 - p for `loss` = -log p.

    expm1 avoids rounding errors near p = 1. The lower bound keeps the gradient of a power below 1 finite.
    """
    return (-torch.expm1(-loss)).clamp_min(1e-12)


@dataclass(frozen=True, eq=False)
class Criterion:
    """Loss of one training.

    weight: float32 (classes,), or (2, labels) for negatives and positives. pos_weight: float32 (labels,), for several
    labels only. gamma: exponent of the focal loss, 0 for cross-entropy. smoothing: label smoothing.
    """

    task: Task
    weight: np.ndarray
    pos_weight: np.ndarray
    gamma: float = 0.0
    smoothing: float = 0.0

    def total(self, label: np.ndarray) -> float:
        """Return the divisor of the summed loss of windows with these labels; missing labels do not count."""
        if self.task != "multilabel":
            return float(self.weight[label].sum())
        # Without known labels the loss is 0; a divisor of 1 avoids 0 / 0.
        return float(_known_weight(torch.from_numpy(label), torch.from_numpy(self.weight)).sum()) or 1.0

    def weight_sum(self, label: Tensor) -> Tensor:
        """Return `total` of a batch on a device as a tensor; 0 without known labels."""
        weight = torch.from_numpy(self.weight).to(label.device)
        return weight[label].sum() if self.task != "multilabel" else _known_weight(label, weight).sum()

    def __call__(self, logits: Tensor, label: Tensor) -> Tensor:
        """Return the summed loss of logits (batch, classes), float32, with its gradient."""
        weight = torch.from_numpy(self.weight).to(label.device)
        if self.task == "multilabel":
            pos_weight = torch.from_numpy(self.pos_weight).to(label.device)
            return label_cross_entropy(logits, label, weight, pos_weight, self.gamma, self.smoothing)
        if self.gamma > 0:
            return focal_cross_entropy(logits, label, weight, self.gamma)
        return cross_entropy(logits, label, weight=weight, reduction="sum", label_smoothing=self.smoothing)

    def correct(self, logits: Tensor, label: Tensor) -> Tensor:
        """Return the number of correct predictions: windows, or known labels at threshold 0.5."""
        if self.task == "multilabel":
            return (((logits > 0) == (label > 0)) & (label >= 0)).sum()
        return (logits.argmax(1) == label).sum()


def criterion(label: np.ndarray, classes: Sequence[str], settings: Optimisation) -> Criterion:
    """Return the loss for training windows with these labels. Raises SettingError as `check_loss` does."""
    task = task_of(label, classes)
    check_loss(task, classes, settings)
    gamma = settings.focal_gamma if settings.loss == "focal" else 0.0
    smoothing = settings.label_smoothing
    if task != "multilabel":
        weight = class_weight(label, len(classes), settings.class_weights)
        return Criterion(task, weight, np.ones(0, np.float32), gamma, smoothing)
    positives, known = label_counts(label, classes)
    counts = np.stack([known - positives, positives])
    balanced = known / (2 * np.maximum(counts, 1))
    weight = balanced if settings.class_weights == "balanced" else np.ones(counts.shape)
    given = settings.positive_weights
    ratio = (known - positives) / np.maximum(positives, 1) if given == "balanced" else np.array(given or [1.0])
    pos_weight = np.broadcast_to(ratio, len(classes))
    return Criterion(task, weight.astype(np.float32), pos_weight.astype(np.float32), gamma, smoothing)


def check_loss(task: Task, classes: Sequence[str], settings: Optimisation) -> None:
    """Raise SettingError if the loss settings contradict each other or do not apply to the task."""
    if settings.loss == "focal" and settings.label_smoothing > 0:
        raise SettingError(
            f"label_smoothing is {settings.label_smoothing}, but the focal loss already reduces the loss of "
            "confident predictions; use one of them"
        )
    given = settings.positive_weights
    if given is None:
        return
    if task != "multilabel":
        raise SettingError("pos_weight is for multi-label data; use class_weights for classes")
    if settings.class_weights == "balanced":
        raise SettingError("class_weights 'balanced' and pos_weight both weight the positives; use one of them")
    if given != "balanced" and len(given) != len(classes):
        raise SettingError(
            f"pos_weight has {counted(len(given), 'number')} for {counted(len(classes), 'label')} "
            f"({', '.join(classes)}); give one per label, or balanced"
        )


def _known_weight(label: Tensor, weight: Tensor) -> Tensor:
    """Return (batch, labels): weights of the known labels, 0 for a missing label."""
    return torch.where(label >= 0, torch.where(label > 0, weight[1], weight[0]), 0.0)
