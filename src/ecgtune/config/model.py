"""The [model] table of a recipe: encoder, leads, pooling and head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ecgtune.config.base import check_fields

LeadMode = Literal["place", "copy", "adapter"]


@dataclass(frozen=True)
class ModelSettings:
    """Encoder, adaptation of leads, pooling and head."""

    name: str = "ecg-fm-tiny"
    """A name from `ecgtune models`, a checkpoint file or a converted folder."""
    checkpoint: str | None = None
    """Published file of the weights of that name, or a folder converted from it; downloaded when not given, where the
    weights are on a hub."""
    lead_mode: LeadMode = "place"
    """Recorded leads in the encoder: each in the channel of its lead (place), one lead in all channels (copy), or any
    through a linear mixer in front of the encoder, which is trained and starts as place (adapter)."""
    pooling: Literal["auto", "mean", "class_token", "none", "statistics", "attention"] = "auto"
    """Pooling of the tokens for the head: as the encoder's weights expect (auto); their mean; the class token; the only
    token (none); mean, standard deviation and maximum (statistics); or a learned weighted mean (attention)."""
    head_hidden: int | None = None
    """Width of the head's hidden layer; a linear head when not given."""
    head_dropout: float = 0.0
    """Dropout inside the head."""
    as_published: bool = False
    """Reproduce the code of the encoder's authors, mistakes included; only for encoders where one changes results."""

    def __post_init__(self) -> None:
        check_fields(self)
