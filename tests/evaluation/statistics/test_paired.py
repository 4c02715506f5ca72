"""Tests of two predictions of the same windows against other libraries and published examples."""

import numpy as np
import pytest
from scipy import optimize, stats

from ecgtune.errors import DataError, SettingError
from ecgtune.evaluation.decision import Decision, binary_decision
from ecgtune.evaluation.scorer import make_scorer
from ecgtune.evaluation.statistics.paired import mcnemar, paired_proportions, permutation_test

#: Differences in height of 15 pairs of plants, in eighths of an inch; Fisher, The Design of Experiments, 1935, ch. III.
DARWIN = (49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48)


def right(both, first, second, neither):
    """Whether each of two predictions is right, from the four counts."""
    counts = (both, first, second, neither)
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


@pytest.mark.parametrize("seed", range(8))
def test_mcnemar_equals_statsmodels(seed):
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    counts = np.random.default_rng(seed).integers(0, 12 if seed % 2 else 60, 4)
    found = mcnemar(*right(*counts))
    exact = counts[1] + counts[2] < 25
    expected = tables.mcnemar([[counts[0], counts[1]], [counts[2], counts[3]]], exact=exact, correction=False)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.statistic == (None if exact else pytest.approx(expected.statistic))


def test_mcnemar_gives_the_published_statistic():
    """Agresti, Categorical Data Analysis, 2002, section 10.1: approval of the prime minister in two surveys."""
    found = mcnemar(*right(794, 150, 86, 570))
    assert (found.gained, found.lost) == (150, 86)
    assert found.statistic == pytest.approx(17.36, abs=0.01)


def test_mcnemar_counts_groups():
    first, second = right(20, 12, 4, 20)
    group = np.arange(len(first))
    copied = [np.repeat(each, 5) for each in (first, second, group)]
    assert mcnemar(*copied).statistic == pytest.approx((12 - 4) ** 2 / 16)
    assert mcnemar(*copied[:2]).p_value < mcnemar(*copied).p_value / 100
    assert mcnemar([True, False], [True, False]).p_value == 1
    with pytest.raises(DataError, match="shapes"):
        mcnemar([True], [True, False])


def test_paired_proportions_give_the_published_statistic():
    """Tango 1998: two ways to disinfect 44 contact lenses, margin 0.1, z = 1.709."""
    assert paired_proportions(0, 1, 44, 0.1) == pytest.approx(1.709, abs=1e-3)
    with pytest.raises(SettingError, match="one discordant pair"):
        paired_proportions(0, 0, 44, 0.1)


@pytest.mark.parametrize("seed", range(6))
def test_paired_proportions_equal_a_numerical_maximum(seed):
    generator = np.random.default_rng(seed)
    gained, lost, total, margin = *(int(n) for n in generator.integers(1, 30, 2)), 120, 0.05 * (1 + seed % 3)

    def unlikely(fraction):
        rest = 1 - 2 * fraction - margin
        return -(gained * np.log(fraction) + lost * np.log(fraction + margin) + (total - gained - lost) * np.log(rest))

    fraction = optimize.minimize_scalar(unlikely, bounds=(1e-9, (1 - margin) / 2 - 1e-9), method="bounded").x
    expected = (gained - lost + total * margin) / np.sqrt(total * (2 * fraction + margin - margin**2))
    assert paired_proportions(gained, lost, total, margin) == pytest.approx(expected, rel=1e-3)


def test_paired_proportions_without_a_margin_are_mcnemar():
    assert paired_proportions(150, 86, 1600) ** 2 == pytest.approx(mcnemar(*right(794, 150, 86, 570)).statistic)


def pair(seed, windows=60, groups=20, gain=0.0):
    """Two scorers of the same windows, the first better by `gain`, and the groups."""
    generator = np.random.default_rng(seed)
    label = generator.integers(0, 2, windows)
    scores = [np.clip(0.4 + shift * label + generator.normal(0, 0.2, windows), 0, 1) for shift in (0.2 + gain, 0.2)]
    group = np.sort(generator.integers(0, groups, windows))
    return *(make_scorer(label, score, binary_decision()) for score in scores), group


@pytest.mark.slow
def test_permutation_gives_the_published_p_value():
    """Of 32,768 exchanges of Darwin's pairs 1,726 differ as much, p = 0.0527; a pair is a group of windows here."""
    sizes = np.abs(DARWIN)
    better = np.repeat(np.array(DARWIN) > 0, sizes)
    first, second = (
        make_scorer(np.ones(len(better)), np.where(one, 0.9, 0.1), binary_decision()) for one in (better, ~better)
    )
    found = permutation_test(first, second, np.repeat(np.arange(15), sizes), resamples=2**15)
    assert found["accuracy"] == 1726 / 32768
    assert np.isnan(found["auroc"])


def test_permutation_agrees_with_scipy():
    first, second, group = pair(1, gain=0.25)
    difference = (first.predicted == first.label).astype(float) - (second.predicted == second.label)
    sums = np.bincount(group, difference)

    def statistic(one, two, axis):
        return (one - two).sum(axis=axis)

    expected = stats.permutation_test(
        (sums, np.zeros_like(sums)), statistic, permutation_type="samples", n_resamples=4000,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    assert permutation_test(first, second, group, resamples=4000)["accuracy"] == pytest.approx(
        expected.pvalue, abs=0.02
    )


def test_permutation_of_auroc_agrees_with_scipy():
    first, second, _ = pair(2, windows=40, gain=0.1)
    positive = first.label == 1
    ranks = [stats.rankdata(each.probability) for each in (first, second)]

    def statistic(one, two, axis):
        def area(rows):
            below = rows[..., positive][..., :, None] > rows[..., ~positive][..., None, :]
            equal = rows[..., positive][..., :, None] == rows[..., ~positive][..., None, :]
            return (below + equal / 2).mean(axis=(-2, -1))

        return area(one) - area(two)

    expected = stats.permutation_test(
        ranks, statistic, permutation_type="samples", n_resamples=4000, rng=np.random.default_rng(0), axis=-1
    )
    found = permutation_test(first, second, resamples=4000)["auroc"]
    assert 0.02 < expected.pvalue < 0.98
    assert found == pytest.approx(expected.pvalue, abs=0.025)


@pytest.mark.parametrize("name", ["auroc", "accuracy", "f1"])
def test_permutation_rejects_at_its_level_and_finds_differences(name):
    equal = [permutation_test(*pair(seed), resamples=100)[name] for seed in range(100)]
    assert np.mean(np.array(equal) <= 0.1) == pytest.approx(0.1, abs=0.09)
    better = [permutation_test(*pair(seed, 200, 50, 0.3), resamples=100)[name] for seed in range(20)]
    assert np.mean(np.array(better) <= 0.05) > 0.7


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_permutation_of_several_classes_and_labels(task):
    generator = np.random.default_rng(0)
    label = generator.integers(0, 3, 90) if task == "multiclass" else generator.integers(0, 2, (90, 3))
    scores = generator.random((2, 90, 3))
    scores[0] += np.eye(3)[label] if task == "multiclass" else label
    scores /= scores.sum(axis=2, keepdims=True) if task == "multiclass" else 2
    classes = ("a", "b", "c")
    decision = Decision(task) if task == "multiclass" else Decision(task, (binary_decision().thresholds[0],) * 3)
    first, second = (make_scorer(label, score, decision, classes) for score in scores)
    found = permutation_test(first, second, np.arange(90) // 3, resamples=300)
    assert found["auroc"] < 0.02
    assert permutation_test(first, first, resamples=50)["auroc"] == 1
    with pytest.raises(DataError, match="different windows"):
        permutation_test(first, make_scorer(label[::-1], scores[1], decision, classes))
