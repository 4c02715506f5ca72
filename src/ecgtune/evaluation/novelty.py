"""Distance of a window's features from those of the training windows: how unlike them it is."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.evaluation.metrics import auroc

Array = NDArray[np.float64]

MAHALANOBIS, NEIGHBOURS = "mahalanobis", "neighbours"
#: Quantile of the validation windows' distances that a novelty of 1 stands for.
USUAL = 0.99
#: Fraction of the mean variance that each direction of the covariance has in addition; largest number of directions.
SHRINKAGE, DIRECTIONS = 0.01, 256
#: The neighbour whose distance counts.
NEIGHBOUR = 5


@dataclass(frozen=True, eq=False)
class Novelty:
    """A score of features (windows, features): their distance, divided by that of 99 % of the validation windows.

    Above 1 a window is less like the training windows than 99 of 100 validation windows are. kind: "mahalanobis", the
    distance from the mean of the training windows in units of their covariance (Lee et al., NeurIPS 2018, with one
    Gaussian), or "neighbours", the distance to the fifth nearest of them in standardised features (Sun et al., ICML
    2022). arrays: what was fitted. scale: the distance of a novelty of 1. auroc: of each kind of generated outlier
    against validation windows, by score.
    """

    kind: str
    arrays: Mapping[str, NDArray[np.float32]]
    scale: float
    auroc: Mapping[str, Mapping[str, float]]

    def __call__(self, features: NDArray[np.floating]) -> Array:
        """Return the novelty of each window, (windows,), 0 or more."""
        return _DISTANCES[self.kind](self.arrays, np.asarray(features, np.float64)) / self.scale

    @property
    def width(self) -> int:
        """Number of features."""
        return self.arrays["mean"].size

    def facts(self) -> dict[str, Any]:
        """Return the entry `novelty` of certainty.json."""
        return {"kind": self.kind, "auroc": {kind: dict(each) for kind, each in self.auroc.items()}}

    def packed(self) -> bytes:
        """The content of `novelty.npz`."""
        buffer = io.BytesIO()
        names = sorted({name for each in self.auroc.values() for name in each})
        table = np.array([[self.auroc[kind][name] for name in names] for kind in _DISTANCES])
        stored: dict[str, Any] = {f"array_{name}": values for name, values in self.arrays.items()}
        stored |= {"kind": self.kind, "scale": self.scale, "auroc": table, "names": np.array(names)}
        np.savez(buffer, **stored)
        return buffer.getvalue()

    @classmethod
    def unpacked(cls, content: bytes) -> Novelty:
        """The inverse of `packed`. Raises KeyError or ValueError for another content."""
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            kind, names = str(stored["kind"]), stored["names"].tolist()
            arrays = {
                name.removeprefix("array_"): np.asarray(stored[name], np.float32)
                for name in stored.files
                if name.startswith("array_")
            }
            table = dict(zip(_DISTANCES, stored["auroc"].tolist(), strict=True))
            found = {each: dict(zip(names, values, strict=True)) for each, values in table.items()}
            scale = float(stored["scale"])
        if kind not in _DISTANCES or not 0 < scale < np.inf or not {*_NEEDED[kind]} <= arrays.keys():
            raise ValueError(f"novelty of the kind {kind!r}")
        sizes = {"1": 1}
        for name in _NEEDED[kind]:
            axes, values = _AXES[name], arrays[name]
            fits = len(axes) == values.ndim and all(
                size > 0 and sizes.setdefault(axis, size) == size for axis, size in zip(axes, values.shape, strict=True)
            )
            if not fits or not np.isfinite(values).all():
                raise ValueError(f"{name} has shape {values.shape}, or values that are no numbers")
        return cls(kind, arrays, scale, found)


def fit_novelty(
    training: NDArray[np.floating], validation: NDArray[np.floating], outliers: Mapping[str, NDArray[np.floating]]
) -> Novelty:
    """Fit both scores to features of training windows, and choose one on validation.

    training, validation: (windows, features). outliers: features of generated windows by their kind. The score with
    the higher mean AUROC over the kinds, validation windows against outliers, is taken; of equals, Mahalanobis.
    """
    features = np.asarray(training, np.float64)
    fitted = {kind: _store(fit(features)) for kind, fit in _FITS.items()}
    found: dict[str, dict[str, float]] = {}
    usual: dict[str, Array] = {}
    for kind, arrays in fitted.items():
        usual[kind] = _DISTANCES[kind](arrays, np.asarray(validation, np.float64))
        found[kind] = {}
        for name, values in outliers.items():
            distance = _DISTANCES[kind](arrays, np.asarray(values, np.float64))
            label = np.repeat([0, 1], [len(validation), len(values)])
            score = np.concatenate([usual[kind], distance])
            found[kind][name] = auroc(label, score / (1 + score))  # as a number up to 1, in the same order
    chosen = max(found, key=lambda kind: float(np.mean(list(found[kind].values()))))
    scale = float(np.quantile(usual[chosen], USUAL))
    return Novelty(chosen, fitted[chosen], max(scale, float(np.finfo(np.float32).tiny)), found)


def _store(arrays: Mapping[str, Array]) -> dict[str, NDArray[np.float32]]:
    return {name: values.astype(np.float32) for name, values in arrays.items()}


def _gaussian(features: Array) -> dict[str, Array]:
    """Mean, directions (features, directions) with their variances, and the variance of all other directions."""
    mean = features.mean(axis=0)
    _, size, directions = np.linalg.svd(features - mean, full_matrices=False)
    variance = size**2 / max(1, len(features) - 1)
    width, kept = features.shape[1], min(DIRECTIONS, len(size))
    least = SHRINKAGE * variance.sum() / width + np.finfo(np.float32).tiny
    rest = variance[kept:].sum() / (width - kept) if width > kept else 0.0
    return {
        "mean": mean,
        "directions": directions[:kept].T,
        "variance": variance[:kept] + least,
        "rest": np.array([rest + least]),
    }


def _mahalanobis(arrays: Mapping[str, NDArray[np.float32]], features: Array) -> Array:
    mean, directions, variance, rest = (arrays[name].astype(np.float64) for name in _NEEDED[MAHALANOBIS])
    centred = features - mean
    along = centred @ directions
    outside = np.maximum((centred**2).sum(axis=1) - (along**2).sum(axis=1), 0)
    return np.sqrt((along**2 / variance).sum(axis=1) + outside / rest[0])


def _standard(features: Array) -> dict[str, Array]:
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    deviation = np.maximum(deviation, 1e-6 * max(float(deviation.max()), np.finfo(np.float32).tiny))
    return {"mean": mean, "deviation": deviation, "known": (features - mean) / deviation}


def _neighbours(arrays: Mapping[str, NDArray[np.float32]], features: Array) -> Array:
    mean, deviation, known = (arrays[name].astype(np.float64) for name in _NEEDED[NEIGHBOURS])
    scaled = (features - mean) / deviation
    square = (scaled**2).sum(axis=1)[:, None] + (known**2).sum(axis=1) - 2 * scaled @ known.T
    place = min(NEIGHBOUR, len(known)) - 1
    return np.sqrt(np.maximum(np.partition(square, place, axis=1)[:, place], 0))


_FITS = {MAHALANOBIS: _gaussian, NEIGHBOURS: _standard}
_DISTANCES = {MAHALANOBIS: _mahalanobis, NEIGHBOURS: _neighbours}
_NEEDED = {MAHALANOBIS: ("mean", "directions", "variance", "rest"), NEIGHBOURS: ("mean", "deviation", "known")}
#: Axes of the arrays: features, directions, windows.
_AXES = {"mean": "f", "directions": "fd", "variance": "d", "rest": "1", "deviation": "f", "known": "wf"}
