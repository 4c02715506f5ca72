"""Reading a frozen encoder."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def reading(signal: Tensor) -> AbstractContextManager[object]:
    """For methods that only read the encoder: no graph through it, and none of its activations kept.

    Unless something in front of it learns (a lead mixer made `signal`): then the gradient has to come through.
    """
    return nullcontext() if signal.requires_grad else torch.no_grad()
