"""Several classes and several labels: against scikit-learn, with what is missing or absent."""

import json

import numpy as np
import pytest
from sklearn import metrics as sklearn

from ecgtune.errors import DataError, SettingError
from ecgtune.evaluation.comparison import RunRecord, compare_runs
from ecgtune.evaluation.decision import Decision, Threshold, choose_decision, choose_threshold
from ecgtune.evaluation.evaluate import Grouping, evaluate
from ecgtune.evaluation.groups import group_predictions
from ecgtune.evaluation.intervals import bootstrap_intervals
from ecgtune.evaluation.macro import CHALLENGE, macro_auroc
from ecgtune.evaluation.metrics import METRICS
from ecgtune.evaluation.scorer import make_scorer

NAMES = ("A", "N", "O", "~")
GENERATOR = np.random.default_rng(3)
GROUP = np.repeat([f"r{number:02d}" for number in range(40)], 3)
CLASS = np.repeat(GENERATOR.choice(4, 40, p=[0.4, 0.3, 0.2, 0.1]), 3)
OF_CLASS = GENERATOR.dirichlet(np.ones(4), len(CLASS)) * 0.6 + 0.4 * np.eye(4)[CLASS] * GENERATOR.random(
    (len(CLASS), 1)
)
OF_CLASS = OF_CLASS / OF_CLASS.sum(axis=1, keepdims=True)
FLAG = np.repeat((GENERATOR.random((40, 4)) < [0.5, 0.3, 0.2, 0.4]).astype(np.int8), 3, axis=0)
FLAG[GENERATOR.random(FLAG.shape) < 0.1] = -1
OF_FLAG = np.clip(0.35 + 0.3 * (FLAG == 1) + GENERATOR.normal(0, 0.2, FLAG.shape), 0, 1).round(2)  # rounded: ties
LARGEST = Decision("multiclass")
HALVES = Decision("multilabel", (Threshold(0.5, "fixed"),) * 4)
COSTS = ("epochs", "learning_rate", "seconds_per_epoch", "peak_memory_bytes", "file_bytes")
#: scikit-learn's score of true against predicted 0 and 1.
BY_PREDICTION = {
    "accuracy": sklearn.accuracy_score,
    "precision": sklearn.precision_score,
    "recall": sklearn.recall_score,
    "specificity": lambda truth, answer: sklearn.recall_score(truth, answer, pos_label=0),
    "f1": sklearn.f1_score,
    "mcc": sklearn.matthews_corrcoef,
}
BY_SCORE = {"auroc": sklearn.roc_auc_score, "auprc": sklearn.average_precision_score}


def test_several_classes_are_those_of_scikit_learn():
    found = make_scorer(CLASS, OF_CLASS, LARGEST, NAMES, each=True).values()
    answer = OF_CLASS.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(sklearn.accuracy_score(CLASS, answer))
    assert found["mcc"] == pytest.approx(sklearn.matthews_corrcoef(CLASS, answer))
    assert found["f1"] == pytest.approx(sklearn.f1_score(CLASS, answer, average="macro"))
    assert found["precision"] == pytest.approx(sklearn.precision_score(CLASS, answer, average="macro"))
    assert found["auroc"] == pytest.approx(sklearn.roc_auc_score(CLASS, OF_CLASS, multi_class="ovr"))
    assert macro_auroc(CLASS, OF_CLASS) == pytest.approx(found["auroc"])
    for place in range(4):
        for name, score in BY_PREDICTION.items():
            assert found[name, place] == pytest.approx(score(place == CLASS, answer == place)), name
        for name, score in BY_SCORE.items():
            assert found[name, place] == pytest.approx(score(place == CLASS, OF_CLASS[:, place])), name


def test_several_labels_are_those_of_scikit_learn_where_known():
    decision = Decision("multilabel", tuple(Threshold(value, "f1") for value in (0.4, 0.5, 0.6, 0.45)))
    found = make_scorer(FLAG, OF_FLAG, decision, NAMES, each=True).values()
    for place, threshold in enumerate(decision.values):
        known = FLAG[:, place] >= 0
        truth, score = FLAG[known, place], OF_FLAG[known, place]
        for name, by_sklearn in BY_PREDICTION.items():
            assert found[name, place] == pytest.approx(by_sklearn(truth, score >= threshold)), name
        for name, by_sklearn in BY_SCORE.items():
            assert found[name, place] == pytest.approx(by_sklearn(truth, score)), name
    for name in METRICS:
        assert found[name] == pytest.approx(np.mean([found[name, place] for place in range(4)]))
    assert macro_auroc(FLAG, OF_FLAG) == pytest.approx(found["auroc"])


@pytest.mark.parametrize(("label", "probability", "decision"), [(CLASS, OF_CLASS, LARGEST), (FLAG, OF_FLAG, HALVES)])
def test_a_weight_counts_like_copies(label, probability, decision):
    counts = np.random.default_rng(0).integers(0, 4, len(label))
    weighted = make_scorer(label, probability, decision, NAMES, each=True)(counts[None].astype(float))
    rows = np.repeat(np.arange(len(label)), counts)
    copied = make_scorer(label[rows], probability[rows], decision, NAMES, each=True).values()
    for key, value in copied.items():
        assert weighted[key][0] == pytest.approx(value), key


def test_the_challenge_score_is_the_mean_f1_of_three_classes():
    answer = OF_CLASS.argmax(axis=1)
    expected = sklearn.f1_score(CLASS, answer, average=None)[:3].mean()
    assert make_scorer(CLASS, OF_CLASS, LARGEST, NAMES, ("N", "A", "O")).values()[CHALLENGE] == pytest.approx(expected)
    with pytest.raises(SettingError, match="f1_over has an unknown class 'AF'; allowed: A, N, O, ~"):
        make_scorer(CLASS, OF_CLASS, LARGEST, NAMES, ("AF",))


def test_the_challenge_score_of_labels_is_the_mean_f1_of_those_named():
    found = make_scorer(FLAG, OF_FLAG, HALVES, NAMES, ("A", "O"), each=True).values()
    assert found[CHALLENGE] == pytest.approx((found["f1", 0] + found["f1", 2]) / 2)


def test_what_is_absent_has_no_metrics_and_is_in_no_mean():
    label = FLAG.copy()
    label[:, 1] = np.where(label[:, 1] == 1, 0, label[:, 1])
    found = evaluate(label, OF_FLAG, Grouping(GROUP), HALVES, NAMES, resamples=20)["window"]
    assert found["labels_in_mean"] == 3
    assert found["labels"]["N"] | {"confusion": 0} == {
        "positives": 0, "known": int((label[:, 1] >= 0).sum()), "prevalence": 0.0, "metrics": None, "confusion": 0
    }  # fmt: skip
    each = [found["labels"][name]["metrics"]["auroc"]["value"] for name in ("A", "O", "~")]
    assert found["metrics"]["auroc"]["value"] == pytest.approx(np.mean(each))
    missing = label.copy()
    missing[:, 1] = -1
    entry = evaluate(missing, OF_FLAG, Grouping(), HALVES, NAMES, resamples=2)["window"]["labels"]["N"]
    assert (entry["known"], entry["prevalence"], entry["metrics"]) == (0, None, None)


def test_a_mean_that_one_class_leaves_undefined_is_undefined():
    probability = OF_CLASS.copy()
    probability[:, 3] = 0  # never predicted: no precision, and an F1 of 0
    found = make_scorer(CLASS, probability, LARGEST, NAMES, each=True).values()
    assert np.isnan(found["precision", 3])
    assert np.isnan(found["precision"])
    assert found["f1", 3] == 0


@pytest.mark.parametrize(
    ("label", "probability", "decision", "keys"),
    [
        (CLASS, OF_CLASS, LARGEST, ["n", "metrics", "confusion", "labels_in_mean", "labels"]),
        (FLAG, OF_FLAG, HALVES, ["n", "metrics", "labels_in_mean", "labels"]),
    ],
)
def test_layout_of_metrics_json(label, probability, decision, keys):
    found = evaluate(label, probability, Grouping(GROUP), decision, NAMES, resamples=20)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    for level, n in (("window", 120), ("group", 40)):
        assert list(found[level]) == [*(["of"] if level == "group" else []), *keys]
        assert found[level]["n"] == n
        assert list(found[level]["labels"]) == list(NAMES)
    if label.ndim == 1:
        expected = sklearn.confusion_matrix(CLASS, OF_CLASS.argmax(axis=1))
        assert found["window"]["confusion"] == expected.tolist()
    else:
        known = FLAG[:, 2] >= 0
        expected = sklearn.confusion_matrix(FLAG[known, 2], OF_FLAG[known, 2] >= 0.5)
        assert found["window"]["labels"]["O"]["confusion"] == expected.tolist()


@pytest.mark.parametrize("pooled", ["mean", "maximum"])
@pytest.mark.parametrize(("label", "probability"), [(CLASS, OF_CLASS), (FLAG, OF_FLAG), (CLASS % 2, OF_CLASS[:, 0])])
def test_groups_by_mean_or_maximum(label, probability, pooled):
    groups = group_predictions(label, probability, GROUP, pooled=pooled)
    assert not isinstance(groups, str)
    by_hand = np.mean if pooled == "mean" else np.max
    for place, name in enumerate(groups.group):
        own = name == GROUP
        np.testing.assert_allclose(groups.probability[place], by_hand(probability[own], axis=0))
        assert np.array_equal(groups.label[place], label[own].max(axis=0))  # -1 only where no window knows


def test_groups_of_different_labels_have_none():
    label = CLASS.copy()
    label[0] = (label[1] + 1) % 4
    assert "1 of 40 records have windows of different labels (first: r00)" in str(
        group_predictions(label, OF_CLASS, GROUP)
    )


@pytest.mark.parametrize(("label", "probability", "decision"), [(CLASS, OF_CLASS, LARGEST), (FLAG, OF_FLAG, HALVES)])
def test_interval_of_a_macro_score_is_the_bootstrap_over_groups(label, probability, decision):
    scorer = make_scorer(label, probability, decision, NAMES)
    found = bootstrap_intervals(scorer, GROUP, resamples=30, seed=5)["f1"]
    generator = np.random.default_rng(5)
    names, draws = np.unique(GROUP), []
    for drawn in generator.integers(0, 40, size=(30, 40)):
        rows = np.concatenate([np.flatnonzero(names[place] == GROUP) for place in drawn])
        draws.append(make_scorer(label[rows], probability[rows], decision, NAMES).values()["f1"])
    assert (found["ci_low"], found["ci_high"]) == pytest.approx(tuple(np.nanquantile(draws, [0.025, 0.975])), abs=0.02)


@pytest.mark.parametrize("rule", ["f1", "youden", "sensitivity:0.9"])
def test_each_label_has_its_own_threshold_and_missing_ones_do_not_count(rule):
    decision = choose_decision("multilabel", FLAG, OF_FLAG, rule)
    for place in range(4):
        known = FLAG[:, place] >= 0
        assert decision.thresholds[place] == choose_threshold(FLAG[known, place], OF_FLAG[known, place], rule)
    assert Decision.from_dict(decision.to_dict(NAMES)) == decision


@pytest.mark.parametrize("wanted", [0.5, 0.8, 0.95, 1.0])
def test_the_recall_that_must_be_reached_is_reached_by_the_highest_threshold(wanted):
    truth, score = CLASS == 1, OF_CLASS[:, 1]
    threshold = choose_threshold(truth.astype(int), score, f"sensitivity:{wanted}")
    assert sklearn.recall_score(truth, score >= threshold.value) >= wanted
    higher = np.unique(score[score >= threshold.value])[1]
    assert sklearn.recall_score(truth, score >= higher) < wanted or truth[score < higher].sum() == truth.sum()
    assert threshold.sentence.endswith(f"fitted on validation (recall of {wanted} or more)")


def test_a_label_with_nothing_to_fit_on_says_so():
    label = FLAG.copy()
    label[:, 2] = 0
    decision = choose_decision("multilabel", label, OF_FLAG, "f1")
    assert decision.thresholds[2] == Threshold(0.5, "unfitted")
    assert "O 0.5, not fitted: no positive or no negative validation window" in decision.sentence(NAMES)


@pytest.mark.parametrize("rule", ["sensitivity:", "sensitivity:0", "sensitivity:1.2", "sensitivity:x", "recall"])
def test_rules_that_are_none(rule):
    with pytest.raises(SettingError, match="threshold rule is"):
        choose_threshold([0, 1], [0.1, 0.9], rule)
    with pytest.raises(SettingError, match="does not apply to several classes"):
        choose_decision("multiclass", CLASS, OF_CLASS, rule)


@pytest.mark.parametrize(
    ("label", "probability"),
    [(CLASS + 1, OF_CLASS), (CLASS - 1, OF_CLASS), (FLAG + 1, OF_FLAG), (CLASS, OF_CLASS[:50]), (CLASS, OF_CLASS + 1)],
)
def test_predictions_that_cannot_be(label, probability):
    with pytest.raises(DataError):
        macro_auroc(label, probability)


@pytest.mark.parametrize(("label", "probability", "decision"), [(CLASS, OF_CLASS, LARGEST), (FLAG, OF_FLAG, HALVES)])
def test_a_comparison_is_paired_for_every_task(label, probability, decision):
    counts = {"test": {"windows": len(label), "groups": 40}}
    shared = {
        "classes": list(NAMES), "weights": "w", "data": {"sha256": "ab"}, "threshold": decision.to_dict(NAMES),
        "split": {"unit": "record", "warnings": [], "duplicates": 0, "counts": counts},
        "parameters": {"trainable": 1, "trainable_fraction": 0.1},
        "training": dict.fromkeys(COSTS, 1),
    }  # fmt: skip

    def record(name: str, scores: np.ndarray) -> RunRecord:
        metrics = shared | {"name": name, "seed": 0}
        metrics |= evaluate(label, scores, Grouping(GROUP), decision, NAMES, resamples=2)
        return RunRecord(name, name, "method", 0, name, metrics, label, scores, GROUP)

    worse = np.random.default_rng(0).permutation(probability)
    rows = compare_runs([record("full", probability), record("worse", worse)], resamples=50)["rows"]
    for name in METRICS:
        assert rows[0]["difference"][name]["value"] == 0
        means = [row["metrics"][name]["mean"] for row in rows]
        assert rows[1]["difference"][name]["value"] == pytest.approx(means[1] - means[0])
    assert rows[1]["difference"]["auroc"]["ci_high"] < 0
    assert rows[0]["group_metrics"]["auroc"]["mean"] is not None
