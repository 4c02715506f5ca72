"""HuBERT-ECG: a convolutional stem and a post-norm transformer on all leads in a row (Coppola et al. 2024).

`tests/models/hubert_ecg/test_reference.py` compares every stage with the authors' code. Details that are easy to miss:
the leads follow one another in one channel, so that tokens straddle two of them and the norm of the first convolution
covers all; the encoder's norm is on its input; the positional convolution loses its last frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecgtune.config.base import require
from ecgtune.data.leads import STANDARD_LEADS
from ecgtune.data.signal.steps import Decimate, Resample, ScaleLeads, Step, WindowedSinc
from ecgtune.models.input_spec import InputSpec
from ecgtune.models.layered import LayeredEncoder
from ecgtune.models.leads import read_leads
from ecgtune.models.post_norm import NORM_EPSILON, POST_NORM_ROLES, ConvBlock, PositionalConv, PostNormLayer

KERNELS, STRIDES = (10, 3, 3, 2, 2), (4, 2, 2, 2, 2)
#: Samples that one token reads; from one token to the next there are 64.
RECEPTIVE_FIELD = 82
_BEFORE = (WindowedSinc(0.05, 47.0, 0.3), Resample(500.0, "fourier"), ScaleLeads())
#: As the authors prepare recordings. Their decimation runs from each lead into the next, which the first preset does
#: not; the second does, as in the pretraining.
PRESETS: Mapping[str, tuple[Step, ...]] = {
    "fine-tuning": (*_BEFORE, Decimate(5)),
    "as-published": (*_BEFORE, Decimate(5, leads_in_a_row=True)),
}


@dataclass(frozen=True)
class HubertEcgConfig:
    """Sizes; the defaults are those of the published base model (92.8 million parameters).

    mask_first_samples: as the authors' code, which masks padding as if the valid samples of all leads came first, one
    after the other; off, the padded samples are masked.
    """

    leads: tuple[str, ...] = STANDARD_LEADS
    width: int = 768
    depth: int = 12
    heads: int = 12
    feed_forward: int = 3072
    conv_channels: int = 512
    pos_taps: int = 128
    pos_groups: int = 16
    mask_first_samples: bool = False

    def __post_init__(self) -> None:
        require(self.width % self.heads == 0, f"width {self.width} is no multiple of {self.heads} heads")
        require(self.width % self.pos_groups == 0, f"width {self.width} is no multiple of pos_groups {self.pos_groups}")


class HubertEcg(LayeredEncoder):
    """HuBERT-ECG's encoder: one token for 64 samples of the leads in a row."""

    config_type = HubertEcgConfig
    as_published = "mask_first_samples"
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {**POST_NORM_ROLES, "conv": ("stem.*.conv",)}
    readable_leads: ClassVar[tuple[str, ...]] = STANDARD_LEADS
    zero_gradient_parameters = ("k_proj.bias",)

    def __init__(self, config: HubertEcgConfig) -> None:
        super().__init__(config)
        self.config: HubertEcgConfig = config
        channels = config.conv_channels
        self.stem = nn.Sequential(
            *(
                ConvBlock(channels if index else 1, channels, kernel, stride, normalise=index == 0)
                for index, (kernel, stride) in enumerate(zip(KERNELS, STRIDES, strict=True))
            )
        )
        self.stem_norm = nn.LayerNorm(channels, eps=NORM_EPSILON)
        self.projection = nn.Linear(channels, config.width)
        self.positional = PositionalConv(config.width, config.pos_taps, config.pos_groups)
        self.input_norm = nn.LayerNorm(config.width, eps=NORM_EPSILON)
        self.layers = nn.ModuleList(
            PostNormLayer(config.width, config.heads, config.feed_forward) for _ in range(config.depth)
        )
        _, self._mixing = read_leads(STANDARD_LEADS, config.leads)

    @property
    def input_spec(self) -> InputSpec:
        return InputSpec(
            leads=self.config.leads,
            sampling_rate=100.0,
            minimum_samples=RECEPTIVE_FIELD,
            normalisation="none",
            presets=PRESETS,
            seconds=5.0,
        )

    @property
    def token_rows(self) -> int:
        return len(self._mixing)

    def embed(self, signal: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        self.input_spec.check(signal)
        read = torch.tensor(self._mixing, dtype=signal.dtype, device=signal.device) @ signal
        features = self.stem(read.flatten(1)[:, None]).transpose(1, 2)
        tokens = self.projection(self.stem_norm(features))
        mask = None
        if padding_mask is not None:
            mask = self._valid(padding_mask, len(read[0]))
            tokens = tokens.masked_fill(~mask[..., None], 0.0)
        return self.input_norm(tokens + self.positional(tokens)), mask

    def _valid(self, padding_mask: Tensor, leads: int) -> Tensor:
        """Tokens (batch, tokens) that read at least one sample which is not padding."""
        self.valid_tokens(padding_mask, RECEPTIVE_FIELD)  # refuses leads that differ, and records without a token
        of_lead = padding_mask if padding_mask.dim() == 2 else padding_mask[:, 0]
        valid = (~of_lead.bool()).repeat(1, leads)
        if self.config.mask_first_samples:
            valid = torch.arange(valid.shape[1], device=valid.device) < valid.sum(dim=1, keepdim=True)
            # The authors count the tokens of the valid samples, which all have to be read.
            return -F.max_pool1d(-valid[:, None].float(), RECEPTIVE_FIELD, stride=64)[:, 0] > 0
        return F.max_pool1d(valid[:, None].float(), RECEPTIVE_FIELD, stride=64)[:, 0] > 0
