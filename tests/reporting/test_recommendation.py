"""The sentences on the method to take, and the line that loads it."""

import pytest

from ecgtune.evaluation.recommendation import ranked_methods, recommend
from ecgtune.reporting.recommendation import load_line, recommendation_sentences
from ecgtune.reporting.wording import evaluations_sentence

FULL = (
    "Take Full: it has the highest accuracy, and no method with fewer trainable weights is shown to lose less than "
    "0.02."
)
OPEN = (
    "Too little evidence on methods with fewer trainable weights: the 95 % interval of the difference to Full includes "
    "both 0 and a loss of 0.02"
)


def results(probe, seeds=1, baseline=0.5, full=0.90):
    means = {"full": (full, 1000, "Full"), "probe": (0.89, 2, "Probe")}
    rows = [
        {
            "method": name,
            "title": title,
            "kind": "method",
            "trainable": trainable,
            "trainable_fraction": trainable / 1000,
            "seconds_per_epoch": 1.0,
            "seeds": list(range(seeds)),
            "runs": [f"{name}/seed-{seed}" for seed in range(seeds)],
            "metrics": {"accuracy": {"mean": mean, "ci_low": mean - 0.05, "ci_high": mean + 0.05}},
        }
        for name, (mean, trainable, title) in means.items()
    ]
    majority = {"method": "majority", "title": "Majority class", "kind": "baseline", "seeds": [0]}
    ranked = ranked_methods(rows, "accuracy")
    other = ranked[-1]["method"]
    return {
        "rows": rows if baseline is None else [*rows, {**majority, "metrics": {"accuracy": {"mean": baseline}}}],
        "split": {"unit": "patient", "counts": {"test": {"windows": 100, "positives": 15}}},
        "recommendation": recommend(ranked, {other: probe, ranked[0]["method"]: {}}, "accuracy", 75),
    }


def entry(low, high):
    return {"value": (low + high) / 2, "ci_low": low, "ci_high": high}


@pytest.mark.parametrize(
    ("given", "sentences"),
    [
        (
            results(entry(-0.015, 0.005)),
            [
                "Take Probe: with 0.20 % of the weights it loses less than 0.02 of accuracy to the best, Full "
                "(difference -0.005, 95 % interval -0.015 to +0.005)."
            ],
        ),
        (
            results(entry(-0.04, 0.02)),
            [
                FULL,
                f"{OPEN} for Probe (-0.040 to +0.020).",
                "About 680 test patients (75 now) would decide; --folds 5 tests on every patient, more --seeds average "
                "out the chance of one training.",
            ],
        ),
        (
            results({"value": -0.01, "ci_low": None, "ci_high": None, "too_few": True}, seeds=3),
            [
                FULL,
                f"{OPEN} for Probe (too few).",
                "--folds 5 tests on every patient.",
            ],
        ),
        (
            results(entry(-0.12, 0.1), baseline=0.85, full=0.88),
            [
                "Take Probe: it has the highest accuracy and trains the fewest weights.",
                "It is not shown to be better than Majority class.",
            ],
        ),
        (
            results(entry(-0.01, 0.01), full=0.89),
            ["Take Probe: it shares the highest accuracy with Full and trains the fewest weights."],
        ),
        (
            results({"value": 0.0, "ci_low": None, "ci_high": None, "too_few": True, "identical": True}, full=0.89),
            [
                "Take Probe: it shares the highest accuracy with Full, whose predictions of the test windows are "
                "identical to its own, and trains the fewest weights."
            ],
        ),
        (
            results({"value": 0.0, "ci_low": None, "ci_high": None, "too_few": True}, full=0.89),
            ["Take Probe: it shares the highest accuracy with Full and trains the fewest weights."],
        ),
        (
            results(entry(-0.12, 0.1), baseline=None, full=0.88),
            [
                "Take Probe: it has the highest accuracy and trains the fewest weights.",
                "It is not shown to be better than the majority class.",
            ],
        ),
    ],
    ids=["cheap", "open", "too few", "baseline", "equal", "identical", "equal, too few", "no baselines"],
)
def test_sentences(given, sentences):
    assert recommendation_sentences(given) == sentences


def test_the_line_loads_the_run():
    assert load_line(results(entry(-0.01, 0.01)), "runs/a") == 'run = ecgtune.load_run("runs/a/probe/seed-0")'
    assert load_line({"recommendation": None}, "runs/a") is None
    assert recommendation_sentences({"recommendation": None}) == []


def test_evaluations_of_the_test_split_are_counted():
    given = results(entry(-0.01, 0.01), seeds=2)
    once = "Each of the 5 runs was evaluated on it once, after its training."
    assert evaluations_sentence(given) == once
    assert evaluations_sentence(given | {"history": [5]}) == once
    assert evaluations_sentence(given | {"history": [3, 5]}).startswith(
        f"{once} Results were computed 2 times, with 3 and 5 runs"
    )
