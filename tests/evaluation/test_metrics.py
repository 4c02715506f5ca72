"""Metrics against scikit-learn, with ties, weights and every undefined case."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from ecgtune.errors import DataError
from ecgtune.evaluation import metrics as module
from ecgtune.evaluation.decision import binary_decision
from ecgtune.evaluation.metrics import METRICS, auroc, weighted_metrics
from ecgtune.evaluation.scorer import make_scorer
from helpers.evaluation import binary_metrics


def by_sklearn(label, probability, threshold, weight=None):
    predicted = (np.asarray(probability) >= threshold).astype(int)
    options = {"sample_weight": weight}
    return {
        "accuracy": sk.accuracy_score(label, predicted, **options),
        "precision": sk.precision_score(label, predicted, **options),
        "recall": sk.recall_score(label, predicted, **options),
        "specificity": sk.recall_score(label, predicted, pos_label=0, **options),
        "f1": sk.f1_score(label, predicted, **options),
        "auroc": sk.roc_auc_score(label, probability, **options),
        "auprc": sk.average_precision_score(label, probability, **options),
        "mcc": sk.matthews_corrcoef(label, predicted, **options),
    }


def predictions(seed, windows=200, decimals=17):
    generator = np.random.default_rng(seed)
    label = generator.integers(0, 2, windows)
    probability = np.clip(generator.normal(0.35 + 0.3 * label, 0.25), 0, 1).round(decimals)
    return label, probability


@pytest.mark.parametrize("decimals", [17, 2, 1, 0], ids=lambda n: f"{n} decimals")
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
def test_metrics_equal_sklearn(decimals, threshold):
    label, probability = predictions(decimals, decimals=decimals)
    found = binary_metrics(label, probability, threshold)
    assert tuple(found) == METRICS
    assert found == pytest.approx(by_sklearn(label, probability, threshold), abs=1e-12)
    assert auroc(label, probability) == found["auroc"]


@pytest.mark.parametrize("decimals", [17, 1])
def test_weighted_metrics_equal_sklearn(decimals):
    label, probability = predictions(3, decimals=decimals)
    weights = np.random.default_rng(4).integers(0, 4, (6, len(label))).astype(float)
    found = weighted_metrics(label, probability, weights, 0.4)
    for row, weight in enumerate(weights):
        expected = by_sklearn(label, probability, 0.4, weight)
        assert {name: value[row] for name, value in found.items()} == pytest.approx(expected, abs=1e-12)


def test_integer_weights_equal_repeated_windows():
    label, probability = predictions(5, windows=60, decimals=1)
    count = np.random.default_rng(6).integers(0, 5, 60)
    weighted = weighted_metrics(label, probability, count[None])
    repeated = binary_metrics(np.repeat(label, count), np.repeat(probability, count))
    assert {name: value[0] for name, value in weighted.items()} == pytest.approx(repeated, abs=1e-12)


def test_chunks_do_not_change_the_numbers(monkeypatch):
    label, probability = predictions(7, windows=50)
    weights = np.random.default_rng(8).integers(0, 3, (9, 50))
    whole = weighted_metrics(label, probability, weights)
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", 100)
    for name, value in weighted_metrics(label, probability, weights).items():
        np.testing.assert_allclose(value, whole[name], rtol=1e-12)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4), st.integers(0, 3)), min_size=2, max_size=30))
def test_ties_equal_the_definition(windows):
    label, score, weight = (np.array(column) for column in zip(*windows, strict=True))
    positive, negative = weight * label, weight * (1 - label)
    assume(positive.sum() > 0)
    assume(negative.sum() > 0)
    wins = (score[:, None] > score[None]) + 0.5 * (score[:, None] == score[None])
    expected = positive @ wins @ negative / (positive.sum() * negative.sum())
    found = weighted_metrics(label, score / 4, weight[None].astype(float))
    assert found["auroc"][0] == pytest.approx(expected, abs=1e-12)
    assert found["auprc"][0] == pytest.approx(sk.average_precision_score(label, score, sample_weight=weight), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=20), st.randoms())
def test_order_of_windows_does_not_matter(windows, random):
    shuffled = windows.copy()
    random.shuffle(shuffled)
    first, second = (binary_metrics(*zip(*rows, strict=True)) for rows in (windows, shuffled))
    assert first == pytest.approx(second, nan_ok=True, abs=1e-12)


@pytest.mark.parametrize(
    ("label", "probability", "undefined"),
    [
        ([0, 1, 1], [0.1, 0.2, 0.3], {"precision", "mcc"}),
        ([0, 1, 1], [0.9, 0.8, 0.7], {"mcc"}),
        ([0, 0], [0.1, 0.9], {"recall", "auroc", "auprc", "mcc"}),
        ([1, 1], [0.1, 0.9], {"specificity", "auroc", "mcc"}),
        ([0, 0], [0.1, 0.2], {"precision", "recall", "f1", "auroc", "auprc", "mcc"}),
    ],
    ids=["none predicted positive", "all predicted positive", "no positive", "no negative", "one class, none found"],
)
def test_undefined_is_nan_and_nothing_else(label, probability, undefined):
    found = binary_metrics(label, probability)
    assert {name for name, value in found.items() if math.isnan(value)} == undefined


def test_probability_on_the_threshold_is_positive():
    assert binary_metrics([1, 0], [0.5, 0.4999])["accuracy"] == 1.0


def test_confusion_matrix_equals_sklearn():
    label, probability = predictions(9)
    predicted = probability >= 0.5
    assert (
        make_scorer(label, probability, binary_decision()).confusion() == sk.confusion_matrix(label, predicted).tolist()
    )


@pytest.mark.parametrize(
    ("label", "probability", "message"),
    [
        ([0, 2], [0.1, 0.2], "label of window 1 is 2; allowed: 0 to 1"),
        ([0, 1], [0.1, math.nan], "probability of window 1 is nan"),
        ([0, 1], [0.1, 1.5], "probability of window 1 is 1.5"),
        ([0, 1], [0.1], "allowed: \\(windows,\\) twice"),
        ([], [], "with one window or more"),
    ],
)
def test_bad_predictions_are_one_line(label, probability, message):
    with pytest.raises(DataError, match=message) as error:
        binary_metrics(label, probability)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("weights", [[1.0, 1.0], [[1.0]], [[1.0, -1.0]], [[1.0, math.inf]]])
def test_bad_weights_are_refused(weights):
    with pytest.raises(DataError, match="weights"):
        weighted_metrics([0, 1], [0.2, 0.8], weights)
