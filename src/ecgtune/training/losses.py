"""Losses of labelled windows: cross-entropy, or binary cross-entropy per label, plain or focal. Pure functions.

Each is a sum over the batch; `Criterion.total` is the divisor of the mean, so that a batch in several pieces has the
gradient of the whole batch.
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


def focal_cross_entropy(logits: Tensor, label: Tensor, weight: Tensor, gamma: float) -> Tensor:
    """Sum of `-weight[y] (1 - p_y)^gamma log p_y`: logits (batch, classes), label (batch,), weight (classes,).

    Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, eq. 5. gamma 0 is weighted cross-entropy.
    """
    log_probability = log_softmax(logits, dim=1).gather(1, label[:, None])[:, 0]
    return -(weight[label] * _miss(-log_probability) ** gamma * log_probability).sum()


def label_cross_entropy(
    logits: Tensor, label: Tensor, weight: Tensor, pos_weight: Tensor, gamma: float = 0.0, smoothing: float = 0.0
) -> Tensor:
    """Sum of the binary cross-entropies of all known labels; a missing label has no loss and no gradient.

    logits: (batch, labels) float. label: (batch, labels) of 1, 0 and -1 (missing). weight: (2, labels), factors of
    negatives and positives. pos_weight: (labels,), a further factor of positives that is not part of the divisor.
    gamma: above 0 each term is multiplied with (1 - p_t)^gamma, p_t the probability of the truth (Lin et al. 2017,
    eq. 4). smoothing: 1 becomes 1 - smoothing / 2 and 0 becomes smoothing / 2; not together with gamma.
    """
    known, truth = label >= 0, (label > 0).to(logits.dtype)
    loss = binary_cross_entropy_with_logits(logits, truth * (1 - smoothing) + smoothing / 2, reduction="none")
    if gamma > 0:
        loss = loss * _miss(loss) ** gamma
    factor = torch.where(label > 0, weight[1] * pos_weight, weight[0])
    return torch.where(known, loss * factor, 0.0).sum()


def _miss(loss: Tensor) -> Tensor:
    """1 - p of `loss` = -log p, by expm1 because of rounding near p = 1; above 0, where powers below 1 have a slope."""
    return (-torch.expm1(-loss)).clamp_min(1e-12)


@dataclass(frozen=True, eq=False)
class Criterion:
    """The loss of one training by its settings, with the weights from its training labels.

    weight: float32 (classes,), or (2, labels) for negatives and positives. pos_weight: float32 (labels,), for several
    labels only.
    """

    task: Task
    weight: np.ndarray
    pos_weight: np.ndarray
    gamma: float = 0.0
    smoothing: float = 0.0

    def total(self, label: np.ndarray) -> float:
        """Divisor of the summed loss of windows with these labels; only known labels count."""
        if self.task != "multilabel":
            return float(self.weight[label].sum())
        # A batch without known labels has the loss 0, and 0 / 1 is 0.
        return float(_known_weight(torch.from_numpy(label), torch.from_numpy(self.weight)).sum()) or 1.0

    def weight_sum(self, label: Tensor) -> Tensor:
        """`total` of a batch on a device, as a tensor; 0 without known labels."""
        weight = torch.from_numpy(self.weight).to(label.device)
        return weight[label].sum() if self.task != "multilabel" else _known_weight(label, weight).sum()

    def __call__(self, logits: Tensor, label: Tensor) -> Tensor:
        """The summed loss of logits (batch, classes), float32, with its gradient."""
        weight = torch.from_numpy(self.weight).to(label.device)
        if self.task == "multilabel":
            pos_weight = torch.from_numpy(self.pos_weight).to(label.device)
            return label_cross_entropy(logits, label, weight, pos_weight, self.gamma, self.smoothing)
        if self.gamma > 0:
            return focal_cross_entropy(logits, label, weight, self.gamma)
        return cross_entropy(logits, label, weight=weight, reduction="sum", label_smoothing=self.smoothing)

    def correct(self, logits: Tensor, label: Tensor) -> Tensor:
        """Number of correct predictions: windows, or known labels at 0.5."""
        if self.task == "multilabel":
            return (((logits > 0) == (label > 0)) & (label >= 0)).sum()
        return (logits.argmax(1) == label).sum()

    def predictions(self, label: np.ndarray) -> int:
        """Number of predictions: windows, or known labels."""
        return int((label >= 0).sum())


def criterion(label: np.ndarray, classes: Sequence[str], settings: Optimisation) -> Criterion:
    """The loss of `settings` for training windows with these labels. Raises SettingError as `check_loss` does."""
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
    asked = settings.positive_weights
    ratio = (known - positives) / np.maximum(positives, 1) if asked == "balanced" else np.array(asked or [1.0])
    pos_weight = np.broadcast_to(ratio, len(classes))
    return Criterion(task, weight.astype(np.float32), pos_weight.astype(np.float32), gamma, smoothing)


def check_loss(task: Task, classes: Sequence[str], settings: Optimisation) -> None:
    """Raise SettingError for loss settings that the task cannot use."""
    if settings.loss == "focal" and settings.label_smoothing > 0:
        raise SettingError(
            f"label_smoothing is {settings.label_smoothing}, but the focal loss already reduces the loss of "
            "confident predictions; use one of them"
        )
    asked = settings.positive_weights
    if asked is None:
        return
    if task != "multilabel":
        raise SettingError("pos_weight weighs the positives of several labels; use class_weights for classes")
    if settings.class_weights == "balanced":
        raise SettingError("class_weights balanced and pos_weight both weigh the positives; use one of them")
    if asked != "balanced" and len(asked) != len(classes):
        raise SettingError(
            f"pos_weight has {len(asked)} numbers, but there are {len(classes)} labels ({', '.join(classes)}); give one"
            " for each, or balanced"
        )


def _known_weight(label: Tensor, weight: Tensor) -> Tensor:
    """(batch, labels): weights of the known labels, 0 for a missing label."""
    return torch.where(label >= 0, torch.where(label > 0, weight[1], weight[0]), 0.0)
