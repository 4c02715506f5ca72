"""Sentences about a stress test."""

from ecgtune.evaluation.stress import METRICS
from ecgtune.reporting.stress import stress_markdown, stress_sentences


def entries(value, ranked):
    return {name: {"value": value if ranked or name == "confidence" else None, "ci_high": value} for name in METRICS}


def result(ranked):
    row = {"disturbance": "muscle", "title": "Muscle noise", "unit": "dB", "strength": 0.0}
    return {
        "data": {"windows": 40, "of": 40, "groups": None, "path": "x.npz", "own_test_split": False},
        "undisturbed": entries(0.9, ranked),
        "rows": [row | {"difference": entries(-0.2, ranked)}],
        "not_tested": {},
    }


def test_windows_of_one_class_have_no_accuracy_to_lose():
    lines = stress_sentences(result(ranked=False))
    assert "AUROC is not defined for these windows." in lines
    assert not any("lowers" in line for line in lines)


def test_the_unit_of_intervals_is_named():
    found = result(ranked=True)
    found["undisturbed"] = {name: {"value": 0.9, "ci_low": 0.8, "ci_high": 1.0} for name in METRICS}
    found["rows"] = [row | {"metrics": found["undisturbed"], "changed": 0.1} for row in found["rows"]]
    assert "intervals over windows." in stress_markdown(found)
    found["data"]["groups"] = 10
    assert "intervals over patients or recordings." in stress_markdown(found)


def test_the_largest_loss_is_named():
    lines = stress_sentences(result(ranked=True))
    assert "AUROC: muscle noise costs most, 0.200 at 0 dB; a loss is shown at every strength." in lines
    assert not any("not defined" in line for line in lines)
