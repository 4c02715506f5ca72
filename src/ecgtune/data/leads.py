"""Standard names of leads, by which a model finds its channels, and derived leads."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ecgtune.config.base import separate
from ecgtune.errors import DataError, SettingError

STANDARD_LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
_BY_FOLDED = {name.casefold(): name for name in STANDARD_LEADS}
#: Names that recorders and file formats write for a standard lead: MIT-BIH's modified leads, Romance languages.
_ALIASES = {"mli": "I", "mlii": "II", "mliii": "III", "di": "I", "dii": "II", "diii": "III"}
_ALIASES |= {"d1": "I", "d2": "II", "d3": "III"}
#: Factors of I and II for the other limb leads (Einthoven; Goldberger for the augmented leads).
FROM_LIMBS = {"III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)}
#: A lead's name with what recorders write around it.
_DRESSED = re.compile(
    r"(?:mdc_ecg_lead_|(?:e[ck]g[ _:.-]?)?(?:lead[ _:.-]?)?)(?P<name>.*?)(?: \(einthoven\)|[ _-]ref)?"
)
#: Channels that are certainly none of the standard leads: Frank's, posterior and right-sided leads, other signals.
_OTHER = re.compile(
    r"(?!.*e[ck]g)(v?[xyz]|v[7-9]|v[1-9]r|(resp|pleth|temp|event|time|elapsed[ _]time|(edf |bdf )?annotation)\w*.*"
    r"|(ppg|abp|art|cvp|pap|icp|n?bp|s[pa]?o2|(et)?co2|eeg|eog|emg|acc|(air)?flow|snore|hr|pulse|marker|trigger|seconds"
    r"|samples?|status|crc|battery)(?![a-z]).*)"
)


def lead_argument(lead: str) -> str:
    """Return the standard spelling of a lead that the caller gives ("avr" -> "aVR"). Raises SettingError."""
    name = _BY_FOLDED.get(lead.strip().casefold())
    if name is None:
        copied = "; to copy one lead to all channels, give the model lead_mode='copy' (--lead-mode copy)"
        hint = copied if lead.strip().casefold() == "copy" else separate(lead, STANDARD_LEADS)
        raise SettingError(f"lead {lead!r} is unknown; allowed: {', '.join(STANDARD_LEADS)}{hint}")
    return name


def known_lead(name: str) -> str | None:
    """Return the standard spelling of the lead that a recording's channel name means, or None.

    Additions of recorders are removed: "ECG avr", "lead_I", "Lead I (Einthoven)", "II-ref", "MDC_ECG_LEAD_V1", "MLII".
    A number alone ("ECG1") names a channel, not a lead; "-aVR" is another lead than aVR.
    """
    plain = _plain(name)
    return _BY_FOLDED.get(plain) or _ALIASES.get(plain)


def other_signal(name: str) -> bool:
    """Return whether a recording's channel name certainly means none of the standard leads: "RESP", "vx", "V7"."""
    return _OTHER.fullmatch(_plain(name)) is not None


def lacking_leads(wanted: Iterable[str], recorded: Iterable[str]) -> tuple[str, ...]:
    """Return the leads of `wanted` that are neither recorded nor derived from the recorded I and II."""
    recorded = frozenset(recorded)
    derived = frozenset(FROM_LIMBS if {"I", "II"} <= recorded else ())
    return tuple(lead for lead in wanted if lead not in recorded | derived)


def _plain(name: str) -> str:
    dressed = _DRESSED.fullmatch(" ".join(unicodedata.normalize("NFKC", name).casefold().split()))
    return "" if dressed is None else dressed["name"]


def leads_in_file(path: object, names: Iterable[str]) -> tuple[str, ...]:
    """Return the standard spelling of the leads that a file names. Raises DataError for unknown or repeated ones."""
    leads: list[str] = []
    for name in names:
        lead = known_lead(name)
        if lead is None:
            raise DataError(f"{path}: its lead {name[:40]!r} is unknown; allowed: {', '.join(STANDARD_LEADS)}")
        if lead in leads:
            raise DataError(f"{path}: names lead {lead} twice; each channel must be another lead")
        leads.append(lead)
    return tuple(leads)


def channel_of(path: object, leads: Sequence[str], lead: str) -> int:
    """Return the channel of `lead` in a file with `leads`. Raises DataError when there is none."""
    if lead not in leads:
        raise DataError(
            f"{path}: has no lead {lead}, its leads are {', '.join(leads)}; name one of them or leave the lead out"
        )
    return tuple(leads).index(lead)


def arrange_leads(
    signal: NDArray[np.floating], leads: Sequence[str], wanted: Sequence[str]
) -> tuple[NDArray[np.floating], tuple[str, ...], tuple[str, ...]]:
    """Return `signal` (leads, samples) in mV with the leads `wanted`, and the names of derived and of zeroed leads.

    A lead that was not recorded is derived from I and II: III = II - I, aVR = -(I + II) / 2, aVL = I - II / 2,
    aVF = II - I / 2. Any other becomes zeros, as missing leads are for ECG-FM. A recorded lead is never replaced.
    """
    place = {lead: channel for channel, lead in enumerate(leads)}
    limbs = "I" in place and "II" in place
    derived = tuple(lead for lead in wanted if lead not in place and lead in FROM_LIMBS and limbs)
    zeroed = tuple(lead for lead in wanted if lead not in place and lead not in derived)
    if not derived and not zeroed:
        order = [place[lead] for lead in wanted]
        return (signal if order == list(range(len(leads))) else signal[order]), (), ()
    result = np.zeros((len(wanted), signal.shape[1]), dtype=signal.dtype)
    for row, lead in enumerate(wanted):
        if lead in place:
            result[row] = signal[place[lead]]
        elif lead in derived:
            first, second = FROM_LIMBS[lead]
            result[row] = first * signal[place["I"]] + second * signal[place["II"]]
    return result, derived, zeroed
