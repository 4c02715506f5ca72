"""Integrated gradients and attention rollout: which samples of a window a fine-tuned model reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgtune.data.tasks import Task
from ecgtune.errors import SettingError
from ecgtune.models.classifier import Classifier
from ecgtune.models.layers import Attention, JointAttention

#: Steps of the integral; more if the attributions do not add up to the change of the score.
STEPS, MOST_STEPS, TOLERANCE = 32, 512, 0.02
BASELINES = 4
_BATCH = 32


def class_score(model: nn.Module, task: Task, number: int) -> Callable[[Tensor], Tensor]:
    """Return the log-odds of a class or label, before calibration: (batch, leads, samples) to (batch,)."""

    def score(signal: Tensor) -> Tensor:
        logits = model(signal)
        if task == "multilabel":
            return logits[:, number]
        others = torch.cat([logits[:, :number], logits[:, number + 1 :]], dim=1)
        return logits[:, number] - others.logsumexp(dim=1)

    return score


def integrated_gradients(score: Callable[[Tensor], Tensor], signal: Tensor) -> NDArray[np.float64]:
    """Attribute the score of one window to its samples, through captum: the mean over `BASELINES` paths from noise.

    signal: (1, leads, samples), prepared. The baselines are white noise with the mean and standard deviation of the
    signal, of a fixed seed; from zero, a network that normalises its input changes at the very start of the path only.
    The attributions (leads, samples) add up to the score minus the mean score of the baselines within 2 % of the larger
    of 1 and that difference; raises SettingError where they do not with 512 steps. Sundararajan et al., Axiomatic
    Attribution for Deep Networks, ICML 2017.
    """
    try:
        from captum.attr import IntegratedGradients
    except ModuleNotFoundError:
        raise SettingError(
            "integrated gradients need captum; pip install 'ecgtune[explain]', or use --by occlusion"
        ) from None
    explained, baselines = IntegratedGradients(score), noise_like(signal)
    repeated = signal.expand_as(baselines).contiguous()
    with torch.no_grad():
        change = float((score(repeated) - score(baselines)).mean())
    steps = STEPS
    while True:
        found: Any = explained.attribute(repeated, baselines, n_steps=steps, internal_batch_size=_BATCH).mean(dim=0)
        if abs(float(found.sum()) - change) <= TOLERANCE * max(1.0, abs(change)):
            return found.detach().double().cpu().numpy()
        if steps >= MOST_STEPS:
            raise SettingError(
                f"integrated gradients do not add up with {steps} steps: {float(found.sum()):.3g} of {change:.3g}; use"
                " --by occlusion"
            )
        steps *= 2


def noise_like(signal: Tensor) -> Tensor:
    """Return the baselines of one window: (BASELINES, leads, samples)."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(BASELINES, *signal.shape[1:], generator=generator).to(signal)
    return signal.mean() + noise * signal.std()


def attention_rollout(model: Classifier, signal: Tensor) -> NDArray[np.float64]:
    """Return how much each part of a window reaches the pooled tokens through all attention layers.

    signal: (1, leads, samples), prepared. The result is (leads, parts), of an encoder whose tokens hold all leads the
    same for each; it depends on no class. Layers are multiplied with half of the identity for the residual connections
    (Abnar and Zuidema, Quantifying Attention Flow in Transformers, ACL 2020). Raises SettingError for an encoder
    without attention over equal parts of the window.
    """
    layers: list[Tensor] = []

    def record(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], _output: Any) -> None:
        layers.append(module.weights(*given, **named).mean(dim=1)[0])  # type: ignore[operator]

    hooks = [
        module.register_forward_hook(record, with_kwargs=True)
        for module in model.encoder.modules()
        if isinstance(module, (Attention, JointAttention))
    ]
    try:
        with torch.no_grad():
            tokens, mask = model.encode(signal)
    finally:
        for hook in hooks:
            hook.remove()
    number, rows = tokens.shape[1], model.base_encoder.token_rows
    if not layers or rows == 0 or number % rows or any(each.shape != (number, number) for each in layers):
        raise SettingError(
            f"attention rollout needs attention between equal parts of the window, which {model.name} does not have; "
            "use --by occlusion or --by integrated-gradients"
        )
    reached = torch.eye(number, device=tokens.device)
    for weights in layers:
        reached = (weights + torch.eye(number, device=tokens.device)) / 2 @ reached
    valid = mask[0].to(reached.dtype)
    parts = (valid @ reached / valid.sum()).reshape(rows, -1).double().cpu().numpy()
    leads = len(model.leads)
    return parts if rows == leads else np.repeat(parts.mean(axis=0, keepdims=True), leads, axis=0)
