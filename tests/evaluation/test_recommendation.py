"""The method to take, from differences to the best."""

import math

import numpy as np
import pytest

from ecgtune.evaluation.recommendation import MARGIN, ranked_methods, recommend

FULL, LORA, PROBE = ("full", 0.90, 1000), ("lora", 0.89, 30), ("probe", 0.88, 2)


def rows(*methods):
    return [
        {
            "method": name,
            "kind": "method",
            "trainable": trainable,
            "seconds_per_epoch": 1.0,
            "runs": [f"{name}/seed-0"],
            "metrics": {"accuracy": {"mean": mean}},
        }
        for name, mean, trainable in methods
    ]


def differences(**intervals):
    return {
        name: {"value": None if low is None else (low + high) / 2, "ci_low": low, "ci_high": high}
        for name, (low, high) in intervals.items()
    }


@pytest.mark.parametrize(
    ("lora", "probe", "take", "opened"),
    [
        ((-0.015, -0.005), (-0.018, 0.002), "probe", []),  # both are shown to lose less than the margin
        ((-0.015, 0.005), (-0.04, 0.01), "lora", ["probe"]),
        ((-0.015, 0.005), (-0.04, -0.01), "lora", []),  # the probe is shown to be worse
        ((-0.06, 0.04), (-0.06, 0.02), "full", ["probe", "lora"]),
        ((-0.06, -0.03), (-0.08, -0.05), "full", []),
        ((None, None), (-0.08, -0.05), "full", ["lora"]),  # too few windows for an interval
        ((-MARGIN, 0.01), (-0.3, -0.2), "full", ["lora"]),
    ],
)
def test_the_cheapest_that_is_shown_to_be_no_worse(lora, probe, take, opened):
    ranked = ranked_methods(rows(PROBE, FULL, LORA), "accuracy")
    assert [row["method"] for row in ranked] == ["full", "lora", "probe"]
    found = recommend(ranked, differences(lora=lora, probe=probe), "accuracy", 100)
    assert found is not None
    assert (found["best"], found["take"], found["run"]) == ("full", take, f"{take}/seed-0")
    assert list(found["open"]) == opened


def test_of_equal_methods_the_cheaper_one_is_the_best():
    ranked = ranked_methods(rows(("full", 0.9, 1000), ("lora", 0.9, 30)), "accuracy")
    found = recommend(ranked, differences(full=(-0.1, 0.1)), "accuracy", 20)
    assert found is not None
    assert (found["best"], found["take"], found["open"]) == ("lora", "lora", {})


def test_a_single_method_is_no_choice():
    assert recommend(ranked_methods(rows(FULL), "accuracy"), {}, "accuracy", 20) is None


def test_so_many_units_decide():
    """The interval of a mean over the number of units that is asked for ends at the margin."""
    value, deviation, units = -0.004, 0.4, 200
    half = 1.96 * deviation / math.sqrt(units)
    ranked = ranked_methods(rows(FULL, LORA), "accuracy")
    found = recommend(ranked, differences(lora=(value - half, value + half)), "accuracy", units)
    assert found is not None
    needed = found["open"]["lora"]
    assert value - 1.96 * deviation / np.sqrt(needed) == pytest.approx(-MARGIN, abs=1e-4)


def test_an_interval_that_ends_at_0_needs_more_units():
    ranked = ranked_methods(rows(FULL, LORA), "accuracy")
    found = recommend(ranked, differences(lora=(-0.08, 0.0)), "accuracy", 43)
    assert found is not None
    assert found["open"]["lora"] == 44
