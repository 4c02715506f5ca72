"""Calibration: maps against other implementations, the choice on validation, and measures against oracles."""

import warnings

import numpy as np
import pytest
import torch
from scipy import optimize
from scipy.special import expit, logit
from sklearn import isotonic, linear_model, metrics

from ecgtune.evaluation.calibration import measures
from ecgtune.evaluation.calibration.fitting import KINDS, fit_calibration, fit_map, log_odds_of
from ecgtune.evaluation.calibration.maps import BetaMap, Calibration, IsotonicMap
from ecgtune.evaluation.calibration.measures import (
    brier_parts,
    calibration_line,
    calibration_measures,
    column_measures,
    equal_bins,
    logistic_regression,
    net_benefit,
)

TASKS = ("binary", "multiclass", "multilabel")
FITTED = [name for name in KINDS if name != "none"]


def predictions(seed=0, windows=2000, distort=lambda log_odds: log_odds):
    """Labels, probabilities of a model whose log-odds are `distort` of the true ones, and groups of five windows."""
    generator = np.random.default_rng(seed)
    truth = generator.normal(-0.5, 1.5, windows)
    label = (generator.random(windows) < expit(truth)).astype(int)
    return label, expit(distort(truth)), np.arange(windows) // 5


def of_task(task, seed=0, windows=1500):
    """Labels and overconfident probabilities of three classes or labels, or of two classes."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 1, (windows, 3))
    if task == "binary":
        return (generator.random(windows) < expit(logits[:, 0])).astype(int), expit(3 * logits[:, 0] + 1)
    if task == "multilabel":
        label = (generator.random((windows, 3)) < expit(logits)).astype(int)
        label[generator.random((windows, 3)) < 0.1] = -1
        return label, expit(3 * logits + 1)
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    label = (generator.random((windows, 1)) > share.cumsum(axis=1)).sum(axis=1)
    return label, (sharp := np.exp(3 * logits)) / sharp.sum(axis=1, keepdims=True)


def log_loss(label, probability):
    known = label >= 0
    return metrics.log_loss(label[known], probability[known])


@pytest.mark.parametrize("seed", range(3))
def test_platt_and_beta_equal_logistic_regression(seed):
    label, probability, _ = predictions(seed, 4000, lambda z: 2 * z + 1)
    odds = log_odds_of(probability)
    plain = linear_model.LogisticRegression(C=np.inf, tol=1e-10)
    for kind, columns in (("platt", odds[:, None]), ("beta", np.log([probability, 1 / (1 - probability)]).T)):
        expected = plain.fit(columns, label).predict_proba(columns)[:, 1]
        assert expit(fit_map(kind, odds, label)(odds)) == pytest.approx(expected, abs=2e-3)


def test_temperature_is_the_minimum_of_the_loss():
    label, probability, _ = predictions(1, distort=lambda z: 3 * z)
    odds = log_odds_of(probability)
    best = optimize.minimize_scalar(lambda t: log_loss(label, expit(odds / t)), bounds=(0.1, 10), method="bounded").x
    assert 1 / fit_map("temperature", odds, label).a == pytest.approx(best, rel=0.01)


def test_isotonic_goes_through_the_steps_of_scikit_learn():
    generator = np.random.default_rng(0)
    score = np.repeat(np.sort(generator.normal(0, 1.5, 20)), 40)
    label = (generator.random(800) < expit(score / 2 + np.sin(3 * score))).astype(int)
    expected = isotonic.IsotonicRegression().fit(score, label).predict(score)
    fitted = fit_map("isotonic", score, label)
    steps = np.unique(expected)
    assert len(steps) > 4
    assert expit(fitted.y) == pytest.approx(steps.clip(1 / 802, 801 / 802))
    assert fitted.x == pytest.approx([score[expected == step].mean() for step in steps])


@pytest.mark.parametrize("kind", FITTED)
def test_maps_rise_and_give_the_same_in_torch(kind):
    label, probability, _ = predictions(2, distort=lambda z: 2 * z - 1)
    fitted = fit_map(kind, log_odds_of(probability), label)
    odds = np.linspace(-40, 40, 401)
    assert (np.diff(fitted(odds)) >= 0).all()
    found = fitted(torch.from_numpy(odds), torch).numpy()
    assert found == pytest.approx(fitted(odds), abs=1e-10)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", FITTED)
def test_every_kind_lowers_the_loss_of_new_windows(task, kind):
    calibration = fit_calibration(task, *of_task(task), kind=kind)
    label, probability = of_task(task, seed=1)
    after = calibration(probability)
    assert after.shape == probability.shape
    assert log_loss(label, after) < log_loss(label, probability) - 0.02
    if task == "multiclass":
        assert after.sum(axis=1) == pytest.approx(1)
    stored = Calibration.from_dict(calibration.to_dict(), task)
    assert np.array_equal(stored(probability), after)
    columns = log_odds_of(probability)
    assert calibration.of_log_odds(torch.from_numpy(columns), torch).numpy() == pytest.approx(after, abs=1e-9)


def test_extreme_probabilities_stay_probabilities():
    label, probability, _ = predictions(3, 500)
    probability[:3] = 0, 1, 1e-300
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in FITTED:
            after = fit_calibration("binary", label, probability, kind=kind)(probability)
            assert ((after >= 0) & (after <= 1)).all()
        sure = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.2, 0.3, 0.5]])
        for kind in FITTED:
            assert np.isfinite(fit_calibration("multiclass", [0, 1, 2], sure, kind=kind)(sure)).all()


@pytest.mark.parametrize(
    ("distort", "expected"),
    [
        (lambda z: z, {"none", "temperature", "platt"}),
        (lambda z: 3 * z, {"temperature"}),
        (lambda z: 2 * z + 2, {"platt"}),
        (lambda z: np.sign(z) * np.abs(z) ** 3 + np.sin(2 * z), {"isotonic"}),
    ],
)
def test_the_kind_is_chosen_by_what_is_wrong(distort, expected):
    calibration = fit_calibration("binary", *predictions(5, 6000, distort))
    assert calibration.maps[0].kind in expected


def test_the_choice_is_made_on_groups_that_the_fit_has_not_seen():
    """Labels and scores belong to patients and have nothing in common; windows of one patient in two folds would."""
    kinds = []
    for seed in range(10):
        generator = np.random.default_rng(seed)
        group = np.repeat(np.arange(40), 40)
        label = np.repeat(generator.permutation(np.arange(40) % 2), 40)
        probability = np.repeat(expit(generator.normal(0, 0.3, 40)), 40)
        kinds.append([fit_calibration("binary", label, probability, own).changes for own in (group, None)])
    grouped, alone = np.sum(kinds, axis=0)
    assert alone - grouped >= 3


@pytest.mark.parametrize(
    ("label", "group", "reason"),
    [
        (np.repeat([0, 1], [200, 9]), None, "9 windows of the rarest class"),
        (np.repeat([0, 1], 100), np.arange(200) % 9, "9 groups"),
        (np.zeros(50, int), None, "no validation window of one class"),
    ],
)
def test_small_validation_data_are_not_used(label, group, reason):
    probability = np.linspace(0.1, 0.9, len(label))
    calibration = fit_calibration("binary", label, probability, group)
    assert not calibration.changes
    assert reason in calibration.sentence(("no", "yes"))
    assert np.array_equal(calibration(probability), probability)


def test_few_windows_of_a_class_allow_few_parameters():
    label, probability, _ = predictions(5, 6000, lambda z: np.sign(z) * np.abs(z) ** 3 + np.sin(2 * z))
    rare = np.flatnonzero(label == 1)
    for count, allowed in ((12, {"none", "temperature"}), (25, {"none", "temperature", "platt"})):
        rows = np.concatenate([np.flatnonzero(label == 0), rare[:count]])
        assert fit_calibration("binary", label[rows], probability[rows]).maps[0].kind in allowed


def test_labels_are_calibrated_by_themselves():
    label, probability = of_task("multilabel")
    label[:, 2] = np.where(np.arange(len(label)) < 8, label[:, 2], 0)
    calibration = fit_calibration("multilabel", label, probability)
    assert [each.kind == "none" for each in calibration.maps] == [False, False, True]
    sentence = calibration.sentence(("a", "b", "c"))
    assert "c: not calibrated (validation has" in sentence
    assert "; b: " in sentence


def test_a_run_without_a_calibration_changes_nothing():
    probability = np.random.default_rng(0).random((5, 3))
    for task in TASKS:
        assert np.array_equal(Calibration.from_dict(None, task)(probability), probability)


@pytest.mark.parametrize("seed", range(3))
def test_brier_score_and_log_loss_equal_scikit_learn(seed):
    label, probability, group = predictions(seed, 800, lambda z: 2 * z)
    found = calibration_measures("binary", label, probability, group, ("no", "yes"), resamples=200)["each"]["yes"]
    assert found["brier"]["value"] == pytest.approx(metrics.brier_score_loss(label, probability))
    assert found["log_loss"]["value"] == pytest.approx(metrics.log_loss(label, probability))
    regression = isotonic.IsotonicRegression().fit(probability, label).predict(probability)
    parts, uncertainty = found["parts"], label.mean() * (1 - label.mean())
    assert parts["miscalibration"] == pytest.approx(
        found["brier"]["value"] - metrics.brier_score_loss(label, regression)
    )
    assert parts["uncertainty"] == pytest.approx(uncertainty)
    assert parts["miscalibration"] - parts["discrimination"] + parts["uncertainty"] == pytest.approx(
        found["brier"]["value"]
    )
    for name in ("brier", "log_loss", "ece", "slope", "intercept"):
        assert found[name]["ci_low"] <= found[name]["value"] <= found[name]["ci_high"]


def test_parts_of_perfect_and_of_useless_predictions():
    label = np.array([0.0, 0, 1, 1])
    assert brier_parts(label, label) == {"miscalibration": 0, "discrimination": 0.25, "uncertainty": 0.25}
    assert brier_parts(label, np.full(4, 0.5))["discrimination"] == 0


@pytest.mark.parametrize("grouped", [False, True])
def test_slope_and_intercept_equal_statsmodels(grouped):
    models = pytest.importorskip("statsmodels.api")
    label, probability, group = predictions(4, 600, lambda z: 2 * z + 0.5)
    index = group if grouped else np.arange(600)
    odds, family = logit(probability), models.families.Binomial()
    slope, intercept = calibration_line(label, probability, index)
    both = models.GLM(label, models.add_constant(odds), family=family)
    large = models.GLM(label, np.ones(600), family=family, offset=odds)
    for found, model, column in ((slope, both, 1), (intercept, large, 0)):
        expected = model.fit(cov_type="cluster", cov_kwds={"groups": index})
        assert found.value == pytest.approx(expected.params[column], abs=1e-6)
        assert found.standard_error == pytest.approx(expected.bse[column], rel=1e-3)


def test_separated_labels_have_no_slope():
    label = np.array([0, 0, 1, 1])
    beta, error = logistic_regression(np.array([[1, -2], [1, -1], [1, 1], [1, 2.0]]), np.zeros(4), label, np.arange(4))
    assert np.isnan(beta).all()
    assert np.isnan(error).all()


def test_intervals_cover_the_truth():
    covered = []
    for seed in range(60):
        label, probability, group = predictions(seed, 600, lambda z: z / 0.8)
        found = calibration_measures("binary", label, probability, group, ("no", "yes"), resamples=100)["each"]["yes"]
        covered.append(found["slope"]["ci_low"] <= 0.8 <= found["slope"]["ci_high"])
    assert np.mean(covered) >= 0.86


def test_bins_have_equal_sizes_and_keep_equal_scores_together():
    generator = np.random.default_rng(0)
    assert (np.bincount(equal_bins(generator.random(100), 10)) == 10).all()
    score = np.array([0.1] * 7 + [0.2, 0.3, 0.4])
    bins = equal_bins(score, 5)
    assert len(set(bins[:7])) == 1
    assert bins.max() < 5


def expected_calibration_error(label, probability, index=None):
    """ECE, and what calibrated probabilities have."""
    index = np.arange(len(label)) if index is None else index
    found = column_measures(np.asarray(label), probability, index, resamples=2)["ece"]
    return found["value"], found["by_chance"]


def test_error_of_calibrated_and_of_shifted_probabilities():
    label, probability, _ = predictions(6, 20_000)
    error, by_chance = expected_calibration_error(label, probability)
    assert error == pytest.approx(by_chance, rel=0.6)
    assert by_chance < 0.01
    assert expected_calibration_error(label, np.full(20_000, label.mean()))[0] == pytest.approx(0, abs=1e-9)
    shifted = np.clip(probability + 0.1, 0, 1)
    assert expected_calibration_error(label, shifted)[0] == pytest.approx((shifted - probability).mean(), abs=0.02)


def test_error_equals_its_definition():
    label, probability, _ = predictions(7, 500, lambda z: 3 * z)
    order = np.argsort(probability).reshape(10, 50)
    expected = np.mean([abs(label[rows].mean() - probability[rows].mean()) for rows in order])
    assert expected_calibration_error(label, probability)[0] == pytest.approx(expected)


def test_error_by_chance_is_the_mean_of_calibrated_predictions():
    """Also of correlated windows: five copies of each have the error of one."""
    found = np.array([expected_calibration_error(*predictions(seed, 400)[:2]) for seed in range(60)])
    assert found[:, 0].mean() == pytest.approx(found[:, 1].mean(), rel=0.1)
    label, probability, _ = predictions(0, 400)
    copied = [np.repeat(each, 5) for each in (label, probability, np.arange(400))]
    assert expected_calibration_error(*copied)[1] == pytest.approx(found[0, 1])


def test_net_benefit_equals_a_loop():
    label, probability, _ = predictions(8, 300)
    for threshold, found in zip((0.1, 0.5, 0.8), net_benefit(label, probability, (0.1, 0.5, 0.8)), strict=True):
        gained = sum(y == 1 and p >= threshold for y, p in zip(label, probability, strict=True))
        lost = sum(y == 0 and p >= threshold for y, p in zip(label, probability, strict=True))
        assert found == pytest.approx((gained - lost * threshold / (1 - threshold)) / 300)
    share = label.mean()
    assert net_benefit(label, np.ones(300), (share,)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("task", TASKS)
def test_measures_of_each_class_or_label(task):
    label, probability = of_task(task)
    names = ("a", "b", "c")[: 2 if task == "binary" else 3]
    found = calibration_measures(task, label, probability, None, names, resamples=50)
    expected = {"binary": ["b"], "multiclass": [*names, measures.CONFIDENCE], "multilabel": list(names)}[task]
    assert list(found["each"]) == expected
    eces = [found["each"][name]["ece"]["value"] for name in expected if name != measures.CONFIDENCE]
    assert found["mean"]["ece"] == pytest.approx(np.mean(eces))
    curve = found["each"][expected[0]]["curve"]
    assert sum(point["n"] for point in curve) == found["each"][expected[0]]["n"]
    assert all(point["ci_low"] <= point["value"] <= point["ci_high"] for point in curve)


def test_an_absent_label_has_no_measures():
    label = np.zeros((20, 2), int)
    label[:10, 0] = 1
    found = calibration_measures("multilabel", label, np.full((20, 2), 0.3), None, ("a", "b"), resamples=10)
    assert found["each"]["b"] is None
    assert found["mean"]["brier"] == found["each"]["a"]["brier"]["value"]


def test_maps_of_known_parameters():
    assert BetaMap("platt", 2.0, 2.0, 1.0)(np.array([0.5])) == pytest.approx(2.0)
    line = IsotonicMap((0.0, 1.0, 2.0), (0.0, 2.0, 3.0))
    assert line(np.array([-1.0, 0.5, 1.5, 4.0])) == pytest.approx([-1.5, 1.0, 2.5, 6.0])
    assert IsotonicMap((1.0,), (0.3,))(np.array([-5.0, 5.0])) == pytest.approx(0.3)
