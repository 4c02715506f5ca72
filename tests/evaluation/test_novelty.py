"""Scores of novelty: against scikit-learn, and on features that can be told apart."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from ecgtune.evaluation import novelty
from ecgtune.evaluation.novelty import MAHALANOBIS, NEIGHBOURS, SHRINKAGE, Novelty, fit_novelty


def features(count, seed, width=12, kind="usual"):
    generator = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).normal(size=(width, width))
    values = generator.normal(size=(count, width)) @ mixing + 3
    return values if kind == "usual" else values + {"near": 1.0, "far": 12.0}[kind]


def fitted(width=12):
    others = {kind: features(60, 3, width, kind) for kind in ("near", "far")}
    return fit_novelty(features(400, 1, width), features(200, 2, width), others)


def arrays_of(kind, training):
    return novelty._store(novelty._FITS[kind](training))


def test_mahalanobis_is_the_formula():
    training = features(400, 1)
    arrays = arrays_of(MAHALANOBIS, training)
    new = features(30, 5)
    covariance = np.cov(training.T) + SHRINKAGE * np.trace(np.cov(training.T)) / 12 * np.eye(12)
    centred = new - training.mean(axis=0)
    expected = np.sqrt(np.einsum("nd,de,ne->n", centred, np.linalg.inv(covariance), centred))
    assert Novelty(MAHALANOBIS, arrays, 1.0, {})(new) == pytest.approx(expected, rel=1e-3)


def test_neighbours_are_those_of_scikit_learn():
    training, new = features(400, 1), features(30, 5)
    scaler = StandardScaler().fit(training)
    near = NearestNeighbors(n_neighbors=5).fit(scaler.transform(training))
    expected = near.kneighbors(scaler.transform(new))[0][:, 4]
    assert Novelty(NEIGHBOURS, arrays_of(NEIGHBOURS, training), 1.0, {})(new) == pytest.approx(expected, rel=1e-3)


def test_a_novelty_of_one_is_that_of_99_of_100_validation_windows():
    score = fitted()
    assert (score(features(200, 2)) <= 1).mean() == pytest.approx(0.99, abs=0.006)
    assert (score(features(60, 9, kind="far")) > 1).all()
    assert score.auroc[score.kind]["far"] > 0.99
    means = {kind: np.mean(list(each.values())) for kind, each in score.auroc.items()}
    assert score.kind == max(means, key=means.get)


def test_it_is_stored_to_the_last_bit():
    score = fitted()
    again = Novelty.unpacked(score.packed())
    assert np.array_equal(again(features(20, 7)), score(features(20, 7)))
    assert again.auroc == score.auroc
    assert again.packed() == score.packed()


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_few_windows_and_many_features_have_finite_scores(rows):
    training = features(rows, 1, width=300)
    score = fit_novelty(training, training, {"far": features(3, 2, 300, "far")})
    assert np.isfinite(score(features(4, 3, 300))).all()


def test_directions_beyond_those_that_are_stored_count_too():
    generator = np.random.default_rng(0)
    training = generator.normal(size=(3000, 300))
    score = Novelty(MAHALANOBIS, arrays_of(MAHALANOBIS, training), 1.0, {})
    assert score.arrays["directions"].shape == (300, 256)
    usual = score(generator.normal(size=(50, 300)))
    assert usual.mean() == pytest.approx(np.sqrt(300), rel=0.07)


@pytest.mark.parametrize("change", [b"", b"PK", None])
def test_a_damaged_file_is_refused(change):
    content = fitted().packed()
    with pytest.raises(Exception):  # noqa: B017, PT011
        Novelty.unpacked(content[: len(content) // 2] if change is None else change)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("mean", lambda values: values[:-1]),
        ("mean", lambda values: values * np.nan),
        ("directions", lambda values: values[:, :1]),
        ("known", lambda values: values[:0]),
    ],
)
def test_arrays_that_do_not_fit_are_refused(name, change):
    for kind in (MAHALANOBIS, NEIGHBOURS):
        arrays = arrays_of(kind, features(40, 1))
        if name in arrays:
            changed = Novelty(kind, arrays | {name: change(arrays[name])}, 1.0, fitted().auroc)
            with pytest.raises(ValueError, match="has shape"):
                Novelty.unpacked(changed.packed())
