"""Sentences about prediction sets, abstention and novelty."""

from ecgtune.reporting.certainty import certainty_sentences, promise_sentence


def coverage(value, broken):
    return {
        "promised": 0.9,
        "found": {"value": value, "ci_low": value - 0.03, "ci_high": value + 0.03},
        "broken": broken,
    }


def content(novelty, recording=None):
    tenth = {"fraction": 0.1, "abstained": 0.12, "error": 0.15, "error_before": 0.2, "reduction": {}}
    window = {"coverage": coverage(0.91, False), "abstention": [tenth | {"fraction": 0.2, "error": 0.1}, tenth]}
    return {"internal": {"window": window, "recording": recording}, "novelty": novelty}


def test_a_promise_holds_or_breaks():
    assert promise_sentence(coverage(0.91, False), "the test data").endswith(
        "91.0 % (88.0 % to 94.0 %): this agrees with the promise."
    )
    assert "the promise breaks there" in promise_sentence(coverage(0.8, True), "these data")


def test_the_sentences_of_a_report():
    kind = {"kind": "mahalanobis", "auroc": {"mahalanobis": {"noise": 0.991}, "neighbours": {"noise": 0.9}}}
    lines = certainty_sentences(content(kind))
    assert "12.0 % of the test split" in lines[1]
    assert "the error is 15.0 % instead of 20.0 %" in lines[1]
    assert lines[2] == "Novelty (mahalanobis distance), AUROC of generated outliers on validation: noise 0.991."
    none = {"kind": None, "reason": "validation has 17 windows; 50 are needed"}
    assert certainty_sentences(content(none))[-1] == "No novelty score: validation has 17 windows; 50 are needed."


def test_recordings_have_sentences_of_their_own():
    whole = {"coverage": coverage(0.8, True), "abstention": []}
    lines = certainty_sentences(content({"kind": None}, whole))
    assert any("per recording" in line and "breaks" in line for line in lines)
