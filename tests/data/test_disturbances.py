"""Disturbances against their definitions."""

import numpy as np
import pytest

from ecgtune.config.commands import STRESSES
from ecgtune.data.disturbances import DISTURBANCES, LIMB_LEADS, SWAPS, Recorded, limb_swap
from ecgtune.data.leads import FROM_LIMBS, STANDARD_LEADS
from ecgtune.data.simulation import simulate
from ecgtune.errors import SettingError

BY_NAME = {each.name: each for each in DISTURBANCES}
#: What an exchange makes of each limb lead (Macfarlane et al., Comprehensive Electrocardiology, 2011, chapter 33).
TEXTBOOK = {
    "RA/LA": {"I": "-I", "II": "III", "III": "II", "aVR": "aVL", "aVL": "aVR", "aVF": "aVF"},
    "RA/LL": {"I": "-III", "II": "-II", "III": "-I", "aVR": "aVF", "aVL": "aVL", "aVF": "aVR"},
    "LA/LL": {"I": "II", "II": "I", "III": "-III", "aVR": "aVR", "aVL": "aVF", "aVF": "aVL"},
}


def twelve(windows=3, samples=500, seed=0):
    """Twelve leads that follow Einthoven and Goldberger."""
    generator = np.random.default_rng(seed)
    values = {lead: generator.normal(size=(windows, samples)) for lead in STANDARD_LEADS}
    for lead, (first, second) in FROM_LIMBS.items():
        values[lead] = first * values["I"] + second * values["II"]
    return np.stack([values[lead] for lead in STANDARD_LEADS], axis=1).astype(np.float32)


def applied(name, signal, strength, leads, wanted=None, rate=100.0, seed=0):
    recorded = Recorded(tuple(leads), tuple(wanted or leads), rate)
    return BY_NAME[name](signal, recorded, strength, np.random.default_rng(seed))


def test_the_names_are_those_of_the_settings():
    assert tuple(BY_NAME) == STRESSES


@pytest.mark.parametrize("swap", SWAPS)
def test_swapped_limb_leads_are_those_of_the_textbook(swap):
    signal = twelve()
    found = applied("leads", signal, swap, STANDARD_LEADS)
    place = {lead: number for number, lead in enumerate(STANDARD_LEADS)}
    for lead in STANDARD_LEADS:
        source = TEXTBOOK[swap].get(lead, lead)
        sign = -1 if source.startswith("-") else 1
        assert np.allclose(found[:, place[lead]], sign * signal[:, place[source.lstrip("-")]], atol=1e-6), lead


@pytest.mark.parametrize("swap", SWAPS)
def test_a_swap_twice_is_none_and_keeps_einthoven(swap):
    matrix = limb_swap(swap, STANDARD_LEADS, STANDARD_LEADS)
    assert np.allclose(matrix @ matrix, np.eye(12))
    place = {lead: number for number, lead in enumerate(STANDARD_LEADS)}
    found = applied("leads", twelve(), swap, STANDARD_LEADS)
    assert np.allclose(found[:, place["I"]] + found[:, place["III"]], found[:, place["II"]], atol=1e-5)


@pytest.mark.parametrize("swap", SWAPS)
def test_a_source_that_was_not_recorded_is_derived(swap):
    whole, place = twelve(), [STANDARD_LEADS.index(lead) for lead in ("I", "II")]
    expected = applied("leads", whole, swap, STANDARD_LEADS, tuple(LIMB_LEADS))
    matrix = limb_swap(swap, ("I", "II"), ("I", "II"))
    found = np.einsum("ol,wln->won", matrix, whole[:, place])
    assert np.allclose(found, expected[:, :2], atol=1e-5)


@pytest.mark.parametrize(
    ("leads", "possible"),
    [(("II",), ("inverted", "RA/LL")), (("I",), ("inverted", "RA/LA")), (("V1",), ("inverted",)),
     (("I", "II"), ("inverted", *SWAPS)), (("aVF", "V1"), ("inverted", "RA/LA"))],
)  # fmt: skip
def test_only_swaps_that_the_leads_allow_are_tested(leads, possible):
    strengths, reason = BY_NAME["leads"].allowed(Recorded(leads, leads, 100.0))
    assert strengths == possible
    assert bool(reason) == (possible != ("inverted", *SWAPS))


def test_an_unknown_swap_is_refused():
    with pytest.raises(SettingError, match="allowed: RA/LA"):
        limb_swap("RA/V1", ("I",), ("I",))


def test_missing_leads_are_zeros_and_as_many_as_stated():
    signal = twelve()
    assert BY_NAME["missing"].allowed(Recorded(STANDARD_LEADS, STANDARD_LEADS, 100.0))[0] == (1, 3, 6, 9)
    found = applied("missing", signal, 3.0, STANDARD_LEADS)
    gone = (found == 0).all(axis=-1)
    assert gone.sum(axis=1).tolist() == [3, 3, 3]
    assert np.array_equal(found[~gone], signal[~gone])
    assert BY_NAME["missing"].allowed(Recorded(STANDARD_LEADS, ("II",), 100.0)) == ((), "the run has one lead")


def test_hum_needs_a_rate_that_holds_it():
    assert BY_NAME["mains-50"].allowed(Recorded(("II",), ("II",), 100.0)) == ((), "windows of 100 Hz hold no 50 Hz")
    assert BY_NAME["mains-50"].allowed(Recorded(("II",), ("II",), 250.0))[0]


def test_a_wrong_rate_changes_the_frequency_and_fills_the_window():
    rate, samples = 250.0, 2500
    wave = np.sin(2 * np.pi * 4 * np.arange(samples) / rate).astype(np.float32)[None, None]
    for stated in (0.5, 0.833, 1.389, 2.0):
        found = applied("rate", wave, stated, ("II",), rate=rate)
        assert found.shape == wave.shape
        part = found[0, 0, 50 : int(samples / max(1, stated)) - 50]
        spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), 1 << 16))
        assert np.fft.rfftfreq(1 << 16, 1 / rate)[spectrum.argmax()] == pytest.approx(4 * stated, rel=0.02)


def test_clipping_gain_and_short_records():
    signal = simulate(4, seed=1).signal
    middle = np.median(signal, axis=-1, keepdims=True)
    clipped = applied("clipping", signal, 0.4, ("II",))
    peak = np.abs(signal - middle).max(axis=-1)
    assert np.allclose(np.abs(clipped - middle).max(axis=-1), 0.4 * peak, rtol=1e-5)
    inside = np.abs(signal - middle) < 0.39 * peak[..., None]
    assert np.array_equal(clipped[inside], signal[inside])
    assert np.array_equal(applied("gain", signal, 10.0, ("II",)), signal * 10)
    assert np.array_equal(applied("leads", signal, "inverted", ("II",)), -signal)
    short = applied("short", signal, 0.5, ("II",))
    assert np.array_equal(short, np.tile(signal[..., :300], 2))


@pytest.mark.parametrize("name", BY_NAME)
def test_the_wanted_leads_come_out_in_their_order(name):
    signal, wanted = twelve(), ("V1", "II", "I")
    recorded = Recorded(STANDARD_LEADS, wanted, 250.0)
    strengths, _ = BY_NAME[name].allowed(recorded)
    found = BY_NAME[name](signal, recorded, strengths[0], np.random.default_rng(0))
    assert found.shape == (3, 3, 500)
    assert found.dtype == np.float32
    plain = signal[:, recorded.channels]
    if name not in ("missing", "rate", "leads", "gain"):  # the mildest strength leaves the waves recognisable
        for lead in range(3):
            assert np.corrcoef(found[:, lead].ravel(), plain[:, lead].ravel())[0, 1] > 0.85
