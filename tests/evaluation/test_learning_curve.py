"""A learning curve of a known form is extrapolated to its values."""

import numpy as np
import pytest

from ecgtune.evaluation.learning_curve import learning_curve

SIZES = [100, 200, 400, 800]


def draws(score, noise=0.0):
    rng = np.random.default_rng(0)
    return [np.concatenate([[score(n)], score(n) + noise * rng.normal(size=500)]) for n in SIZES]


def test_a_curve_of_its_own_form_is_continued():
    def score(n):
        return 0.9 - 1 / np.sqrt(n)

    found = learning_curve(SIZES, draws(score, noise=0.01))
    assert [point["windows"] for point in found["points"]] == SIZES
    assert [point["windows"] for point in found["extrapolated"]] == [1600, 3200]
    for point in found["extrapolated"]:
        assert point["score"] == pytest.approx(score(point["windows"]), abs=1e-9)
        assert point["ci_low"] < score(point["windows"]) < point["ci_high"]
        assert point["gain"]["score"] == pytest.approx(score(point["windows"]) - score(800), abs=1e-9)


def test_more_labels_never_predict_less_and_no_score_is_above_one():
    falling = learning_curve(SIZES, draws(lambda n: 0.8 - n / 10000))["extrapolated"][0]
    assert falling["gain"]["score"] == 0
    steep = learning_curve(SIZES, draws(lambda n: 1.1 - 3 / np.sqrt(n)))["extrapolated"][1]
    assert steep["score"] == 1
