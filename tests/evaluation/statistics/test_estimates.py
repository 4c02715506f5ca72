"""Standard errors, adjusted p-values and sample sizes against other libraries, and against published examples."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from ecgtune.errors import DataError, SettingError
from ecgtune.evaluation.intervals import over_seeds, resampled_counts
from ecgtune.evaluation.statistics.delong import delong_auroc, delong_difference
from ecgtune.evaluation.statistics.estimate import Estimate, benjamini_hochberg, holm
from ecgtune.evaluation.statistics.sample_size import (
    auroc_size,
    design_effect,
    hanley_mcneil_error,
    proportion_size,
)

#: Ratings 1 to 5 of CT images of 58 normal and 51 abnormal patients; Hanley and McNeil, Radiology 143, 1982, Table I.
NORMAL, ABNORMAL = (33, 6, 6, 11, 2), (3, 2, 2, 11, 33)
#: Benjamini and Hochberg 1995, section 4.1: thrombolysis after myocardial infarction.
P_VALUES = (
    *(0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344),
    *(0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000),
)
#: 24 p-values of the SAS/STAT User's Guide, PROC MULTTEST, "Inputting Raw p-Values".
MULTTEST = (
    *(0.28282, 0.30688, 0.71022, 0.77175, 0.78180, 0.88581, 0.54685, 0.84978, 0.24228, 0.58977, 0.03498, 0.41607),
    *(0.31631, 0.05254, 0.45061, 0.75758, 0.12496, 0.49485, 0.21572, 0.50505, 0.94372, 0.81260, 0.77596, 0.36889),
)
#: Albumin, total protein, K-G score and whether surgery helped, of 43 patients; DeLong et al. 1988, as printed in the
#: SAS/STAT User's Guide, PROC LOGISTIC, "Comparing Receiver Operating Characteristic Curves".
OVARIAN_CANCER = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0  1.6 5.6 5 1  3.8 5.7 5 1
3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1  4.3 7.0 4 1  3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0
4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1  3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1
4.3 6.5 4 1  3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1  3.5 6.2 5 1
2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1  3.6 6.6 5 1
"""
#: Diameters of 24 plates with each of 6 samples; Davies and Goldsmith, Statistical Methods, 1972.
PENICILLIN = """
27 23 26 23 23 21  27 23 26 23 23 21  25 21 25 24 24 20  26 23 25 23 23 20
25 22 26 22 23 20  24 22 25 23 22 19  24 20 23 21 22 19  26 22 26 24 24 21
24 21 24 22 22 20  24 21 24 23 22 19  26 23 26 24 24 21  25 22 26 24 24 20
26 24 26 24 25 22  26 23 26 23 23 20  26 23 25 24 24 22  25 22 25 23 23 20
25 21 24 23 23 20  25 22 24 23 23 19  24 21 23 21 21 19  26 23 26 24 24 21
25 21 24 22 22 18  25 22 24 22 22 20  24 21 24 22 24 19  24 21 24 22 21 18
"""


def ratings():
    label = np.repeat([0, 1], [sum(NORMAL), sum(ABNORMAL)])
    return label, np.concatenate([np.repeat(np.arange(5), counts) for counts in (NORMAL, ABNORMAL)]) / 4


def slow_covariance(label, scores, group):
    """AUROCs and their covariance by all pairs of windows and loops over groups, as Obuchowski (1997) writes them."""
    groups = sorted(set(group))
    areas, sums = [], []
    for score in scores:
        pairs = list(itertools.product(np.flatnonzero(label == 1), np.flatnonzero(label == 0)))
        kernel = {pair: (score[pair[0]] > score[pair[1]]) + (score[pair[0]] == score[pair[1]]) / 2 for pair in pairs}
        area = sum(kernel.values()) / len(pairs)
        positives, negatives = (label == 1).sum(), (label == 0).sum()
        of_positives = {g: 0.0 for g in groups}
        of_negatives = {g: 0.0 for g in groups}
        for g in groups:
            for row in np.flatnonzero((group == g) & (label == 1)):
                of_positives[g] += np.mean([kernel[row, j] for j in np.flatnonzero(label == 0)]) - area
            for row in np.flatnonzero((group == g) & (label == 0)):
                of_negatives[g] += np.mean([kernel[i, row] for i in np.flatnonzero(label == 1)]) - area
        areas.append(area)
        sums.append((of_positives, of_negatives))
    with_positive, with_negative = (len(set(group[label == value])) for value in (1, 0))
    covariance = np.zeros((len(scores), len(scores)))
    for a, b in itertools.product(range(len(scores)), repeat=2):
        ten = with_positive / (with_positive - 1) / positives * sum(sums[a][0][g] * sums[b][0][g] for g in groups)
        one = with_negative / (with_negative - 1) / negatives * sum(sums[a][1][g] * sums[b][1][g] for g in groups)
        mixed = sum(sums[a][0][g] * sums[b][1][g] + sums[b][0][g] * sums[a][1][g] for g in groups)
        scale = len(groups) / (len(groups) - 1) / (positives * negatives)
        covariance[a, b] = ten / positives + one / negatives + scale * mixed
    return areas, covariance


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("grouped", [False, True])
def test_delong_equals_a_slow_implementation(seed, grouped):
    generator = np.random.default_rng(seed)
    label = generator.integers(0, 2, 60)
    scores = [np.round(np.clip(0.4 + 0.2 * label + generator.normal(0, 0.25, 60), 0, 1), 2) for _ in range(2)]
    group = generator.integers(0, 15, 60) if grouped else np.arange(60)
    areas, covariance = slow_covariance(label, scores, group)
    own = group if grouped else None
    for number, score in enumerate(scores):
        found = delong_auroc(label, score, own)
        assert (found.value, found.standard_error) == pytest.approx((areas[number], covariance[number, number] ** 0.5))
    difference = delong_difference(label, *scores, own)
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert (difference.value, difference.standard_error) == pytest.approx((areas[0] - areas[1], variance**0.5))


def test_delong_gives_the_published_error():
    """Stata's manual, roctab, for the ratings of Hanley and McNeil: 0.8932, standard error 0.0307, and the interval."""
    found = delong_auroc(*ratings())
    assert (found.value, found.standard_error) == pytest.approx((0.8932, 0.0307), abs=5e-5)
    assert found.interval() == pytest.approx((0.83295, 0.95339), abs=5e-6)


def test_delong_gives_the_published_differences():
    """SAS/STAT User's Guide, as above: each area, and total protein and albumin minus the K-G score."""
    albumin, protein, score, helped = np.array(OVARIAN_CANCER.split(), float).reshape(-1, 4).T / 10
    helped = np.rint(10 * helped)
    tests = {"albumin": albumin, "protein": protein, "score": 1 - score}
    published = {"albumin": (0.7366, 0.0927), "protein": (0.6478, 0.1000), "score": (0.7258, 0.1028)}
    for name, test in tests.items():
        found = delong_auroc(helped, test)
        assert (found.value, found.standard_error) == pytest.approx(published[name], abs=5.1e-5), name
    for name, expected in {"protein": (-0.0780, 0.1046, 0.4561), "albumin": (0.0108, 0.0953, 0.9102)}.items():
        found = delong_difference(helped, tests[name], tests["score"])
        assert (found.value, found.standard_error, found.p_value) == pytest.approx(expected, abs=5.1e-5), name


def test_grouped_windows_have_a_larger_error():
    label, score = ratings()
    alone = delong_auroc(label, score)
    copied = delong_auroc(np.tile(label, 4), np.tile(score, 4), np.tile(np.arange(len(label)), 4))
    assert copied.value == pytest.approx(alone.value)
    assert copied.standard_error == pytest.approx(alone.standard_error)
    assert delong_auroc(np.tile(label, 4), np.tile(score, 4)).standard_error < 0.6 * alone.standard_error


def test_delong_needs_two_groups_of_each_class():
    with pytest.raises(DataError, match="1 groups have positive windows"):
        delong_auroc([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4], [0, 1, 2, 2])


@pytest.mark.parametrize("value", [-0.4, 0.0, 0.03])
def test_estimate_agrees_with_scipy(value):
    found = Estimate(value, 0.02)
    assert found.interval(0.9) == pytest.approx(stats.norm(value, 0.02).interval(0.9))
    assert found.p_value == pytest.approx(2 * stats.norm.sf(abs(value) / 0.02))
    assert found.non_inferiority(0.05) == pytest.approx(stats.norm.sf((value + 0.05) / 0.02))
    assert (found.non_inferiority(0.05) < 0.025) == (found.interval()[0] > -0.05)
    with pytest.raises(SettingError, match="margin is 0"):
        found.non_inferiority(0)


def test_estimates_without_an_error():
    assert Estimate(0.0, 0.0).p_value == 1
    assert Estimate(0.1, 0.0).p_value == 0


@pytest.mark.parametrize(("adjust", "method"), [(holm, "holm"), (benjamini_hochberg, "fdr_bh")])
def test_adjusted_p_values_equal_statsmodels(adjust, method):
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    for seed in range(20):
        p = np.random.default_rng(seed).random(12).round(1 if seed % 2 else 8) ** 3
        assert adjust(p) == pytest.approx(multitest.multipletests(p, method=method)[1])


def test_adjusted_p_values_are_the_published_ones():
    """SAS/STAT User's Guide, as above: two by the false discovery rate and one by Holm are below the common maximum."""
    smallest, second = MULTTEST.index(0.03498), MULTTEST.index(0.05254)
    by_holm, by_rate = holm(MULTTEST), benjamini_hochberg(MULTTEST)
    assert by_holm[smallest] == pytest.approx(0.8395, abs=5.1e-5)
    assert by_rate[[smallest, second]] == pytest.approx(0.6305, abs=5.1e-5)
    rest = [number for number in range(len(MULTTEST)) if number not in (smallest, second)]
    assert (by_holm[[second, *rest]] == 1).all()
    assert by_rate[rest].max() == pytest.approx(0.9437, abs=5.1e-5)
    assert np.median(by_rate[rest]) == pytest.approx(0.9243, abs=5.1e-5)


def test_adjusted_p_values_give_the_published_decisions():
    """Four rejections by the false discovery rate, three with the family-wise error."""
    assert (benjamini_hochberg(P_VALUES) <= 0.05).sum() == 4
    assert (holm(P_VALUES) <= 0.05).sum() == 3
    with pytest.raises(DataError, match="allowed: one row"):
        holm([0.1, 1.2])


def draws_of(table, resamples, seed=0):
    """Means of each seed (row) over the same resampled groups (columns)."""
    counts = np.concatenate(list(resampled_counts(table.shape[1], table.shape[1], resamples, seed)))
    return table @ counts.T / table.shape[1]


def test_seeds_and_groups_give_the_published_error():
    """Bates, lme4, 2010, chapter 2: the mean diameter 22.97 has the standard error 0.8086 over plates and samples."""
    table = np.array(PENICILLIN.split(), float).reshape(24, 6).T
    found = over_seeds(draws_of(table, 20_000))
    assert table.mean() == pytest.approx(22.97, abs=0.01)
    assert found.std() == pytest.approx(0.8086, rel=0.03)


def test_seeds_and_groups_equal_a_loop():
    generator = np.random.default_rng(0)
    table = generator.normal(size=(4, 1)) + generator.normal(size=(1, 30)) + generator.normal(size=(4, 30))
    slow = []
    for _ in range(4000):
        groups = generator.integers(0, 30, 30)
        slow.append(np.mean([table[generator.integers(0, 4), groups].mean() for _ in range(3)]))
    found = over_seeds(draws_of(table, 4000))
    assert np.quantile(found, [0.025, 0.5, 0.975]) == pytest.approx(np.quantile(slow, [0.025, 0.5, 0.975]), abs=0.12)
    assert found.std() > 1.3 * draws_of(table, 4000).mean(axis=0).std()
    with pytest.raises(SettingError, match="1 seed"):
        over_seeds(table[:1])


@pytest.mark.parametrize("proportion", [0.5, 0.8, 0.93])
@pytest.mark.parametrize("width", [0.04, 0.1])
def test_size_for_a_proportion_equals_statsmodels(proportion, width):
    proportions = pytest.importorskip("statsmodels.stats.proportion")
    expected = proportions.samplesize_confint_proportion(proportion, width / 2)
    assert proportion_size(proportion, width) == math.ceil(expected - 1e-9)


def test_size_for_sensitivity_is_the_published_one():
    """Buderer 1996: sensitivity 0.9 and specificity 0.85 within 0.1 at a prevalence of 0.2."""
    assert proportion_size(0.9, 0.2, prevalence=0.2) == 173
    assert proportion_size(0.85, 0.2, prevalence=0.8) == 62


def test_error_of_hanley_and_mcneil_is_the_published_one():
    """Radiology 143, 1982: the area 0.893 of 58 normal and 51 abnormal images has a standard error of 0.032."""
    assert hanley_mcneil_error(0.893, 51, 58) == pytest.approx(0.032, abs=1e-3)
    size = auroc_size(0.893, 2 * 1.96 * hanley_mcneil_error(0.893, 51, 58), prevalence=51 / 109)
    assert size == pytest.approx(109, abs=1)


@pytest.mark.parametrize("auroc", [0.7, 0.9])
@pytest.mark.parametrize("prevalence", [0.1, 0.5])
def test_size_for_auroc_is_the_smallest_and_agrees_with_simulation(auroc, prevalence):
    size = auroc_size(auroc, 0.1, prevalence=prevalence)
    half = [1.96 * hanley_mcneil_error(auroc, n * prevalence, n * (1 - prevalence)) for n in (size - 1, size)]
    assert half[0] > 0.05 >= half[1] - 1e-5
    generator, positives = np.random.default_rng(0), round(size * prevalence)
    label = np.repeat([1, 0], [positives, size - positives])
    rate = auroc / (1 - auroc)  # two exponential distributions, for which the formula holds
    areas = [
        delong_auroc(label, 1 - np.exp(-generator.exponential(np.where(label, rate, 1.0)))).value for _ in range(400)
    ]
    assert np.mean(areas) == pytest.approx(auroc, abs=0.01)
    assert 2 * 1.96 * np.std(areas) == pytest.approx(0.1, rel=0.12)


def test_correlated_windows_need_more():
    assert design_effect(10, 0.2) == pytest.approx(2.8)
    assert proportion_size(0.9, 0.1, design_effect=2.8) == pytest.approx(2.8 * proportion_size(0.9, 0.1), abs=3)
    for wrong in ({"proportion": 1.2, "width": 0.1}, {"proportion": 0.9, "width": 0}):
        with pytest.raises(SettingError, match="allowed: between 0 and 1"):
            proportion_size(**wrong)
    with pytest.raises(SettingError, match="correlation"):
        design_effect(4, 1.5)
