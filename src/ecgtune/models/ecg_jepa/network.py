"""ECG-JEPA: a vision transformer on patches of single leads (Kim 2024, arXiv:2410.08559).

`tests/models/ecg_jepa/test_reference.py` compares every stage with the authors' code. Details that are easy to miss:
the positions are added before every layer, and a token attends to the tokens of its own lead and its own patch alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgtune.config.base import require
from ecgtune.data.signal.steps import Butterworth, Resample, Step
from ecgtune.models.input_spec import InputSpec
from ecgtune.models.layered import LayeredEncoder
from ecgtune.models.layers import PRE_NORM_ROLES, PreNormLayer
from ecgtune.models.leads import read_leads

LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")

#: As the authors fine-tune, and as they pretrain and evaluate a linear head, without filters. Both keep millivolts.
PRESETS: Mapping[str, tuple[Step, ...]] = {
    "fine-tuning": (Resample(250.0, "fourier"), Butterworth(0.67, None, 5), Butterworth(None, 40.0, 5)),
    "linear-evaluation": (Resample(250.0, "fourier"),),
}


@dataclass(frozen=True)
class EcgJepaConfig:
    """Sizes; the defaults are the published model's (85.1 million parameters).

    patch: samples of a patch. patches: of each lead.
    """

    leads: tuple[str, ...] = LEADS
    width: int = 768
    depth: int = 12
    heads: int = 16
    feed_forward: int = 3072
    patch: int = 50
    patches: int = 50

    def __post_init__(self) -> None:
        require(self.width % self.heads == 0, f"width {self.width} is no multiple of {self.heads} heads")
        require(self.width % 4 == 0, f"width {self.width} is no multiple of 4, which the positions need")


class EcgJepa(LayeredEncoder):
    """ECG-JEPA's encoder: tokens (batch, leads * patches, width), lead by lead.

    The table of positions is a buffer, not a weight: it stays frozen in every training, as in the authors'.
    """

    config_type = EcgJepaConfig
    roles = PRE_NORM_ROLES
    readable_leads: ClassVar[tuple[str, ...]] = LEADS
    after_blocks = ("norm.",)

    def __init__(self, config: EcgJepaConfig) -> None:
        super().__init__(config)
        self.config: EcgJepaConfig = config
        self.projection = nn.Linear(config.patch, config.width)
        self.positions: Tensor
        self.register_buffer("positions", positions(len(LEADS), config.patches, config.width))
        self.layers = nn.ModuleList(
            PreNormLayer(config.width, config.heads, config.feed_forward, bias=False) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width)
        read, self._mixing = read_leads(LEADS, config.leads)
        self._rows = [LEADS.index(lead) for lead in read]

    @property
    def input_spec(self) -> InputSpec:
        return InputSpec(
            leads=self.config.leads,
            sampling_rate=250.0,
            samples=self.config.patch * self.config.patches,
            normalisation="none",
            presets=PRESETS,
        )

    @property
    def token_rows(self) -> int:
        return len(self._rows)

    def embed(self, signal: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        self.input_spec.check(signal)
        mask = None
        if padding_mask is not None:
            mask = self.valid_tokens(padding_mask, self.config.patch).repeat(1, len(self._rows))
        read = torch.tensor(self._mixing, dtype=signal.dtype, device=signal.device) @ signal
        return self.projection(read.unflatten(-1, (-1, self.config.patch)).flatten(1, 2)), mask

    def run_block(self, index: int, block: nn.Module, features: Tensor, mask: Tensor | None) -> Tensor:
        table = self.positions.unflatten(0, (len(LEADS), -1))[self._rows].flatten(0, 1)
        allowed = self._neighbours(features.device)[None, None]
        if mask is not None:
            allowed = allowed & mask[:, None, None, :]
        return block(features + table, allowed)

    def finish(self, features: Tensor, mask: Tensor | None) -> Tensor:
        return self.norm(features)

    def _neighbours(self, device: torch.device) -> Tensor:
        """Whether a token (row) may attend to another (column): same lead or same patch."""
        number = torch.arange(len(self._rows) * self.config.patches, device=device)
        lead, patch = number // self.config.patches, number % self.config.patches
        return (lead[:, None] == lead) | (patch[:, None] == patch)


def positions(leads: int, patches: int, width: int) -> Tensor:
    """Sines and cosines (leads * patches, width): half of the channels for the patch, half for the lead."""
    frequency = 10000.0 ** (-np.arange(width // 4) / (width / 4))

    def waves(number: NDArray[np.int64]) -> NDArray[np.float64]:
        angle = number[:, None] * frequency
        return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)

    number = np.arange(leads * patches)
    table = np.concatenate([waves(number % patches), waves(number // patches)], axis=1)
    return torch.from_numpy(table.astype(np.float32))
