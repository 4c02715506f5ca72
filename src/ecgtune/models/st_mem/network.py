"""ST-MEM: a vision transformer over patches of every lead (Na et al. 2024, arXiv:2402.09450).

`tests/models/st_mem/test_reference.py` compares every stage with the original. Details that are easy to miss: norms
around the projection of a patch; a separator before and behind the patches of a lead, of which the second has the last
position whatever the length is; the last norm acts on the mean of the tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecgtune.data.leads import STANDARD_LEADS
from ecgtune.data.signal.steps import Butterworth, Resample, StandardiseWindow, Step
from ecgtune.models.input_spec import InputSpec
from ecgtune.models.layered import LayeredEncoder
from ecgtune.models.layers import PRE_NORM_ROLES, PreNormLayer
from ecgtune.models.leads import read_leads

RATE = 250.0
#: As the authors fine-tune and evaluate, on windows of nine seconds.
PRESETS: Mapping[str, tuple[Step, ...]] = {
    "fine-tuning": (
        *(Resample(RATE, "fourier"), Butterworth(0.67, None, 5), Butterworth(None, 40.0, 5)),
        StandardiseWindow(),
    )
}


@dataclass(frozen=True)
class STMEMConfig:
    """Sizes; the defaults are those of the published base encoder (85 million parameters).

    patch: samples per token. patches: largest number of them per lead. one_lead_as_twelve: as the authors' code, which
    reads one lead as twelve equal ones, with two separators in all; off, one lead gives the tokens of one lead.
    """

    leads: tuple[str, ...] = STANDARD_LEADS
    patch: int = 75
    patches: int = 30
    width: int = 768
    depth: int = 12
    heads: int = 12
    feed_forward: int = 3072
    one_lead_as_twelve: bool = False


class STMEM(LayeredEncoder):
    """Transformer encoder; its tokens are the patches of the first lead, then those of the second, and so on.

    Between blocks every lead has a separator token before and behind its patches. A signal of fewer leads gives the
    tokens of these alone, with the embeddings of these leads.
    """

    config_type = STMEMConfig
    as_published = "one_lead_as_twelve"
    roles = PRE_NORM_ROLES
    own_objective = "masked"
    readable_leads: ClassVar[tuple[str, ...]] = STANDARD_LEADS
    after_blocks = ("norm.",)

    def __init__(self, config: STMEMConfig) -> None:
        super().__init__(config)
        self.config: STMEMConfig = config
        width = config.width
        self.patches = nn.Sequential(nn.LayerNorm(config.patch), nn.Linear(config.patch, width), nn.LayerNorm(width))
        self.positions = nn.Parameter(_sinusoids(config.patches, width))
        self.separator = nn.Parameter(0.02 * torch.randn(width))
        self.lead_embeddings = nn.ParameterList(0.02 * torch.randn(width) for _ in STANDARD_LEADS)
        self.layers = nn.ModuleList(PreNormLayer(width, config.heads, config.feed_forward) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        read, self._mixing = read_leads(STANDARD_LEADS, config.leads)
        self._as_twelve = config.one_lead_as_twelve and len(read) == 1
        self._rows = [row for row, lead in enumerate(STANDARD_LEADS) if lead in read or self._as_twelve]
        unread = set(range(len(STANDARD_LEADS))) - set(self._rows)
        self.zero_gradient_parameters = tuple(f"lead_embeddings.{row}" for row in sorted(unread))

    @property
    def input_spec(self) -> InputSpec:
        return InputSpec(
            leads=self.config.leads,
            sampling_rate=RATE,
            multiple_of=self.config.patch,
            minimum_samples=self.config.patch,
            maximum_samples=self.config.patch * self.config.patches,
            seconds=self.config.patch * self.config.patches / RATE,
            presets=PRESETS,
        )

    @property
    def token_rows(self) -> int:
        return len(self._rows)

    def embed(self, signal: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        self.input_spec.check(signal)
        read = torch.tensor(self._mixing, dtype=signal.dtype, device=signal.device) @ signal
        patches = self.patches(read.unflatten(2, (-1, self.config.patch)))  # (batch, leads, patches, width)
        batch, leads, count, width = patches.shape
        first, last = ((self.separator + self.positions[:, place]).expand(batch, leads, 1, width) for place in (0, -1))
        tokens = torch.cat([first, patches + self.positions[:, 1 : count + 1], last], dim=2)
        embeddings = torch.stack(tuple(self.lead_embeddings))[self._rows, None]
        mask = None
        if padding_mask is not None:
            valid = self.valid_tokens(padding_mask, self.config.patch)
            mask = self._without_separators(F.pad(valid, (1, 1), value=True).repeat(1, len(self._rows)))
        return (tokens + embeddings).flatten(1, 2), mask

    def run_block(self, index: int, block: nn.Module, features: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:  # separators are never padding
            mask = F.pad(mask.unflatten(1, (self._sequences, -1)), (1, 1), value=True).flatten(1)
        return block(features, mask)

    def to_tokens(self, features: Tensor) -> Tensor:
        return self._without_separators(features)

    def finish_pooled(self, pooled: Tensor) -> Tensor:
        return self.norm(pooled)

    @property
    def _sequences(self) -> int:
        """Number of sequences between two separators that are no tokens."""
        return 1 if self._as_twelve else len(self._rows)

    def _without_separators(self, features: Tensor) -> Tensor:
        return features.unflatten(1, (self._sequences, -1))[:, :, 1:-1].flatten(1, 2)


def _sinusoids(patches: int, width: int) -> Tensor:
    """Sines in the first half of the channels, cosines in the second, zeros for the separators."""
    rate = 10_000.0 ** (-torch.arange(width // 2) / (width // 2))
    angle = torch.arange(patches)[:, None] * rate
    return F.pad(torch.cat([angle.sin(), angle.cos()], dim=1), (0, 0, 1, 1))[None]
