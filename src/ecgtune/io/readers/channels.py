"""Which channels of a file are read, and as which leads: by their names, `--lead-names`, `--leads` and their rates."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ecgtune.data.leads import STANDARD_LEADS, known_lead, lacking_leads, other_signal
from ecgtune.errors import DataError, QuestionError
from ecgtune.io.readers.base import LEFT_OUT, ReadOptions, note
from ecgtune.text import shown
from ecgtune.utils.formatting import counted

UNNAMED = "II"  # the lead of a one-channel file that does not name it


def wanted_leads(
    path: Path, names: Sequence[str | None], options: ReadOptions, *, without: Collection[int] = ()
) -> dict[str, int]:
    """Map each lead to its channel, in the file's order. `names` are the channels' names, None for an unnamed one.

    Channels that are certainly no standard lead are left out, with a note; so are unknown ones when all of
    `options.leads` are there. A single channel that is left and unnamed or only called "ECG" is lead II unless
    `lead_names` gives another. The channels `without` are not looked at. Raises DataError for another unknown or
    repeated name, and for `lead_names` that do not fit the file.
    """
    found = [known_lead(name) if name is not None else None for name in names]
    if options.lead_names is not None:
        found = _given_leads(path, names, found, options.lead_names)
    else:
        found = _without_others(names, found, options.leads, without)
        left = [channel for channel, lead in enumerate(found) if lead != LEFT_OUT]
        if len(left) == 1 and (names[left[0]] or "").strip().casefold() in ("", "ecg", "ekg"):
            found[left[0]] = UNNAMED
    leads: dict[str, int] = {}
    for channel, lead in enumerate(found):
        if lead == LEFT_OUT:
            continue
        if lead is None:
            got = " has no name" if names[channel] is None else f", {shown(names[channel])}, is no known lead"
            raise QuestionError(
                path,
                f"its channel {channel + 1} of {len(names)}{got}; name the channels in order with "
                f"--lead-names (of {', '.join(STANDARD_LEADS)}, or {LEFT_OUT} to leave a channel out)",
            )
        if lead in leads:
            raise DataError(
                f"{path}: its channels {leads[lead] + 1} and {channel + 1} are both lead {lead}; name the channels in "
                f"order with --lead-names, {LEFT_OUT} for one to leave out"
            )
        leads[lead] = channel
    if not leads:
        stated = ", ".join(dict.fromkeys(shown(name) for name in names if name is not None))
        raise DataError(
            f"{path}: none of its {counted(len(names), 'channel')} is a standard lead{stated and f' ({stated})'}; "
            "if one is, name "
            "all channels in order with --lead-names"
        )
    return leads


def _without_others(
    names: Sequence[str | None], found: Sequence[str | None], needed: Sequence[str] | None, without: Collection[int]
) -> list[str | None]:
    """Mark the channels that are left out because of their name."""
    all_found = needed is not None and not lacking_leads(needed, filter(None, found))
    leads: list[str | None] = []
    for name, lead in zip(names, found, strict=True):
        left_out = lead is None and name is not None and (all_found or other_signal(name))
        leads.append(LEFT_OUT if left_out else lead)
    others = dict.fromkeys(
        shown(name) for name, lead in zip(names, leads, strict=True) if lead == LEFT_OUT and name is not None
    )
    for channel in without:
        leads[channel] = LEFT_OUT
    if others:
        note(f"channels that are no standard lead were left out: {', '.join(others)}")
    return leads


def leads_of_one_rate(
    path: Path, leads: Mapping[str, int], rates: Sequence[float], options: ReadOptions
) -> tuple[dict[str, int], float]:
    """Return the leads of one rate, of those that `wanted_leads` found, and that rate. `rates`: of all channels.

    Leads of another rate are left out, with a note, when `options.leads` does not need them. Raises DataError else.
    """
    by_rate: dict[float, list[str]] = {}
    for lead, channel in leads.items():
        by_rate.setdefault(rates[channel], []).append(lead)
    for rate, names in by_rate.items():
        if len(by_rate) == 1 or (options.leads is not None and not lacking_leads(options.leads, names)):
            others = [lead for lead in leads if lead not in names]
            if others:
                note(f"leads at another sampling rate than the needed ones were left out: {', '.join(others)}")
            return {lead: leads[lead] for lead in names}, rate
    listed = "; ".join(f"{', '.join(names)} at {rate:g} Hz" for rate, names in by_rate.items())
    most = max(by_rate.values(), key=len)
    name_of = {leads[lead]: lead for lead in most}
    kept = " ".join(name_of.get(channel, LEFT_OUT) for channel in range(len(rates)))
    raise DataError(
        f"{path}: its leads are sampled at {len(by_rate)} rates: {listed}; keep one rate: --lead-names {kept}"
    )


def _given_leads(path: Path, names: Sequence[str | None], found: list[str | None], given: tuple[str, ...]):
    if len(given) != len(names):
        raise DataError(
            f"{path}: has {counted(len(names), 'channel')}, but --lead-names has {counted(len(given), 'name')}; "
            "give one for each, "
            f"{LEFT_OUT} for a channel to leave out"
        )
    leads = [LEFT_OUT if name == LEFT_OUT else known_lead(name) for name in given]
    for channel, (stated, lead) in enumerate(zip(found, leads, strict=True)):
        if stated is not None and lead not in (stated, LEFT_OUT) and found.count(stated) == 1:
            raise DataError(
                f"{path}: says that its channel {channel + 1} is lead {stated}, but --lead-names says {lead}; "
                "leave the flag out, or correct it"
            )
    return leads
