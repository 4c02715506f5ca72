"""The lead adapter: one small trained matrix in front of an encoder, from the leads recorded to the leads it was made
for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from ecgtune.config.base import choose
from ecgtune.data.leads import STANDARD_LEADS
from ecgtune.errors import DataError, SettingError
from ecgtune.models.base import Encoder

#: The beginning of parameter names by which the weights of a lead mixer are known in a `Classifier`.
PREFIX = "lead_mixer."

E = TypeVar("E", bound=Encoder)


class LeadMixer(nn.Module):
    """Each channel of an encoder as a weighted sum of the recorded leads: `weight` (channels, leads), see `placement`.

    A product with one matrix and nothing else: the encoder begins with a convolution, which any further linear step
    could be multiplied into (`fold_leads` does that), and which has a bias and a norm of its own.
    """

    def __init__(self, leads: Sequence[str], channels: Sequence[str]) -> None:
        super().__init__()
        self.leads = tuple(leads)
        self.weight = nn.Parameter(placement(leads, channels))

    def forward(self, signal: Tensor) -> Tensor:
        """(batch, leads, samples) -> (batch, channels, samples). Raises DataError for another number of leads."""
        if signal.dim() != 3 or signal.shape[1] != len(self.leads):
            raise DataError(
                f"the signal has shape {tuple(signal.shape)}; allowed: (batch, {len(self.leads)}, samples) "
                f"with the leads {', '.join(self.leads)}"
            )
        return self.weight @ signal


def placement(leads: Sequence[str], channels: Sequence[str]) -> Tensor:
    """Where a lead mixer starts: ones where a lead meets its own channel, else zeros; (channels, leads).

    That is lead mode "place": the leads go where they belong and all other channels are zero. A lead that the encoder
    does not have starts with no weight. Where it has none of them, the first lead enters the first channel, so that
    the encoder sees something: a one-lead encoder was not trained for a particular lead.

    Raises SettingError for an unknown lead, one given twice, or none.
    """
    if not leads or len(set(leads)) != len(leads):
        raise SettingError(f"leads {', '.join(leads) or 'are empty'}; name each recorded lead once")
    for lead in leads:
        choose(lead, STANDARD_LEADS, "lead")
    start = torch.zeros(len(channels), len(leads))
    for place, lead in enumerate(leads):
        if lead in channels:
            start[tuple(channels).index(lead), place] = 1.0
    if not start.any():
        start[0, 0] = 1.0
    return start


def fold_leads(encoder: E, mixer: LeadMixer) -> E:
    """An encoder that gives for signals of `mixer.leads` what `encoder` gives for the mixed ones, without a mixer.

    The matrix is multiplied into the first convolution. The new encoder shares no weights with the old one.
    """
    weights = {name: tensor.detach().clone() for name, tensor in encoder.state_dict().items()}
    kernel = weights[encoder.first_kernel]
    weights[encoder.first_kernel] = torch.einsum("oct,cl->olt", kernel, mixer.weight.detach()).contiguous()
    return encoder.from_weights(replace(encoder.config, leads=mixer.leads), weights)  # pyright: ignore[reportCallIssue, reportArgumentType]
