"""Which channels of a 12-lead encoder a recording of fewer leads uses, as arithmetic on the first kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import torch
from torch import Tensor

from ecgtune.config.base import choose
from ecgtune.config.model import LeadMode
from ecgtune.data.leads import STANDARD_LEADS as STANDARD_LEADS
from ecgtune.errors import SettingError

LEAD_MODES: tuple[LeadMode, ...] = get_args(LeadMode)


def lead_kernel(kernel: Tensor, available: Sequence[str], leads: Sequence[str], mode: LeadMode = "place") -> Tensor:
    """First convolution kernel for a signal that holds only `leads`, in that order.

    Parameters
    ----------
    kernel : (channels, len(available), taps), the kernel of the encoder as it was trained.
    available : the leads that the encoder was trained with, in the order of its input channels.
    leads : the leads of the signal.
    mode : "place" keeps the columns of `leads`: the same answer as a signal with zeros in all other channels.
        "copy" (one lead) sums over all columns: the same answer as a signal that holds the lead in every channel,
        without the work of copying it.

    Returns
    -------
    (channels, len(leads), taps), a new tensor.

    Raises SettingError for a lead that the encoder does not have, one given twice, or "copy" with several leads.
    """
    choose(mode, LEAD_MODES, "lead mode")
    if not leads:
        raise SettingError(f"no lead was given; allowed: {', '.join(available)}")
    if len(set(leads)) != len(leads):
        raise SettingError(f"a lead is given twice in {', '.join(leads)}; name each lead once")
    if len(available) == 1:  # a one-lead encoder was not trained for a particular lead: any one lead is its lead
        if len(leads) > 1:
            raise SettingError(
                f"this model reads one lead, but {len(leads)} were given ({', '.join(leads)}); name one, or mix"
                " them with lead_adapter (--lead-adapter)"
            )
        return kernel.clone()
    for lead in leads:
        choose(lead, available, "lead")
    if mode == "copy":
        if len(leads) > 1:
            raise SettingError(f"lead mode 'copy' takes one lead, but got {', '.join(leads)}; use 'place' for several")
        return kernel.sum(dim=1, keepdim=True)
    columns = torch.tensor([tuple(available).index(lead) for lead in leads], device=kernel.device)
    return kernel.index_select(1, columns)
