"""Optimizer and learning rate as pure functions of the settings and the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

from ecgtune.config.optimisation import Optimisation


def peak_rate(settings: Optimisation, width: int) -> float | None:
    """Return the peak learning rate for an encoder of `width`; None if the settings leave it to the method.

    For an encoder wider than `rate_width` the rate is multiplied by rate_width / width, which preserves the change of a
    layer's output per step (Yang et al. 2022, arXiv:2203.03466, table 3: hidden weights under Adam). It is not scaled
    for a narrower encoder.
    """
    if settings.learning_rate is None or settings.rate_width is None:
        return settings.learning_rate
    return settings.learning_rate * min(1.0, settings.rate_width / width)


def learning_rate_factor(step: int, total_steps: int, settings: Optimisation) -> float:
    """Return the factor on the peak learning rate in optimizer step `step` (0 .. total_steps - 1), in (0, 1].

    "cosine": linear warm-up over the fraction `warmup` of the steps, then cosine decay towards 0. The factor is never
    0, because the gradient audit needs a first step that changes the output.
    """
    if settings.schedule == "constant":
        return 1.0
    warmup = int(settings.warmup * total_steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / (total_steps - warmup)))


def parameter_groups(model: nn.Module, rate_factor: Callable[[str], float]) -> dict[float, list[nn.Parameter]]:
    """Group the trainable parameters of `model` by the factor on their learning rate, `rate_factor(name)`."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(rate_factor(name), []).append(parameter)
    return groups


def make_optimizer(
    groups: Iterable[list[nn.Parameter]],
    learning_rate: float,
    settings: Optimisation,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
) -> torch.optim.Optimizer:
    """Return Adam or AdamW over parameter groups; the loop sets the learning rate of each group in every step."""
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    parameters = [{"params": group} for group in groups]
    return kind(parameters, lr=learning_rate, betas=betas, eps=epsilon, weight_decay=settings.weight_decay)
