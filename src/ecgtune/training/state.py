"""The saved state of an unfinished training."""

from __future__ import annotations

from pathlib import Path

import torch

from ecgtune.errors import RunError


def load_state(path: Path) -> dict:
    """Read a state without running anything that the file contains. Raises RunError."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise RunError(
            f"{path} cannot be read ({type(error).__name__}); remove the run folder and train again"
        ) from None
