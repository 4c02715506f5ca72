"""Number formats of the forward pass, and loss scaling for fp16."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ecgtune.errors import SettingError
from ecgtune.training.convolutions import repair_convolutions

#: Number format of autocast; None for float32 throughout. `choose_precision` resolves "auto" to one of them.
FORMATS: dict[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_precision(device: torch.device, precision: str) -> str:
    """Resolve "auto" to a name of `FORMATS`: bf16 if `device` has instructions to multiply it, else fp32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Without them a CPU casts and computes in float32, which is slower. ARM and Apple chips were not measured.
        found = torch.cpu.get_capabilities() if device.type == "cpu" else {}
        fast = bool(found.get("avx512_bf16") or found.get("amx_bf16"))
    return "bf16" if fast else "fp32"


def resolved_precision(device: torch.device, precision: str) -> dict[str, str]:
    """Return the resolved "auto" for environment.json, which a resume must not change; empty for other formats."""
    return {"auto_precision": choose_precision(device, precision)} if precision == "auto" else {}


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context of a forward pass in `precision`, "auto" or a name of `FORMATS`."""
    dtype = FORMATS[choose_precision(device, precision)]
    if dtype is not None and device.type == "cpu":
        repair_convolutions()
    return torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None)


def check_precision(device: torch.device, precision: str) -> None:
    """Raise SettingError if `precision` is fp16 and one training step of a small layer fails on `device`."""
    if precision != "fp16":
        return
    try:
        layer = nn.Linear(8, 8, device=device)
        scaler = torch.amp.GradScaler(device.type)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        with autocast(device, precision):
            loss = layer(torch.ones(8, 8, device=device)).float().mean()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    except (RuntimeError, NotImplementedError, TypeError, ValueError):
        raise SettingError(
            f"precision is 'fp16', but device {device.type} cannot train in fp16 here; use bf16 or fp32"
        ) from None


class LossScale:
    """Factor on the loss against vanishing gradients in fp16 (Micikevicius et al. 2018, arXiv:1710.03740).

    When gradients overflow, the factor is halved and the step is skipped; after 2,000 steps without an overflow
    (`GradScaler`'s default) it is doubled. It has no effect in other formats.
    """

    SMALLEST = 1.0

    def __init__(self, device: torch.device, precision: str) -> None:
        self._scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")

    def scaled(self, loss: Tensor) -> Tensor:
        """Return the scaled loss for the backward pass."""
        return self._scaler.scale(loss)

    def unscale(self, optimizer: Any, parameters: Iterable[Tensor]) -> bool:
        """Remove the factor from the gradients; return False if one is not finite, so that `step` skips the step."""
        if not self._scaler.is_enabled():
            return True
        self._scaler.unscale_(optimizer)
        finite = [p.grad.isfinite().all() for p in parameters if p.grad is not None]
        return bool(torch.stack(finite).all()) if finite else True

    def step(self, optimizer: Any) -> None:
        """Call `optimizer.step()` unless gradients overflowed, then adjust the factor."""
        self._scaler.step(optimizer)
        self._scaler.update()

    @property
    def exhausted(self) -> bool:
        """Whether gradients overflow without loss scaling, so that a smaller factor does not help."""
        return self._scaler.is_enabled() and self._scaler.get_scale() < self.SMALLEST

    def state(self) -> dict[str, Any]:
        """Return the state for a resume; empty for other formats."""
        return self._scaler.state_dict()

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state that `state` returned."""
        if state:
            self._scaler.load_state_dict(state)
