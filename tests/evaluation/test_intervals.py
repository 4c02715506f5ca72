"""The bootstrap: coverage, correlated groups, agreement with scipy, and predictions per group."""

import math
import re

import numpy as np
import pytest
from scipy import stats

from ecgtune.errors import DataError, SettingError
from ecgtune.evaluation import metrics as module
from ecgtune.evaluation.decision import Decision
from ecgtune.evaluation.groups import group_predictions
from ecgtune.evaluation.intervals import bootstrap_intervals, resampled_counts
from ecgtune.evaluation.metrics import METRICS, weighted_metrics
from ecgtune.evaluation.scorer import make_scorer
from helpers.evaluation import binary_intervals


def correlated(seed, groups=40, each=10):
    """Groups whose windows are all hard or all easy."""
    generator = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), each)
    label = np.repeat(generator.integers(0, 2, groups), each)
    right = np.repeat(generator.random(groups) < 0.7, each)
    score = np.where(right == (label == 1), 0.75, 0.25) + generator.normal(0, 0.05, groups * each)
    return label, np.clip(score, 0, 1), group


def width(entry):
    return entry["ci_high"] - entry["ci_low"]


def test_interval_agrees_with_scipy():
    generator = np.random.default_rng(0)
    label = generator.integers(0, 2, 150)
    probability = np.where(generator.random(150) < 0.8, label, 1 - label).astype(float)
    found = binary_intervals(label, probability, resamples=4000)["accuracy"]
    right = (label == probability).astype(float)
    expected = stats.bootstrap(
        (right,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert found["value"] == right.mean()
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((expected.low, expected.high), abs=0.01)


def test_auroc_interval_agrees_with_scipy():
    generator = np.random.default_rng(2)
    label = generator.integers(0, 2, 120)
    probability = np.clip(0.3 + 0.3 * label + generator.normal(0, 0.2, 120), 0, 1)
    found = binary_intervals(label, probability, resamples=2000)["auroc"]

    def statistic(rows):
        rows = rows.astype(int)
        positive, negative = probability[rows][label[rows] == 1], probability[rows][label[rows] == 0]
        return stats.mannwhitneyu(positive, negative).statistic / (len(positive) * len(negative))

    expected = stats.bootstrap(
        (np.arange(120),), statistic, n_resamples=500, method="percentile", vectorized=False,
        rng=np.random.default_rng(3),
    ).confidence_interval  # fmt: skip
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((expected.low, expected.high), abs=0.02)


def test_interval_over_patients_agrees_with_scipy():
    """Patients have 1 to 12 windows, so the accuracy is a ratio of two sums over the patients that are drawn."""
    generator = np.random.default_rng(1)
    windows = generator.integers(1, 13, 60)
    right = generator.binomial(windows, generator.beta(4, 2, 60))
    group = np.repeat(np.arange(60), windows)
    correct = np.concatenate([np.arange(n) < k for n, k in zip(windows, right, strict=True)])
    label = generator.integers(0, 2, len(group))
    found = binary_intervals(label, np.where(correct, label, 1 - label), group=group, resamples=4000)["accuracy"]
    expected = stats.bootstrap(
        (right, windows), lambda one, other, axis: one.sum(axis=axis) / other.sum(axis=axis), paired=True,
        n_resamples=4000, method="percentile", rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert found["value"] == right.sum() / windows.sum()
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((expected.low, expected.high), abs=0.006)


def test_resampled_patients_have_the_published_error():
    """Efron and Tibshirani 1993, chapter 2: the mean survival of 7 treated mice, 86.86 days, has the bootstrap standard
    error 23.36. A mouse is a patient with 200 windows here, of which its days are right.
    """
    days = np.array([94, 197, 16, 38, 99, 141, 23])
    right = np.concatenate([np.arange(200) < each for each in days])
    group, label = np.repeat(np.arange(7), 200), np.tile([0, 1], 700)
    found = binary_intervals(label, np.where(right, label, 1 - label), group=group, resamples=20_000, level=0.6827)
    assert 200 * found["accuracy"]["value"] == pytest.approx(86.86, abs=5e-3)
    # The distribution is nearly normal, so this interval is two standard errors wide.
    assert 200 * width(found["accuracy"]) / 2 == pytest.approx(23.36, rel=0.03)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    generator = np.random.default_rng(4)
    covered = {"accuracy": 0, "auroc": 0}
    # Two normal scores one standard deviation apart: AUROC is Phi(1 / sqrt 2), accuracy at the middle Phi(1 / 2).
    truth = {"accuracy": stats.norm.cdf(0.5), "auroc": stats.norm.cdf(1 / math.sqrt(2))}
    rounds = 200
    for _ in range(rounds):
        label = generator.permutation(np.repeat([0, 1], 75))
        probability = stats.norm.cdf(generator.normal(label - 0.5, 1.0))
        found = binary_intervals(label, probability, resamples=300, seed=int(generator.integers(2**31)))
        for name in covered:
            covered[name] += found[name]["ci_low"] <= truth[name] <= found[name]["ci_high"]
    assert 0.88 <= covered["accuracy"] / rounds <= 0.99
    assert 0.88 <= covered["auroc"] / rounds <= 0.99


def test_group_interval_covers_where_the_window_interval_does_not():
    generator = np.random.default_rng(5)
    by_group = by_window = 0
    rounds = 100
    for _ in range(rounds):
        label, probability, group = correlated(int(generator.integers(2**31)))
        for grouped in (True, False):
            found = binary_intervals(label, probability, group=group if grouped else None, resamples=200)
            hit = found["accuracy"]["ci_low"] <= 0.7 <= found["accuracy"]["ci_high"]
            by_group, by_window = by_group + (hit and grouped), by_window + (hit and not grouped)
    assert by_group / rounds > 0.85
    assert by_window / rounds < 0.65


def test_correlated_windows_widen_the_interval():
    label, probability, group = correlated(6)
    by_group = binary_intervals(label, probability, group=group)
    by_window = binary_intervals(label, probability)
    for name in ("accuracy", "recall", "auroc", "mcc"):
        # Ten identical windows per group: sqrt(10) wider.
        assert width(by_group[name]) > 2 * width(by_window[name])
        assert by_group[name]["value"] == by_window[name]["value"]


def test_groups_of_one_window_equal_windows():
    label, probability, _ = correlated(7)
    assert binary_intervals(label, probability, group=np.arange(len(label)), resamples=50) == binary_intervals(
        label, probability, resamples=50
    )


def test_names_of_groups_do_not_matter_and_seed_does():
    label, probability, group = correlated(8)
    named = np.array([f"A{name:05d}" for name in group])
    first = binary_intervals(label, probability, group=group, resamples=50)
    assert first == binary_intervals(label, probability, group=named, resamples=50)
    assert first != binary_intervals(label, probability, group=group, resamples=50, seed=1)


def test_level_nests():
    label, probability, group = correlated(9)
    wide = binary_intervals(label, probability, group=group, level=0.99)
    narrow = binary_intervals(label, probability, group=group, level=0.8)
    for name in METRICS:
        assert wide[name]["ci_low"] <= narrow[name]["ci_low"] <= narrow[name]["value"]
        assert narrow[name]["value"] <= narrow[name]["ci_high"] <= wide[name]["ci_high"]


def test_undefined_resamples_are_left_out():
    # Two positives among eight windows: a tenth of the resamples miss both.
    label, probability = np.array([1, 1] + [0] * 6), np.array([0.9, 0.3] + [0.1] * 5 + [0.8])
    found = binary_intervals(label, probability)
    assert (found["recall"]["ci_low"], found["recall"]["ci_high"]) == (0.0, 1.0)
    assert found["auroc"]["ci_low"] < found["auroc"]["value"] < found["auroc"]["ci_high"] == 1.0
    nothing = binary_intervals(label, np.full(8, 0.1))["precision"]
    assert all(math.isnan(value) for value in nothing.values())


@pytest.mark.parametrize("elements", [2**21, 64])
def test_counts_are_resamples_of_all_groups(monkeypatch, elements):
    monkeypatch.setattr("ecgtune.evaluation.intervals.CHUNK_ELEMENTS", elements)
    counts = np.concatenate(list(resampled_counts(20, 20, 3000, 0)))
    assert counts.shape == (3000, 20)
    assert (counts.sum(axis=1) == 20).all()
    # A multinomial of 20 draws over 20 groups: mean 1, variance 0.95.
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.1)
    np.testing.assert_allclose(counts.var(axis=0), 0.95, atol=0.15)


def test_a_chunk_is_bounded():
    chunk = next(resampled_counts(1000, 10_000, 10**6, 0))
    assert len(chunk) * 10_000 <= module.CHUNK_ELEMENTS


def test_group_predictions_are_means():
    groups = group_predictions([0, 1, 0, 1], [0.2, 0.9, 0.4, 0.5], ["b", "a", "b", "a"])
    assert not isinstance(groups, str)
    assert groups.group.tolist() == ["a", "b"]
    assert groups.label.tolist() == [1, 0]
    np.testing.assert_allclose(groups.probability, [0.7, 0.3])


def test_group_predictions_stay_probabilities():
    groups = group_predictions([1] * 7, [1.0] * 7, ["a"] * 7)
    assert not isinstance(groups, str)
    assert weighted_metrics(groups.label, groups.probability, [[1.0]])["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("group", "reason"),
    [
        (None, "no record or patient column"),
        (["a", "a", "b"], r"1 of 2 patients have windows of different labels \(first: a\)"),
    ],
)
def test_no_group_predictions_say_why(group, reason):
    found = group_predictions([0, 1, 1], [0.2, 0.9, 0.4], group, "patient")
    assert isinstance(found, str)
    assert re.search(reason, found)


@pytest.mark.parametrize(
    ("options", "error"),
    [({"resamples": 0}, SettingError), ({"level": 95}, SettingError), ({"group": [1]}, DataError)],
)
def test_bad_settings_are_refused(options, error):
    with pytest.raises(error, match="allowed"):
        binary_intervals([0, 1], [0.1, 0.9], **options)


def exact(hits, trials):
    found = stats.binomtest(hits, trials).proportion_ci(0.95, method="exact")
    return pytest.approx((found.low, found.high))


def test_where_all_resamples_agree_the_interval_is_exact_over_groups():
    label = np.repeat([1, 0, 1, 0, 0, 1], 4)
    group = np.repeat(np.arange(6), 4)
    found = binary_intervals(label, np.where(label == 1, 0.9, 0.2), group=group)
    trials = {"accuracy": 6, "precision": 3, "recall": 3, "specificity": 3, "auroc": 3}
    for name, count in trials.items():
        assert (found[name]["ci_low"], found[name]["ci_high"]) == exact(count, count), name
    low = stats.binomtest(3, 3).proportion_ci(0.95, method="exact").low
    assert found["f1"]["ci_low"] == pytest.approx(2 * low / (1 + low))
    for name in ("auprc", "mcc"):
        assert math.isnan(found[name]["ci_low"])
    assert all(entry["too_few"] and entry["value"] == 1 for entry in found.values())


def test_a_single_group_tells_next_to_nothing():
    found = binary_intervals(np.array([1, 1, 0, 0]), np.array([0.9, 0.2, 0.1, 0.3]), group=np.zeros(4))["accuracy"]
    assert (found["value"], found["too_few"]) == (0.75, True)
    assert found["ci_high"] - found["ci_low"] > 0.9


def test_constant_predictions_are_equal_in_all_resamples_by_construction():
    found = binary_intervals(np.tile([1, 0, 0], 10), np.full(30, 0.7))
    assert found["auroc"] == {"value": 0.5, "ci_low": 0.5, "ci_high": 0.5}
    assert found["recall"] == {"value": 1.0, "ci_low": 1.0, "ci_high": 1.0}
    assert "too_few" not in found["accuracy"]


def test_a_class_is_a_proportion_of_its_own_groups():
    label = np.array([0, 0, 1, 1, 2, 2])
    probability = np.eye(3)[label] * 0.8 + 0.05
    scorer = make_scorer(label, probability, Decision("multiclass"), ("A", "B", "C"), each=True)
    found = bootstrap_intervals(scorer)
    assert (found["accuracy"]["ci_low"], found["accuracy"]["ci_high"]) == exact(6, 6)
    assert (found["recall", 1]["ci_low"], found["recall", 1]["ci_high"]) == exact(2, 2)
    assert (found["specificity", 1]["ci_low"], found["specificity", 1]["ci_high"]) == exact(4, 4)
    assert math.isnan(found["recall"]["ci_low"])  # a mean over classes
