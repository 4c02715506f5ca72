"""Augmentation: what it does to a window, that it is bounded, and what it is a function of."""

from dataclasses import replace

import numpy as np
import pytest

from ecgtune.config.augmentation import Augmentation
from ecgtune.data.augmentation import Disturbance, WindowAugmentation, cropped_samples, read_at
from ecgtune.data.sampling import generator
from ecgtune.data.signal.filters import zscore
from ecgtune.errors import SettingError
from ecgtune.recipes.pretraining import Crops

ROWS = np.arange(40)
ALL = Augmentation(
    shift=0.1, crop=0.8, time_stretch=0.1, polarity_flip=0.5, gain=0.1, wander=0.2, noise=0.1, lead_mask=0.3
)
#: One of each alone, and all together.
EACH = [Augmentation(**{name: getattr(ALL, name)}) for name in ALL.acting]

#: What Disturbance gave while it stood in the room of pretraining.
PUBLISHED = [-3.9437258, -2.9605315, -1.9751908, -1.0180483, -0.2172338, 0.8855311, 1.9130144, 2.8714159]


def signals(leads: int = 2, samples: int = 300) -> np.ndarray:
    """Smooth noise, z-scored, so that interpolation between samples is not far from them."""
    noise = np.random.default_rng(5).standard_normal((len(ROWS), leads, samples + 40))
    return zscore(np.stack([noise[..., shift : shift + samples] for shift in range(40)]).mean(0)).astype(np.float32)


def augmented(settings: Augmentation, signal: np.ndarray, rows=ROWS, seed=0, epoch=0, normalise=True) -> np.ndarray:
    augment = WindowAugmentation(
        settings, windows=len(ROWS), leads=signal.shape[1], sampling_rate=100.0, normalise=normalise
    )
    return augment(signal, rows, seed, epoch)


@pytest.mark.parametrize("settings", [*EACH, ALL], ids=lambda settings: "+".join(settings.acting))
@pytest.mark.parametrize("normalise", [True, False])
def test_it_is_a_function_of_seed_epoch_and_row(settings, normalise):
    signal = signals()
    first = augmented(settings, signal, normalise=normalise)
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert not np.array_equal(first, signal[..., : first.shape[-1]])
    rows = np.array([3, 7, 30])
    np.testing.assert_array_equal(augmented(settings, signal[rows], rows, normalise=normalise), first[rows])
    for seed, epoch in ((1, 0), (0, 1)):
        assert not np.array_equal(augmented(settings, signal, seed=seed, epoch=epoch, normalise=normalise), first)


@pytest.mark.parametrize("settings", [replace(setting, lead_mask=0.0) for setting in [*EACH[:-1], ALL]], ids=str)
def test_windows_are_normalised_again_or_keep_mean_and_spread(settings):
    signal = signals()
    again = augmented(settings, signal)
    np.testing.assert_allclose(again.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(again.std(-1), 1, atol=1e-4)
    # Of windows in millivolts, the same is done to their shape: amplitude and level stay beside it.
    unsigned = replace(settings, polarity_flip=0.0)
    level, scale = np.float32(0.4), np.float32(3.0)
    in_units = augmented(unsigned, scale * signal + level, normalise=False)
    np.testing.assert_allclose(zscore(in_units), augmented(unsigned, signal), atol=1e-3)
    np.testing.assert_allclose(in_units.std(-1).mean(), scale, rtol=0.2)


def test_an_inverted_window_is_exact():
    """No z-score follows, in whose rounding it would differ."""
    signal = signals()
    np.testing.assert_array_equal(augmented(Augmentation(polarity_flip=1.0), signal), -signal)


def test_a_shift_moves_what_stays_and_leaves_zeros():
    signal = signals()
    moved = augmented(Augmentation(shift=0.2), signal, normalise=False)
    mean = signal.mean(-1)
    found = set()
    for window in ROWS:
        matches = []
        for by in range(-60, 61):
            kept = slice(max(0, -by), 300 - max(0, by))
            there = slice(kept.start + by, kept.stop + by)
            outside = np.ones(300, bool)
            outside[there] = False
            same = np.allclose(moved[window, :, there], signal[window, :, kept], atol=1e-5)
            empty = np.allclose(moved[window][:, outside], mean[window, :, None], atol=1e-5)
            matches += [by] if same and empty else []
        assert len(matches) == 1
        found.add(matches[0])
    assert len(found) > 20
    assert min(found) < -40
    assert max(found) > 40


def test_a_crop_is_a_piece_of_the_window_and_all_are_as_long():
    signal = signals()
    pieces = augmented(Augmentation(crop=0.5), signal)
    assert pieces.shape == (40, 2, 150)
    starts = set()
    for window in ROWS:
        errors = [np.abs(zscore(signal[window, :, s : s + 150]) - pieces[window]).max() for s in range(151)]
        assert min(errors) < 1e-5
        starts.add(int(np.argmin(errors)))
    assert min(starts) < 15
    assert max(starts) > 135


def test_a_stretch_plays_faster_and_slower():
    """A sine keeps its form and changes its frequency, by as much as was asked for."""
    time = np.arange(600) / 100
    signal = zscore(np.repeat(np.sin(2 * np.pi * 5 * time)[None, None], len(ROWS), axis=0)).astype(np.float32)
    played = augmented(Augmentation(time_stretch=0.2, crop=0.5), signal)
    crossings = (np.diff(np.signbit(played[:, 0]), axis=-1)).sum(-1)
    assert 23 <= crossings.min() < 26  # 3 s of 4 to 6 Hz
    assert 34 < crossings.max() <= 37
    whole = augmented(Augmentation(time_stretch=0.2), signal, normalise=False)[:, 0]
    empty = (whole == whole[:, :1]).sum(-1), (whole == whole[:, -1:]).sum(-1)
    assert 20 < max(part.max() for part in empty) < 120  # played faster than it lasts, a window leaves a gap


def test_the_sign_turns_all_leads_of_a_window_as_often_as_asked():
    signal = signals()
    ratio = augmented(Augmentation(polarity_flip=0.3), signal) / signal
    assert set(np.unique(ratio)) == {-1.0, 1.0}
    assert (np.ptp(ratio, axis=(1, 2)) == 0).all()
    assert 0.1 < (ratio[:, 0, 0] < 0).mean() < 0.5
    np.testing.assert_array_equal(augmented(Augmentation(polarity_flip=1.0), signal), -signal)


def test_leads_are_masked_as_often_as_asked_and_one_stays():
    signal = signals(leads=12)
    gone = (augmented(Augmentation(lead_mask=0.4), signal) == 0).all(-1)
    assert gone.mean() == pytest.approx(0.4, abs=0.06)
    almost = (augmented(Augmentation(lead_mask=0.999), signal) == 0).all(-1)
    assert (almost.sum(1) == 11).all()
    assert len(set((~almost).argmax(1))) > 5


def test_a_flat_lead_stays_flat():
    signal = signals()
    signal[3, 1] = 0
    assert (augmented(replace(ALL, lead_mask=0.0), signal, normalise=False)[3, 1] == 0).all()


@pytest.mark.parametrize(("samples", "left"), [(600, 480), (10, 8), (1, 1)])
def test_cropped_samples(samples, left):
    assert cropped_samples(Augmentation(crop=0.8), samples) == left


def test_one_lead_cannot_be_masked():
    with pytest.raises(SettingError, match=r"lead_mask is 0\.3.*only lead.*leave it out"):
        augmented(Augmentation(lead_mask=0.3), signals(leads=1))


def test_reading_between_samples_is_numpys():
    whole = np.random.default_rng(0).integers(-900, 900, (2, 500)).astype(np.int16)
    position = np.random.default_rng(1).uniform(0, 499, (7, 30))
    position[0, 0] = 499
    expected = np.stack([np.interp(position, np.arange(500), lead) for lead in whole], axis=1)
    np.testing.assert_allclose(read_at(whole, position), expected, atol=0.2)
    np.testing.assert_array_equal(
        read_at(whole, np.rint(position)), whole[:, np.rint(position).astype(int)].swapaxes(0, 1)
    )
    assert read_at(whole, position).dtype == np.float32


@pytest.mark.parametrize(
    ("settings", "smooth"),
    [(Crops(gain=0.3), True), (Crops(wander=0.5), True), (Augmentation(noise=0.4), False)],
    ids=["gain", "wander", "noise"],
)
def test_a_disturbance_is_bounded_and_a_function_of_generator_and_item(settings, smooth):
    crops = np.ones((50, 1, 600), np.float32)
    items = np.arange(50)
    change = Disturbance(settings, 50, generator(0, 0))(crops, items, 100.0) - 1
    assert change.std() > 0.02
    if smooth:
        assert np.abs(change).max() <= max(settings.gain, settings.wander)
        assert np.abs(np.diff(change)).max() < 0.02
    else:
        assert change.std(axis=-1).max() < 1.1 * settings.noise
        assert len({row.tobytes() for row in change}) == 50
    some = Disturbance(settings, 50, generator(0, 0))(crops[7:9], items[7:9], 100.0) - 1
    assert np.array_equal(some, change[7:9])
    assert not np.array_equal(Disturbance(settings, 50, generator(0, 1))(crops, items, 100.0) - 1, change)


def test_a_disturbance_has_the_numbers_that_published_encoders_were_pretrained_with():
    """Written down when fine-tuning began to share it, so that a pretraining can be repeated."""
    crops = np.arange(8, dtype=np.float32).reshape(2, 1, 4) - 4
    disturb = Disturbance(Crops(gain=0.1, wander=0.2, noise=0.05), 2, generator(3, 2, 1))
    np.testing.assert_allclose(disturb(crops, np.arange(2), 100.0).ravel(), PUBLISHED, rtol=1e-5)


def test_no_disturbance_leaves_signals_alone():
    crops = np.random.default_rng(0).standard_normal((3, 1, 40)).astype(np.float32)
    assert Disturbance(Crops(), 3, generator(0))(crops, np.arange(3), 100.0) is crops
