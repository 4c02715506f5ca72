"""Several members over one frozen encoder, each with weights of the method and a head of its own; their mean answers.

A deep ensemble (Lakshminarayanan et al. 2017, arXiv:1612.01474) of small parts, as Wang et al. 2023 (arXiv:2310.00035)
build of LoRA: what is frozen stands in memory and on disk but once (LoRA's copies of it in bf16 apart). Heads start
alike, and so does the method but for its random weights; a training shows each member the windows in an order and an
augmentation of its own, or some would learn the same.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TypeVar, cast

import torch
from peft import PeftModel
from torch import Tensor, nn

from ecgtune.methods.ladder import SideTuned
from ecgtune.methods.layer_mix import LayerMix
from ecgtune.models.base import Encoder

Wrapped = TypeVar("Wrapped", bound=nn.Module)
#: Between the seeds of members: further apart than the seeds that anyone counts up.
SEED_STRIDE = 1_000_003


def member_seed(seed: int, member: int) -> int:
    """The seed of member 0, 1, ...: the first has that of a model without members."""
    return seed + SEED_STRIDE * member


def twin(encoder: Wrapped) -> Wrapped:
    """A copy that shares all weights and buffers with `encoder`, so that a method can be put on it by itself."""
    shared = {id(tensor): tensor for tensor in chain(encoder.parameters(), encoder.buffers())}
    return copy.deepcopy(encoder, cast(dict, shared))


def unwrapped(encoder: nn.Module) -> Encoder:
    """The encoder itself, out of the wrapper that a method put around it if there is one."""
    if isinstance(encoder, PeftModel):
        return cast(Encoder, encoder.get_base_model())
    return cast(Encoder, encoder.encoder if isinstance(encoder, (SideTuned, LayerMix)) else encoder)


class EncoderMembers(nn.Module):
    """Encoders that share their frozen weights; called like one, with the tokens of all, one member behind the other.

    In evaluation mode each member reads all windows, in training mode its own part of the batch, which is cut into as
    many equal parts as there are members.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        # Now, while what the method added can be told from what it left alone: later a loaded run freezes all of it.
        self._settled = unwrapped(members[0]).settled_layers

    def forward(self, signal: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Tokens (members x windows, tokens, width) and their mask; of `members x windows` signals in training mode."""
        masks = (None,) * len(self.members) if padding_mask is None else self.parts(padding_mask)
        if self.training or padding_mask is not None:
            answers = [m(part, mask) for m, part, mask in zip(self.members, self.parts(signal), masks, strict=True)]
        else:
            answers = list(self._of_the_same(signal))
        tokens, valid = zip(*answers, strict=True)
        return torch.cat(tokens), torch.cat(valid)

    def parts(self, batch: Tensor) -> Sequence[Tensor]:
        """What each member reads of a batch."""
        return batch.chunk(len(self.members)) if self.training else (batch,) * len(self.members)

    def _of_the_same(self, signal: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Every member's answer to the same signals; what is the same for all is computed once."""
        first = self.members[0]
        if isinstance(first, SideTuned):
            states, mask = first.encoder.layer_tokens(signal)
            yield from ((cast(SideTuned, member).climbed(states, None), mask) for member in self.members)
            return
        if self._settled is None:  # the method changes what lies before the layers
            yield from (member(signal) for member in self.members)
            return
        below = unwrapped(first).tokens_before(self._settled, signal)
        mask = torch.ones(below.shape[:2], dtype=torch.bool, device=below.device)
        yield from ((unwrapped(member).tokens_after(self._settled, below), mask) for member in self.members)


class HeadMembers(nn.Module):
    """A head for each member, equal at the start: (members x windows, features) -> logits.

    In evaluation mode the mean over members of the logits (windows, classes), in training mode those of all members
    (members x windows, classes), so that each learns by its own loss. The query of an attention pooling is one for all.
    """

    def __init__(self, head: nn.Module, members: int) -> None:
        super().__init__()
        query = head.query
        head.register_parameter("query", None)
        self.heads = nn.ModuleList([head, *(copy.deepcopy(head) for _ in range(members - 1))])
        self.register_parameter("query", cast("nn.Parameter | None", query))

    def forward(self, features: Tensor) -> Tensor:
        parts = features.chunk(len(self.heads))
        logits = [head(part) for head, part in zip(self.heads, parts, strict=True)]
        return torch.cat(logits) if self.training else torch.stack(logits).float().mean(dim=0)
