"""HeartLang: a transformer whose tokens are heart beats (Jin et al. 2025, arXiv:2502.10707).

`tests/models/heartlang/test_reference.py` compares every stage with the original. Details that are easy to miss: the
first convolution runs over the sequence of beats, and joins the last with the first; the places that no beat fills are
tokens too.
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
from ecgtune.models.heartlang.beats import RATE, Beats, beats_of
from ecgtune.models.input_spec import InputSpec
from ecgtune.models.layered import LayeredEncoder
from ecgtune.models.layers import PRE_NORM_ROLES, PreNormLayer
from ecgtune.models.leads import read_leads

#: The authors' filter. They scale with the statistics of a whole dataset; this takes those of the window.
PRESETS: Mapping[str, tuple[Step, ...]] = {
    "fine-tuning": (Butterworth(0.67, 40.0, 5), Resample(float(RATE)), StandardiseWindow())
}


@dataclass(frozen=True)
class HeartLangConfig:
    """Sizes; the defaults are those of the published model (38 million parameters).

    beats: number of places for beats of all leads together. samples: of a beat. inner: channels of all attention heads
    together. embeddings: rows of the tables of leads and of seconds. move_long_beats: as the authors' code, which moves
    a beat that begins more than half a length before its peak to the start of its place; off, peaks are in the middle.
    """

    leads: tuple[str, ...] = STANDARD_LEADS
    beats: int = 256
    samples: int = 96
    width: int = 768
    depth: int = 12
    heads: int = 8
    inner: int = 512
    feed_forward: int = 1024
    embeddings: int = 16
    move_long_beats: bool = False


class HeartLang(LayeredEncoder):
    """Transformer encoder with a class token, over the beats of the first lead, then those of the second, and so on.

    Beats are found in the first lead that is not constant, and cut from all leads at the same places. All tokens attend
    to all, those of empty places among them, as in the authors' code. A signal of fewer leads gives fewer beats.
    """

    config_type = HeartLangConfig
    as_published = "move_long_beats"
    roles = PRE_NORM_ROLES
    readable_leads: ClassVar[tuple[str, ...]] = STANDARD_LEADS
    after_blocks = ("norm.",)
    pooling = "class_token"
    no_graph = "its beats are found by a detector, which no graph holds"

    def __init__(self, config: HeartLangConfig) -> None:
        super().__init__(config)
        self.config: HeartLangConfig = config
        width = config.width
        self.stem = nn.Conv1d(config.samples, width, 3, padding=1, padding_mode="circular", bias=False)
        self.lead_embedding = nn.Embedding(config.embeddings, width)
        self.second_embedding = nn.Embedding(config.embeddings, width)
        self.class_token = nn.Parameter(0.02 * torch.randn(width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, config.beats + 1, width))
        self.layers = nn.ModuleList(
            PreNormLayer(width, config.heads, config.feed_forward, inner=config.inner, bias=False)
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(width)
        self._read, self._mixing = read_leads(STANDARD_LEADS, config.leads)

    @property
    def input_spec(self) -> InputSpec:
        return InputSpec(leads=self.config.leads, sampling_rate=float(RATE), samples=10 * RATE, presets=PRESETS)

    @property
    def token_rows(self) -> int:
        return 0  # they are heart beats

    def embed(self, signal: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        self.input_spec.check(signal)
        read = torch.tensor(self._mixing, dtype=signal.dtype, device=signal.device) @ signal
        if padding_mask is None:
            return self.embed_beats(self._beats(read)), None
        valid = self.valid_tokens(padding_mask, 1)
        beats = self._beats(read, valid.sum(dim=1))
        filled = (beats.lead > 0) | valid.all(dim=1)[:, None]  # of a whole record, empty places are tokens as well
        return self.embed_beats(beats), F.pad(filled, (1, 0), value=True)

    def _beats(self, read: Tensor, valid: Tensor | None = None) -> Beats:
        sizes = self.config
        return beats_of(read, self._read, sizes.beats, sizes.samples, valid, move_long=sizes.move_long_beats)

    def embed_beats(self, beats: Beats) -> Tensor:
        """Beats to the features that enter the first block: (batch, 1 + places, width)."""
        tokens = self.stem(beats.samples.transpose(1, 2)).transpose(1, 2)
        tokens = tokens + self.lead_embedding(beats.lead) + self.second_embedding(beats.second)
        tokens = torch.cat([self.class_token.expand(tokens.shape[0], 1, -1), tokens], dim=1)
        return tokens + self.positions

    def finish(self, features: Tensor, mask: Tensor | None) -> Tensor:
        return self.norm(features)
