"""The number formats of a forward pass, by their names in the settings."""

from __future__ import annotations

import torch

#: What autocast computes in; None for float32 throughout.
FORMATS: dict[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16}


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context of a forward pass in `precision`, a name of `FORMATS`."""
    dtype = FORMATS[precision]
    return torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None)
