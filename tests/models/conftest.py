"""Small checkpoints in the official layout, for tests that must run without the reference folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ecgtune.models.ecg_fm.network import EcgFmConfig
from helpers.ecg_fm import SMALL, official_content


@pytest.fixture
def small_config() -> EcgFmConfig:
    """The sizes that `official_file` writes."""
    return SMALL


@pytest.fixture
def official_file(tmp_path: Path) -> Callable[..., Path]:
    """Write an official-layout file: `official_file(kind, naming, change)`; `change` edits the content in place."""

    def write(
        kind: str = "pretrained", naming: str = "new", change: Callable[[dict[str, Any]], object] = lambda content: None
    ) -> Path:
        content = official_content(kind, naming)
        change(content)
        path = tmp_path / f"{kind}.pt"
        torch.save(content, path)
        return path

    return write
