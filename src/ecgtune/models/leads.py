"""Leads of a signal and input channels of an encoder: cut the first layer, or mix leads with a trained matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from ecgtune.config.base import choose
from ecgtune.data.leads import FROM_LIMBS, STANDARD_LEADS
from ecgtune.errors import DataError, LeadsError, SettingError

ChannelMode = Literal["place", "copy"]
#: Beginning of the parameter names of a lead mixer in a `Classifier`.
MIXER_PREFIX = "lead_mixer."


def select_leads(weight: Tensor, available: Sequence[str], leads: Sequence[str], mode: ChannelMode = "place") -> Tensor:
    """First weight of an encoder for a signal that holds only `leads`, in that order.

    Parameters
    ----------
    weight : (outputs, len(available), taps) of a convolution, or (outputs, len(available) * samples) of a linear patch
        projection whose input is ordered by lead.
    available : leads that the encoder was trained with, in the order of its input channels.
    leads : leads of the signal.
    mode : "place" keeps the columns of `leads`: the same result as a signal with zeros in all other channels. "copy"
        (one lead) sums over all columns: the same result as a signal that holds the lead in every channel.

    Returns
    -------
    A new tensor for `len(leads)` leads.

    Raises SettingError for a lead that the encoder does not have, one given twice, or "copy" with several leads.
    """
    choose(mode, get_args(ChannelMode), "lead mode")
    if not leads:
        raise SettingError(f"no lead was given; allowed: {', '.join(available)}")
    if len(set(leads)) != len(leads):
        raise SettingError(f"a lead is given twice in {', '.join(leads)}; name each lead once")
    if len(available) == 1:  # a one-lead encoder was not trained for a particular lead: any one lead is its lead
        if len(leads) > 1:
            raise LeadsError(
                f"this model reads one lead, but {len(leads)} were given ({', '.join(leads)}); name one (--leads)"
            )
        return weight.clone()
    for lead in leads:
        choose(lead, available, "lead")
    kernel = weight.view(len(weight), len(available), -1)
    if mode == "copy":
        if len(leads) > 1:
            raise SettingError(f"lead mode 'copy' takes one lead, but got {', '.join(leads)}; use 'place' for several")
        selected = kernel.sum(dim=1, keepdim=True)
    else:
        columns = torch.tensor([tuple(available).index(lead) for lead in leads], device=weight.device)
        selected = kernel.index_select(1, columns)
    return selected if weight.dim() == 3 else selected.flatten(1)


def combine_leads(weight: Tensor, matrix: Tensor) -> Tensor:
    """First weight, as in `select_leads`, for signals that `matrix` (channels, leads) would mix into the channels."""
    kernel = weight.view(len(weight), len(matrix), -1)
    combined = torch.einsum("oct,cl->olt", kernel, matrix).contiguous()
    return combined if weight.dim() == 3 else combined.flatten(1)


def read_leads(known: Sequence[str], leads: Sequence[str]) -> tuple[tuple[str, ...], list[list[float]]]:
    """Leads that an encoder reads of a signal with `leads`, for one whose weights take any part of `known`.

    All of `known` are read where each is recorded, or follows from the recorded limb leads (Einthoven; Goldberger);
    other recorded leads are not. Otherwise the recorded ones are read, in the order of `known`.

    Returns
    -------
    The leads that are read, and a matrix (leads that are read, recorded leads) that gives them.

    Raises SettingError where a lead of `known` is missing and a recorded one is none of them.
    """
    if not leads or len(set(leads)) != len(leads):
        raise SettingError(f"leads {', '.join(leads) or 'are empty'}; name each recorded lead once")
    for lead in leads:
        choose(lead, STANDARD_LEADS, "lead")
    own = {lead: [float(lead == other) for other in leads] for lead in leads}
    rows = own | derived_leads(leads)
    missing = [lead for lead in known if lead not in rows]
    if not missing:
        return tuple(known), [rows[lead] for lead in known]
    other = [lead for lead in leads if lead not in known]
    if other:
        here = [lead for lead in known if lead in rows and lead in leads]
        instead = f"give {', '.join(here)} alone" if here else "record those"
        raise LeadsError(
            f"the encoder reads {', '.join(known)}, or a part of them; {', '.join(missing)} cannot be derived from "
            f"{', '.join(leads)}: {instead} (--leads)"
        )
    read = tuple(lead for lead in known if lead in leads)
    return read, [own[lead] for lead in read]


def derived_leads(leads: Sequence[str]) -> dict[str, list[float]]:
    """Factors on `leads` that give each limb lead which is not among them; empty with fewer than two of them.

    All six limb leads are combinations of I and II, so that any two of them give the others.
    """
    of_limbs = {"I": (1.0, 0.0), "II": (0.0, 1.0), **FROM_LIMBS}
    limbs = [place for place, lead in enumerate(leads) if lead in of_limbs]
    if len(limbs) < 2:
        return {}
    factors = np.zeros((2, len(leads)))
    # Least squares: with more than two limb leads, the mean of what they say.
    factors[:, limbs] = np.linalg.pinv([of_limbs[leads[place]] for place in limbs])
    return {lead: (np.array(of) @ factors).tolist() for lead, of in of_limbs.items() if lead not in leads}


class LeadMixer(nn.Module):
    """Each channel of an encoder as a weighted sum of the recorded leads: `weight` (channels, leads), see `placement`.

    The product with one matrix is all: `Encoder.fold_leads` multiplies it into the first layer.
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
    """Initial weight of a lead mixer: ones where a lead meets its own channel, else zeros; (channels, leads).

    That is lead mode "place". A lead that the encoder does not have starts with no weight. Where it has none of them,
    the first lead enters the first channel: a one-lead encoder was not trained for a particular lead.

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
