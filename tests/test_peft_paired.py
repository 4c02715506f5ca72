"""Paired differences, Holm's adjustment and non-inferiority, against other implementations and written-out examples."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from ecgtune.errors import DataError
from ecgtune.evaluation.metrics import METRICS
from helpers.evaluation import binary_intervals, binary_metrics

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks" / "peft_study"))
    paired = importlib.import_module("paired")
Difference, holm, paired_difference, resample = (
    paired.Difference,
    paired.holm,
    paired.paired_difference,
    paired.resample,
)


def predictions(seed, seeds=2, windows=400, skill=1.0):
    rng = np.random.default_rng(seed)
    label = np.arange(windows) % 2
    logit = (
        skill * (2 * label - 1)
        + np.random.default_rng(99).normal(size=windows)
        + 0.3 * rng.normal(size=(seeds, windows))
    )
    return label, 1 / (1 + np.exp(-logit)), np.arange(windows) // 5


def test_values_are_means_over_seeds_and_one_seed_has_the_intervals_of_a_run():
    label, probability, group = predictions(0)
    found = resample(label, probability, group, resamples=200)
    each = [binary_metrics(label, row) for row in probability]
    for name in METRICS:
        assert found.value[name] == pytest.approx(np.mean([value[name] for value in each]))
        assert found.spread[name] == pytest.approx(np.std([value[name] for value in each], ddof=1))
    one = resample(label, probability[0], group, resamples=200)
    told = binary_intervals(label, probability[0], 0.5, group, resamples=200)
    for name in METRICS:
        assert one.interval(name) == (told[name]["ci_low"], told[name]["ci_high"])
        assert np.isnan(one.spread[name])


def test_a_threshold_per_seed():
    label, probability, group = predictions(0)
    found = resample(label, probability, group, threshold=[0.5, 0.8], resamples=20)
    each = [binary_metrics(label, row, cut)["recall"] for row, cut in zip(probability, (0.5, 0.8), strict=True)]
    assert found.value["recall"] == pytest.approx(np.mean(each))


def test_the_difference_has_scipys_paired_bootstrap_interval():
    """Accuracy is a mean over groups of equal size here, so scipy can resample pairs of group means."""
    label, own, group = predictions(1, seeds=1, skill=1.2)
    _, other, _ = predictions(2, seeds=1, skill=0.8)
    found = paired_difference(
        resample(label, own, group, resamples=4000), resample(label, other, group, resamples=4000), "accuracy"
    )
    right = [((row[0] >= 0.5) == label).reshape(-1, 5).mean(1) for row in (own, other)]
    theirs = stats.bootstrap(
        right, lambda a, b, axis: (a - b).mean(axis), paired=True, n_resamples=4000, method="percentile", rng=1
    ).confidence_interval
    assert found.value == pytest.approx(right[0].mean() - right[1].mean())
    assert found.low == pytest.approx(theirs.low, abs=0.004)
    assert found.high == pytest.approx(theirs.high, abs=0.004)
    # Against the normal theory of a paired test on group means, which the bootstrap approaches.
    t_test = stats.ttest_rel(*right).pvalue
    assert found.p == pytest.approx(t_test, abs=0.01)


def test_a_method_against_itself():
    one = resample(*predictions(0), resamples=50)
    assert paired_difference(one, one, "auroc") == Difference(0.0, 0.0, 0.0, 1.0)


def test_under_no_difference_p_is_uniform():
    rng = np.random.default_rng(0)
    p = []
    for _ in range(200):
        right = rng.random((2, 60)) < 0.7
        label = np.ones(60, int)
        label[:2] = 0  # both classes, or ranks are undefined
        probability = np.where(right == (label == 1), 0.9, 0.1)
        own, other = (resample(label, row, None, resamples=200) for row in probability)
        p.append(paired_difference(own, other, "accuracy").p)
    assert 0.01 < np.mean(np.array(p) < 0.05) < 0.12
    assert 0.35 < np.mean(p) < 0.7  # above a half: ties of a discrete difference count on both sides


def test_only_alike_resamples_can_be_paired():
    label, probability, group = predictions(0)
    with pytest.raises(DataError, match="cannot be paired"):
        paired_difference(
            resample(label, probability, group, resamples=10), resample(label, probability, group, resamples=20), "f1"
        )


@pytest.mark.parametrize(
    ("low", "margin", "said"),
    [(-0.004, 0.005, True), (-0.005, 0.005, False), (-0.006, 0.005, False), (0.01, 0.005, True)],
)
def test_non_inferiority_is_the_whole_interval_above_the_margin(low, margin, said):
    assert Difference(0.01, low, 0.03, 0.2).not_inferior(margin) is said


@pytest.mark.parametrize(
    ("p", "adjusted"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # 4 x 0.005, 3 x 0.01, 2 x 0.03, then 0.04 not below it
        ([0.5], [0.5]),
        ([0.6, 0.9], [1.0, 1.0]),
        ([0.02, 0.02], [0.04, 0.04]),
        ([], []),
    ],
)
def test_holm_by_hand(p, adjusted):
    np.testing.assert_allclose(holm(p), adjusted)


def test_holm_is_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest", reason="statsmodels is not installed")
    rng = np.random.default_rng(0)
    for number in (1, 2, 7, 30):
        p = rng.random(number) ** 3
        np.testing.assert_allclose(holm(p), multitest.multipletests(p, method="holm")[1])


@pytest.mark.parametrize("p", [[0.1, 1.2], [-0.1], [float("nan")], [[0.1]]])
def test_values_that_are_no_p_values(p):
    with pytest.raises(DataError, match="from 0 to 1"):
        holm(p)
