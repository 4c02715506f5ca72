"""Parts of the data by a column, their metrics and the largest gap."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ecgtune.errors import DataError
from ecgtune.evaluation.decision import binary_decision
from ecgtune.evaluation.external import Measured
from ecgtune.evaluation.subgroups import parts_of, subgroup_metrics


def data(strengths, seed=0, patients=60, each=4):
    """Windows of as many patients per part, whose AUROC grows with the strength of the part; and the parts."""
    generator = np.random.default_rng(seed)
    part = np.repeat([f"part {number}" for number in range(len(strengths))], patients * each)
    strength = np.repeat(strengths, patients * each)
    label = generator.integers(0, 2, len(part))
    score = np.clip(0.5 + strength * (label - 0.5) + generator.normal(0, 0.2, len(part)), 0, 1)
    return Measured(label, score, np.arange(len(part)) // each), part


def test_parts_of_text_ages_and_numbers():
    assert parts_of(np.array(["f", " m", "", "nan"]), "sex").tolist() == ["f", "m", "unknown", "unknown"]
    ages = parts_of(np.array(["17", "18", "64.5", "65", "95", ""]), "age")
    assert ages.tolist() == [
        "below 18",
        "18 to below 40",
        "40 to below 65",
        "65 to below 80",
        "80 and above",
        "unknown",
    ]
    quarters = parts_of(np.arange(100).astype(str), "snr")
    assert len(np.unique(quarters)) == 4
    assert set(np.unique(quarters, return_counts=True)[1]) == {25}
    with pytest.raises(DataError, match="has 20 values; allowed: up to 12, or numbers"):
        parts_of(np.array([f"hospital {number}" for number in range(20)]), "site")


def test_metrics_of_a_part_are_those_of_its_windows():
    measured, part = data((0.3, 0.1))
    found = subgroup_metrics(measured, binary_decision(), ("no", "yes"), {"site": part}, resamples=200)["site"]
    for name, entry in found["parts"].items():
        own = part == name
        auroc = entry["metrics"]["auroc"]
        assert auroc["value"] == pytest.approx(roc_auc_score(measured.label[own], measured.probability[own]))
        assert auroc["ci_low"] < auroc["value"] < auroc["ci_high"]
        assert (entry["windows"], entry["groups"], entry["small"]) == (240, 60, False)


def test_the_gap_is_that_of_the_best_and_the_worst_large_part():
    measured, part = data((0.4, 0.2, 0.05))
    part = part.astype("U20")
    part[:8] = "tiny"
    found = subgroup_metrics(measured, binary_decision(), ("no", "yes"), {"site": part}, resamples=500)["site"]
    assert found["parts"]["tiny"]["small"]
    gap = found["gap"]
    assert gap["parts"] == ["part 0", "part 2"]
    assert gap["comparisons"] == 3
    assert 0 < gap["ci_low"] < gap["value"] < gap["ci_high"]
    alone = subgroup_metrics(measured, binary_decision(), ("no", "yes"), {"all": np.full(len(part), "x")}, resamples=20)
    assert alone["all"]["gap"] is None


def test_gaps_between_equal_parts_are_rarely_claimed():
    claimed = []
    for seed in range(20):
        measured, part = data((0.2,) * 4, seed, patients=40)
        gap = subgroup_metrics(measured, binary_decision(), ("no", "yes"), {"site": part}, resamples=200, seed=seed)
        claimed.append(gap["site"]["gap"]["ci_low"] > 0)
    assert np.mean(claimed) <= 0.2


def test_a_part_whose_rarest_class_is_of_few_patients_is_small():
    """Forty positive windows of four patients say what four patients do."""
    measured, part = data((0.4, 0.4))
    label = measured.label.copy()
    second = np.flatnonzero(part == "part 1")
    label[second] = np.isin(measured.group[second], np.unique(measured.group[second])[:4])
    found = subgroup_metrics(
        Measured(label, measured.probability, measured.group),
        binary_decision(),
        ("no", "yes"),
        {"site": part},
        resamples=20,
    )["site"]
    assert found["parts"]["part 1"]["rarest"] == 16
    assert found["parts"]["part 1"]["small"]
    assert found["gap"] is None


@pytest.mark.parametrize("parts", [2, 12])
def test_the_level_of_a_gap_of_many_parts_is_reached_with_few_resamples(parts):
    measured, part = data((0.3,) * (parts - 1) + (0.05,), patients=24, each=3)
    widths = []
    for resamples in (400, 14_000):
        gap = subgroup_metrics(measured, binary_decision(), ("no", "yes"), {"site": part}, resamples=resamples)["site"][
            "gap"
        ]
        widths.append(gap["ci_high"] - gap["ci_low"])
    assert widths[0] == pytest.approx(widths[1], rel=0.12)


def test_a_patient_in_two_parts_counts_in_both():
    """Parts with the same patients and windows have a gap of exactly 0 in every resample."""
    measured, _ = data((0.2,))
    doubled = Measured(
        *(np.concatenate([each, each]) for each in (measured.label, measured.probability, measured.group))
    )
    part = np.repeat(["first", "second"], len(measured.label))
    gap = subgroup_metrics(doubled, binary_decision(), ("no", "yes"), {"half": part}, resamples=50)["half"]["gap"]
    assert (gap["value"], gap["ci_low"], gap["ci_high"]) == (0, 0, 0)


def test_a_part_in_which_every_order_is_wrong_is_ranked():
    """As with inverted leads: an AUROC of 0 is a number, and the largest gap."""
    measured, part = data((2.0, 2.0), patients=30)
    turned = np.where(part == "part 1", 1 - measured.probability, measured.probability)
    wrong = Measured(measured.label, np.round(turned), measured.group)
    gap = subgroup_metrics(wrong, binary_decision(), ("no", "yes"), {"site": part}, resamples=50)["site"]["gap"]
    assert (gap["parts"], gap["value"]) == (["part 0", "part 1"], 1.0)
