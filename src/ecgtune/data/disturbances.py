"""Disturbances of windows at increasing strengths: noise, wrong gain, leads or rate, clipping, short records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.leads import FROM_LIMBS
from ecgtune.data.signal.filters import resample
from ecgtune.data.signal.noise import add_at_ratio, coloured_noise, mains_noise
from ecgtune.errors import SettingError

Signal = NDArray[np.float32]
Strength = float | str

#: Potentials of the limb leads in terms of the electrodes RA, LA, LL (Einthoven; Goldberger).
ELECTRODES = ("RA", "LA", "LL")
LIMB_LEADS = {
    "I": (-1.0, 1.0, 0.0),
    "II": (-1.0, 0.0, 1.0),
    "III": (0.0, -1.0, 1.0),
    "aVR": (1.0, -0.5, -0.5),
    "aVL": (-0.5, 1.0, -0.5),
    "aVF": (-0.5, -0.5, 1.0),
}
SWAPS = ("RA/LA", "RA/LL", "LA/LL")
INVERTED = "inverted"
DECIBELS = (24.0, 18.0, 12.0, 6.0, 0.0, -6.0)


@dataclass(frozen=True)
class Recorded:
    """Windows as they are disturbed: leads of the data, those that a run takes, rate in Hz."""

    leads: tuple[str, ...]
    wanted: tuple[str, ...]
    sampling_rate: float

    @property
    def channels(self) -> list[int]:
        """The channels of the wanted leads."""
        return [self.leads.index(lead) for lead in self.wanted]


Change = Callable[[Signal, Recorded, Strength, np.random.Generator], NDArray[np.floating]]
Allowed = Callable[[Recorded], tuple[tuple[Strength, ...], str]]


@dataclass(frozen=True)
class Disturbance:
    """A change of windows (windows, leads, samples) at several strengths.

    allowed: the strengths that are possible for data, in the order of the tables, and why others are not. unit: of the
    strength. change: gets the windows with all leads of the data and returns those with the wanted leads.
    """

    name: str
    title: str
    unit: str
    allowed: Allowed
    change: Change

    def __call__(
        self, signal: Signal, recorded: Recorded, strength: Strength, generator: np.random.Generator
    ) -> Signal:
        """Return the disturbed windows, float32 (windows, wanted leads, samples)."""
        return np.ascontiguousarray(self.change(signal, recorded, strength, generator), np.float32)


def limb_swap(swap: str, leads: Sequence[str], wanted: Sequence[str]) -> NDArray[np.float64] | None:
    """Return the matrix (wanted, leads) by which exchanged electrodes change leads: `matrix @ signal`.

    swap: "RA/LA", "RA/LL" or "LA/LL". Exchanged electrodes turn a limb lead into another one, or its negative; chest
    leads stay, since Wilson's terminal is the mean of all three. A lead that was not recorded is derived from I and II.
    None where a lead that is needed is neither. Raises SettingError for another swap.
    """
    if swap not in SWAPS:
        raise SettingError(f"swap {swap!r} is unknown; allowed: {', '.join(SWAPS)}")
    first, second = (ELECTRODES.index(name) for name in swap.split("/"))
    place = {lead: channel for channel, lead in enumerate(leads)}
    matrix = np.zeros((len(wanted), len(leads)))
    for row, lead in enumerate(wanted):
        if lead not in LIMB_LEADS:
            matrix[row, place[lead]] = 1
            continue
        changed = list(LIMB_LEADS[lead])
        changed[first], changed[second] = changed[second], changed[first]
        source, sign = next(
            (other, sign)
            for other, potential in LIMB_LEADS.items()
            for sign in (1.0, -1.0)
            if np.allclose(changed, sign * np.array(potential))
        )
        if source in place:
            matrix[row, place[source]] = sign
        elif {"I", "II"} <= place.keys():
            matrix[row, [place["I"], place["II"]]] = sign * np.array(FROM_LIMBS[source])
        else:
            return None
    return matrix


def _swapped(signal: Signal, recorded: Recorded, strength: Strength, _: np.random.Generator) -> NDArray[np.floating]:
    if strength == INVERTED:
        return -signal[:, recorded.channels]
    matrix = limb_swap(str(strength), recorded.leads, recorded.wanted)
    if matrix is None:
        raise SettingError(f"{strength} needs leads that the data do not have, only {', '.join(recorded.leads)}")
    return np.einsum("ol,wln->won", matrix.astype(np.float32), signal)


def _swaps(recorded: Recorded) -> tuple[tuple[Strength, ...], str]:
    if not LIMB_LEADS.keys() & set(recorded.wanted):
        return (INVERTED,), "the run has no limb lead"
    possible = tuple(swap for swap in SWAPS if limb_swap(swap, recorded.leads, recorded.wanted) is not None)
    reason = "" if len(possible) == len(SWAPS) else "the data lack the leads of the other swaps"
    return (INVERTED, *possible), reason


def _missing(
    signal: Signal, recorded: Recorded, strength: Strength, generator: np.random.Generator
) -> NDArray[np.floating]:
    signal = signal[:, recorded.channels]
    order = generator.random(signal.shape[:2]).argsort(axis=1).argsort(axis=1)
    return np.where((order < float(strength))[..., None], 0, signal)


def _missing_counts(recorded: Recorded) -> tuple[tuple[Strength, ...], str]:
    leads = len(recorded.wanted)
    counts = sorted({1, leads // 4, leads // 2, 3 * leads // 4} & set(range(1, leads)))
    return tuple(float(count) for count in counts), "" if counts else "the run has one lead"


def _noisy(kind: str) -> Change:
    def change(
        signal: Signal, recorded: Recorded, strength: Strength, generator: np.random.Generator
    ) -> NDArray[np.floating]:
        signal = signal[:, recorded.channels]
        noise = coloured_noise(kind, signal.shape, recorded.sampling_rate, generator)
        return add_at_ratio(signal, noise, float(strength))

    return change


def _mains(hertz: float) -> tuple[Allowed, Change]:
    def allowed(recorded: Recorded) -> tuple[tuple[Strength, ...], str]:
        if hertz < recorded.sampling_rate / 2:
            return DECIBELS, ""
        return (), f"windows of {recorded.sampling_rate:g} Hz hold no {hertz:g} Hz"

    def change(
        signal: Signal, recorded: Recorded, strength: Strength, generator: np.random.Generator
    ) -> NDArray[np.floating]:
        signal = signal[:, recorded.channels]
        return add_at_ratio(
            signal, mains_noise(hertz, signal.shape, recorded.sampling_rate, generator), float(strength)
        )

    return allowed, change


def _scaled(signal: Signal, recorded: Recorded, strength: Strength, _: np.random.Generator) -> NDArray[np.floating]:
    return signal[:, recorded.channels] * np.float32(strength)


def _wrong_rate(signal: Signal, recorded: Recorded, strength: Strength, _: np.random.Generator) -> NDArray[np.floating]:
    """A file states `strength` times the true rate: the ECG is as much faster, and repeated to fill the window."""
    signal, rate = signal[:, recorded.channels], recorded.sampling_rate
    return _filled(resample(signal, rate, rate / float(strength)), signal.shape[-1])


def _clipped(signal: Signal, recorded: Recorded, strength: Strength, _: np.random.Generator) -> NDArray[np.floating]:
    """Each lead saturates at a fraction of its largest distance from its median."""
    signal = signal[:, recorded.channels]
    middle = np.median(signal, axis=-1, keepdims=True)
    limit = float(strength) * np.abs(signal - middle).max(axis=-1, keepdims=True)
    return np.clip(signal, middle - limit, middle + limit)


def _short(signal: Signal, recorded: Recorded, strength: Strength, _: np.random.Generator) -> NDArray[np.floating]:
    """The recording ends after a fraction of the window, and is repeated to fill it, as the signal path does."""
    samples = signal.shape[-1]
    return _filled(signal[:, recorded.channels, : max(2, round(float(strength) * samples))], samples)


def _filled(signal: NDArray[np.floating], samples: int) -> NDArray[np.floating]:
    """The first `samples`, of a signal that is repeated from its start where it has fewer."""
    return np.take(signal, np.arange(samples) % signal.shape[-1], axis=-1)


def _always(*strengths: Strength) -> Allowed:
    return lambda recorded: (strengths, "")


#: All disturbances, in the order of tables and figures. Strengths of noise are signal-to-noise ratios.
DISTURBANCES = (
    Disturbance("muscle", "Muscle noise", "dB", _always(*DECIBELS), _noisy("muscle")),
    Disturbance("motion", "Electrode motion", "dB", _always(*DECIBELS), _noisy("motion")),
    Disturbance("wander", "Baseline wander", "dB", _always(*DECIBELS), _noisy("wander")),
    Disturbance("mains-50", "Mains of 50 Hz", "dB", *_mains(50.0)),
    Disturbance("mains-60", "Mains of 60 Hz", "dB", *_mains(60.0)),
    Disturbance("gain", "Gain error", "times", _always(0.01, 0.1, 0.5, 2.0, 10.0, 1000.0), _scaled),
    Disturbance("leads", "Polarity and limb leads", "", _swaps, _swapped),
    Disturbance("missing", "Missing leads", "", _missing_counts, _missing),
    Disturbance(
        # 250 for 500, 360 for 500, 250 for 300, 300 for 250, 500 for 360, 500 for 250 Hz
        *("rate", "Stated / true rate", ""), _always(0.5, 0.72, 0.833, 1.2, 1.389, 2.0), _wrong_rate,
    ),
    Disturbance("clipping", "Clipping", "of the peak", _always(0.8, 0.6, 0.4, 0.2, 0.1), _clipped),
    Disturbance("short", "Repeated short record", "of a window", _always(0.9, 0.75, 0.5), _short),
)  # fmt: skip
