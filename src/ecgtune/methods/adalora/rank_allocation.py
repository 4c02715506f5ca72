"""AdaLoRA's work beside the gradient: it allocates ranks, and keeps directions orthogonal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from peft import AdaLoraModel, PeftModel
from torch import Tensor

from ecgtune.errors import RunError
from ecgtune.methods.base import MethodCallback
from ecgtune.models.classifier import Classifier
from ecgtune.text import shown


class RankAllocation(MethodCallback):
    """Singular values that stay, by peft's allocator, and the penalty that keeps directions orthogonal.

    The pattern of ranks is kept here and out of peft's settings: with it, peft cuts what it saves to the ranks, and the
    order of summation, so the bits, would be others after a reload. What is cut off is zero, so nothing is lost.
    """

    _MEMORIES = ("ipt", "exp_avg_ipt", "exp_avg_unc")

    def __init__(self, model: Classifier, *, warmup: float, final_fraction: float, orthogonality: float) -> None:
        self._warmup, self._final_fraction, self._orthogonality = warmup, final_fraction, orthogonality
        self._tuner = cast(AdaLoraModel, cast(PeftModel, model.encoder).base_model)
        self._config = cast(Any, self._tuner.peft_config)["default"]
        self._kept: dict[str, list[bool]] | None = None
        encoder = model.base_encoder
        self._left = [p for name, p in encoder.named_parameters() if ".lora_B." in name]
        self._right = [p for name, p in encoder.named_parameters() if ".lora_A." in name]

    def penalty(self) -> Tensor | None:
        """gamma * mean over projections of |P^T P - I|^2 + |Q Q^T - I|^2 (the paper's eq. 4; squared Frobenius)."""
        if self._orthogonality == 0:
            return None
        products = [p.T @ p for p in self._left] + [q @ q.T for q in self._right]
        identity = torch.eye(len(products[0]), device=products[0].device)
        return self._orthogonality * (torch.stack(products) - identity).square().sum() / len(self._left)

    def after_step(self, step: int, total_steps: int) -> None:
        if step and not self.tensors():  # `restore` cannot know that there was a step
            raise RunError(
                "the saved state lacks the rank allocation of AdaLoRA; remove the run's folder last and resume, which"
                " trains from the first epoch"
            )
        # At least one step is final, or the last cut would never be made; at least one cuts.
        self._config.total_step = total_steps
        self._config.tfinal = max(1, int(self._final_fraction * total_steps))
        self._config.tinit = min(int(self._warmup * total_steps), total_steps - self._config.tfinal - 1)
        self._config.rank_pattern = self._kept
        self._tuner.update_and_allocate(step)
        self._kept, self._config.rank_pattern = self._config.rank_pattern, None

    def on_average(self) -> None:
        if self._kept is not None:  # an average of singular values is not zero where the last one is
            self._tuner.rankallocator.mask_using_rank_pattern(self._tuner.model, self._kept)

    def tensors(self) -> dict[str, Tensor]:
        allocator = self._tuner.rankallocator
        memories = {
            f"callback.{memory}.{name}": tensor
            for memory in self._MEMORIES
            for name, tensor in getattr(allocator, memory).items()
        }
        return memories | {f"callback.kept.{name}": torch.tensor(kept) for name, kept in (self._kept or {}).items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        allocator, config = self._tuner.rankallocator, self._config
        weights = {n: p for n, p in self._tuner.model.named_parameters() if "lora_" in n and "default" in n}
        ranks = {name: torch.ones(len(p)).bool() for name, p in weights.items() if "lora_E" in name}
        found: dict[str, dict[str, Tensor]] = {memory: {} for memory in (*self._MEMORIES, "kept")}
        for name, tensor in tensors.items():
            if name.startswith("callback."):
                _, memory, parameter = name.split(".", 2)
                found[memory][parameter] = tensor
        kept = found.pop("kept")
        _check(kept, ranks, may_lack=True)
        # Before the first step and after the last cut the memories are empty.
        may_lack = sum(int(each.sum()) for each in kept.values()) <= config.target_r * len(ranks)
        for memory, values in found.items():
            _check(values, weights, may_lack=may_lack and not any(found.values()))
            setattr(allocator, memory, {name: value.to(weights[name].device) for name, value in values.items()})
        self._kept = {name: each.tolist() for name, each in kept.items()} or None


def _check(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, may_lack: bool) -> None:
    """Raise ValueError unless names, shapes and kinds of number are as expected; `may_lack`: or there is none."""
    found, needed = ({n: (t.dtype, t.shape) for n, t in each.items()} for each in (tensors, expected))
    if found != needed and (found or not may_lack):
        different = sorted(name for name in found.keys() | needed.keys() if found.get(name) != needed.get(name))
        raise ValueError(f"the rank allocation of AdaLoRA does not match {shown(different[0])}")
