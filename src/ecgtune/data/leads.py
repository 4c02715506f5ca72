"""The names of leads, written one way everywhere: a model finds a lead's channel by its name."""

from collections.abc import Iterable, Sequence

from ecgtune.errors import DataError, SettingError

STANDARD_LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
_BY_FOLDED = {name.casefold(): name for name in STANDARD_LEADS}
#: Names that recorders and file formats write for a standard lead: MIT-BIH's modified leads, Romance languages.
_ALIASES = {"mli": "I", "mlii": "II", "mliii": "III", "di": "I", "dii": "II", "diii": "III"}
_PREFIXES = ("mdc_ecg_lead_", "ecg ", "ekg ", "lead ")


def lead_argument(lead: str) -> str:
    """The standard spelling of a lead that the caller names ("avr" -> "aVR"). Raises SettingError for any other."""
    name = _BY_FOLDED.get(lead.strip().casefold())
    if name is None:
        copied = "; one lead in all channels is the model's business: load_model(..., lead_mode='copy')"
        hint = copied if lead.strip().casefold() == "copy" else ""
        raise SettingError(f"lead {lead!r} is unknown; allowed: {', '.join(STANDARD_LEADS)}{hint}")
    return name


def known_lead(name: str) -> str | None:
    """The standard spelling of the lead that a recording's channel name speaks of, or None.

    Takes what recorders write around it: "ECG avr", "Lead I (Einthoven)", "MDC_ECG_LEAD_V1", "MLII".
    """
    folded = " ".join(name.casefold().split())
    for prefix in _PREFIXES:
        folded = folded.removeprefix(prefix)
    folded = folded.removesuffix(" (einthoven)")
    return _BY_FOLDED.get(folded) or _ALIASES.get(folded)


def leads_in_file(path: object, names: Iterable[str]) -> tuple[str, ...]:
    """The standard spelling of the leads that a file names. Raises DataError for an unknown one, or one named twice."""
    leads: list[str] = []
    for name in names:
        lead = _BY_FOLDED.get(name.strip().casefold())
        if lead is None:
            raise DataError(f"{path}: its lead {name[:40]!r} is unknown; allowed: {', '.join(STANDARD_LEADS)}")
        if lead in leads:
            raise DataError(f"{path}: names lead {lead} twice; each channel must be another lead")
        leads.append(lead)
    return tuple(leads)


def channel_of(path: object, leads: Sequence[str], lead: str) -> int:
    """Which channel of a file with `leads` holds `lead`. Raises DataError when none does."""
    if lead not in leads:
        raise DataError(
            f"{path}: has no lead {lead}, its leads are {', '.join(leads)}; name one of them or leave the lead out"
        )
    return tuple(leads).index(lead)
