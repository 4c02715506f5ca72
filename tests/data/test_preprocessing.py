"""Resampling and normalisation, against scipy, scikit-learn and the arrays of ECG-FM's authors."""

import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.signal import resample_poly
from sklearn.preprocessing import StandardScaler

from ecgtune.data import preprocessing
from ecgtune.data.preprocessing import Preprocessing
from ecgtune.data.signal.filters import resample, zscore
from ecgtune.data.signal.steps import Middle
from ecgtune.data.simulation import simulate
from ecgtune.errors import DataError, SettingError
from ecgtune.models.ecgfounder import network as ecgfounder
from ecgtune.models.heartlang import network as heartlang
from ecgtune.models.hubert_ecg import network as hubert_ecg
from ecgtune.models.merl import network as merl
from ecgtune.models.openecg import network as openecg
from ecgtune.models.st_mem import network as st_mem


@pytest.fixture(scope="module")
def dataset():
    return simulate(64, seconds=4, sampling_rate=100, seed=2)


@pytest.mark.parametrize("rate", [500, 400, 250, 1000, 100])
def test_reference_preprocessing_of_records(shared, rate):
    stored = np.load(shared / "reference" / "preprocessing.npz")
    expected = {key.removeprefix(f"{rate}hz/"): stored[key] for key in stored.files if key.startswith(f"{rate}hz/")}
    assert set(expected) == {"raw", "preprocessed", "mean", "std", "segments"}
    resampled = resample(expected["raw"], rate, 500, "linear")
    got = zscore(resampled)
    assert_allclose(resampled.mean(axis=1, keepdims=True), expected["mean"], atol=1e-12)
    assert_allclose(resampled.std(axis=1, keepdims=True), expected["std"], atol=1e-12)
    assert_allclose(got, expected["preprocessed"], atol=1e-9)
    whole = got[:, : got.shape[1] // 2500 * 2500].reshape(len(got), -1, 2500)
    assert_allclose(whole.transpose(1, 0, 2), expected["segments"], atol=1e-9)


def test_reference_preprocessing_holds_nothing_else(shared):
    stored = np.load(shared / "reference" / "preprocessing.npz")
    assert {key.split("/")[0] for key in stored.files} == {"500hz", "400hz", "250hz", "1000hz", "100hz"}


@pytest.mark.parametrize("rate", [400, 100])
def test_reference_preprocessing_by_the_saved_object(shared, rate):
    """The class that is saved with a model does to whole records what the authors' code does."""
    stored = np.load(shared / "reference" / "preprocessing.npz")
    got = Preprocessing(500.0, "linear", "zscore")(stored[f"{rate}hz/raw"][None], rate)
    assert_allclose(got[0], stored[f"{rate}hz/preprocessed"], atol=1e-5)


@pytest.mark.parametrize(("source", "target"), [(100, 500), (360, 500), (500, 100), (128, 500), (257.5, 500)])
def test_polyphase_is_scipy_on_the_signal_without_its_end_point_line(source, target):
    from fractions import Fraction

    signal = np.random.default_rng(0).normal(size=(3, 1, 300)) + 5
    ratio = Fraction(target) / Fraction(source)
    line = signal[..., :1] + (signal[..., -1:] - signal[..., :1]) * np.arange(300) / 299
    got = resample(signal, source, target, "polyphase")
    count = got.shape[-1]
    assert count == int(np.ceil(300 * target / source))
    position = np.arange(count) * source / target
    plain = resample_poly(signal - line, ratio.numerator, ratio.denominator, axis=-1)
    expected = plain + signal[..., :1] + (signal[..., -1:] - signal[..., :1]) * position / 299
    assert_allclose(got, expected, atol=1e-9)


def test_polyphase_removes_what_would_alias_and_linear_does_not():
    time = np.arange(5000) / 500
    fast = np.sin(2 * np.pi * 90 * time)[None]
    slow = np.sin(2 * np.pi * 10 * time)[None]
    inner = slice(100, -100)
    assert np.abs(resample(fast, 500, 100, "polyphase")[0, inner]).max() < 0.02
    assert np.abs(resample(fast, 500, 100, "linear")[0, inner]).max() > 0.5
    kept = resample(slow, 500, 100, "polyphase")[0]
    assert_allclose(kept[inner], slow[0, ::5][inner], atol=0.01)


def test_linear_aligns_the_end_points():
    signal = np.array([[0.0, 1.0, 4.0]])
    assert_allclose(resample(signal, 1, 2, "linear"), [[0, 0.4, 0.8, 1.6, 2.8, 4.0]])
    assert resample(signal.astype(np.float32), 1, 2, "linear").dtype == np.float32


def test_zscore_is_scikit_learns_and_zero_where_flat(dataset):
    expected = StandardScaler().fit_transform(dataset.signal[:, 0].T.astype(float)).T
    assert_allclose(zscore(dataset.signal[:, 0].astype(float)), expected, atol=1e-9)
    assert_array_equal(zscore(np.full((2, 5), 1e6 + 0.1)), np.zeros((2, 5)))
    tiny = zscore(1e-6 * dataset.signal[:, 0].astype(float))
    assert_allclose(tiny, expected, atol=1e-6)


@pytest.mark.parametrize("resampling", ["polyphase", "linear"])
@pytest.mark.parametrize("normalisation", ["zscore", "global", "none"])
def test_chunks_change_nothing(dataset, monkeypatch, resampling, normalisation):
    rows = np.arange(0, 40)
    options = {"sampling_rate": 250.0, "resampling": resampling, "normalisation": normalisation}
    whole = Preprocessing.fit(dataset, rows, **options)
    expected = whole(dataset.signal, 100)
    monkeypatch.setattr(preprocessing, "_CHUNK_SAMPLES", 3000)
    pieces = Preprocessing.fit(dataset, rows, **options)
    assert expected.shape == (64, 1, 1000)
    assert expected.dtype == np.float32
    assert_allclose(pieces(dataset.signal, 100), expected, rtol=1e-5, atol=1e-6)


def test_the_order_is_resampling_then_normalising(dataset):
    got = Preprocessing(250.0)(dataset.signal, 100)
    assert_allclose(got.mean(axis=-1), 0, atol=1e-5)
    assert_allclose(got.std(axis=-1), 1, atol=1e-4)


def test_global_statistics_come_from_the_training_rows_alone(dataset):
    rows = np.arange(10, 30)
    two = np.concatenate([dataset.signal, 3 * dataset.signal + 100], axis=1)
    changed = replace(dataset, signal=two, leads=("I", "II"))
    fitted = Preprocessing.fit(changed, rows, sampling_rate=100, normalisation="global")
    assert_allclose(fitted.mean, two[rows].astype(float).mean(axis=(0, 2)), rtol=1e-6)
    assert_allclose(fitted.std, two[rows].astype(float).std(axis=(0, 2)), rtol=1e-6)
    other = two.copy()
    other[40:] += 1000
    again = Preprocessing.fit(replace(changed, signal=other), rows, sampling_rate=100, normalisation="global")
    assert again == fitted
    assert_allclose(fitted(two[rows], 100).std(axis=(0, 2)), 1, rtol=1e-4)


@pytest.mark.parametrize("normalisation", ["zscore", "global", "none"])
def test_saved_and_loaded_it_is_the_same(dataset, normalisation):
    fitted = Preprocessing.fit(dataset, np.arange(20), sampling_rate=500, normalisation=normalisation)
    assert Preprocessing.from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted


def test_without_normalisation_the_unit_must_be_known(dataset):
    unknown = replace(dataset, unit="unknown")
    with pytest.raises(DataError, match="--unit"):
        Preprocessing.fit(unknown, np.arange(20), sampling_rate=100, normalisation="none")
    same = Preprocessing.fit(dataset, np.arange(20), sampling_rate=100, normalisation="none")
    assert_array_equal(same(dataset.signal, 100), dataset.signal)


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"resampling": "cubic"}, "resampling 'cubic' is unknown; allowed are polyphase, linear"),
        ({"normalisation": "minmax"}, "normalisation 'minmax' is unknown; allowed are zscore, global, none"),
        ({"normalisation": "global"}, "needs mean and std"),
        ({"mean": (0.0,), "std": (1.0,)}, "the others take none"),
    ],
)
def test_settings_are_checked(settings, part):
    with pytest.raises(SettingError, match=part):
        Preprocessing(500.0, **settings)


@pytest.mark.parametrize("rates", [(0, 500), (100, -1), (float("nan"), 500), (100, float("inf")), (0.001, 5000)])
def test_rates_that_cannot_be_resampled(rates):
    with pytest.raises(SettingError, match="cannot resample from"):
        resample(np.zeros((1, 10)), *rates)


@pytest.mark.parametrize(
    ("shape", "part"),
    [
        ((4, 100), r"\(windows, leads, samples\) is needed"),
        ((4, 1, 0), r"shape \(4, 1, 0\) cannot be used"),
        ((4, 0, 100), r"shape \(4, 0, 100\) cannot be used"),
        ((4, 2, 100), "2 leads cannot be used"),
    ],
)
def test_signals_of_another_shape_are_refused(shape, part):
    fitted = Preprocessing(100.0, "linear", "global", (0.0,), (1.0,))
    with pytest.raises(DataError, match=part):
        fitted(np.zeros(shape, dtype=np.float32), 100)


@pytest.mark.parametrize("rate", [0, -100, float("nan"), float("inf")])
def test_a_rate_that_no_recorder_has_is_refused(rate):
    with pytest.raises(DataError, match=f"{rate:g} Hz is not allowed; between 20 and 10000 Hz is"):
        Preprocessing(100.0)(np.zeros((2, 1, 100), dtype=np.float32), rate)


@pytest.mark.parametrize("normalisation", ["zscore", "global", "none"])
@pytest.mark.parametrize("resampling", ["polyphase", "linear"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused_by_row(dataset, monkeypatch, normalisation, resampling, value):
    options = {"sampling_rate": 250.0, "resampling": resampling, "normalisation": normalisation}
    fitted = Preprocessing.fit(dataset, np.arange(20), **options)
    signal = dataset.signal.copy()
    signal[41, 0, 7] = signal[50, 0, 8] = value
    monkeypatch.setattr(preprocessing, "_CHUNK_SAMPLES", 3000)
    with pytest.raises(DataError, match=r"window 41 \(counted from 0\) holds NaN or infinite samples") as caught:
        fitted(signal, 100)
    assert "\n" not in str(caught.value)


def test_global_statistics_of_samples_that_are_not_finite_name_the_row(dataset):
    signal = dataset.signal.copy()
    signal[23, 0, 7] = np.nan
    with pytest.raises(DataError, match="window 23 "):
        Preprocessing.fit(replace(dataset, signal=signal), np.arange(20, 40), sampling_rate=100, normalisation="global")


@pytest.mark.parametrize("resampling", ["polyphase", "linear"])
def test_no_windows_are_prepared_to_none(resampling):
    assert Preprocessing(500.0, resampling)(np.zeros((0, 2, 250), np.float32), 250).shape == (0, 2, 500)


def test_a_lead_that_never_varies_has_no_global_spread(dataset):
    flat = replace(dataset, signal=np.concatenate([dataset.signal, 0 * dataset.signal], axis=1), leads=("I", "V1"))
    with pytest.raises(DataError, match="lead V1 never varies"):
        Preprocessing.fit(flat, np.arange(20), sampling_rate=100, normalisation="global")


def test_the_amplitude_does_not_matter_to_shortened_windows_with_a_zscore(dataset):
    shortened = Preprocessing(100.0, steps=(Middle(2.0),))
    signal = dataset.signal[:4]
    assert_allclose(shortened(1000 * signal, 100.0), shortened(signal, 100.0), atol=1e-4)
    assert not shortened.amplitude_matters
    assert replace(shortened, normalisation="none").amplitude_matters


#: The published presets by encoder, and that of a z-score and of means of the training.
SCALED = {
    f"{module.__name__.split('.')[-2]} {name}": steps
    for module in (ecgfounder, heartlang, hubert_ecg, merl, openecg, st_mem)
    for name, steps in module.PRESETS.items()
}


TOLERANCE = 1e-3  # two ranks of 5,000 samples differ by 4e-4


@pytest.mark.parametrize("name", [*SCALED, "zscore", "global", "none"])
def test_before_the_scaling_a_flip_is_a_sign_and_a_missing_lead_zero(name):
    generator = np.random.default_rng(0)
    signal = generator.normal(size=(3, 2, 5000)).cumsum(axis=-1) / 70 + generator.normal(size=(3, 2, 1))
    signal[:, 1, 2500:] = 0
    if name in SCALED:
        whole = Preprocessing(500.0, normalisation="none", steps=SCALED[name])
    else:
        moments = {"mean": (0.4, -0.2), "std": (1.1, 0.7)} if name == "global" else {}
        whole = Preprocessing(100.0, normalisation=name, **moments)
    before, rest, rate = whole.at_scaling(5000, 500.0)

    def after(windows):
        return windows if rest is None else rest(windows, rate)

    plain = before(signal, 500.0)
    assert_allclose(after(plain), whole(signal, 500.0), atol=TOLERANCE)
    assert_allclose(after(-plain), whole(-signal, 500.0), atol=TOLERANCE)
    plain[:, 1] = 0
    signal[:, 1] = 0
    assert_allclose(after(plain), whole(signal, 500.0), atol=TOLERANCE)
