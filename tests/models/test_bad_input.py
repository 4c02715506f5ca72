"""Signals and files that an encoder cannot take: one clear line each. Files of other encoders: `test_published.py`."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from ecgtune.config.data import DataSettings
from ecgtune.data.dataset import Dataset
from ecgtune.data.leads import STANDARD_LEADS
from ecgtune.data.preprocessing import Preprocessing
from ecgtune.data.simulation import simulate
from ecgtune.data.splits import split_dataset
from ecgtune.deployment.graph import InferenceGraph
from ecgtune.deployment.onnx_graph import to_onnx
from ecgtune.errors import DataError, SettingError
from ecgtune.models.classifier import Classifier, Head, LoadedFrom
from ecgtune.models.leads import read_leads
from ecgtune.models.loading import leads_problem
from ecgtune.models.weights import Weights
from ecgtune.workflows.preparation import prepare
from helpers.models import one_line
from helpers.published import TINY

LIMBS = STANDARD_LEADS[:6]
EIGHT = ("I", "II", *STANDARD_LEADS[6:])


def encode(name: str, shape: tuple[int, ...]) -> None:
    TINY[name]()(torch.zeros(shape))


def classifier(name: str, leads: tuple[str, ...] = ("I", "II"), classes: tuple[str, ...] = ("0", "1")) -> Classifier:
    return Classifier(
        TINY[name]().adapt_leads(leads), Head(), classes, Weights("random", "tiny", seed=0), LoadedFrom(name)
    )


def prepared(name: str, dataset: Dataset, **settings: object) -> object:
    model = classifier(name, dataset.leads, dataset.classes)
    return prepare(model, dataset, split_dataset(dataset), DataSettings(**settings))


def windows(rate: float = 250.0, seconds: float = 10, **changes: object) -> Dataset:
    return replace(simulate(60, sampling_rate=rate, seconds=seconds, seed=1), **changes)


#: What is done, the error and its message.
CASES = {
    "leads in a row": (
        partial(encode, "hubert-ecg", (2, 1000)),
        (DataError, r"\(2, 1000\); allowed: \(batch, 2, samples\) .* take signal\.reshape\(len\(signal\), 2, -1\)"),
    ),
    "leads in a row, as one lead": (
        partial(encode, "ecgfounder", (2, 1, 1000)),
        (DataError, r"allowed: \(batch, 2, samples\) with the leads I, II; of leads in a row take signal\.reshape"),
    ),
    "one lead without its axis": (
        partial(encode, "openecg", (2, 1000)),
        (DataError, r"\(2, 1000\); allowed: \(batch, 1, samples\) .*; of one lead take signal\[:, None\]"),
    ),
    "samples before leads": (
        partial(encode, "hubert-ecg", (2, 500, 2)),
        (DataError, r"shape \(2, 500, 2\); allowed: \(batch, 2, samples\) with the leads I, II"),
    ),
    "too short": (partial(encode, "hubert-ecg", (2, 2, 81)), (DataError, "81 samples are too few; allowed: 82")),
    "too long for the positions": (
        partial(encode, "openecg", (2, 1, 1290)),
        (DataError, "1290 samples are too many; allowed: up to 1280"),
    ),
    "a part of a patch": (
        partial(encode, "st-mem", (2, 2, 130)),
        (DataError, "130 samples; allowed: a multiple of 50"),
    ),
    "windows longer than the positions": (
        lambda: prepared("st-mem", windows(seconds=10)),
        (
            DataError,
            r"windows of 10 s do not fit st-mem, .*2500 samples are too many; .*windows of 2 s, cut .*--window 2",
        ),
    ),
    "an exported file of beats": (
        lambda: to_onnx(InferenceGraph(classifier("heartlang"), Preprocessing(100.0), "binary", 100.0), 2, 1000),
        (SettingError, "heartlang cannot be exported: its beats are found by a detector"),
    ),
    "another length": (partial(encode, "ecg-jepa", (2, 2, 61)), (DataError, "61 samples; allowed: 60")),
    "limb leads for a model of eight": (
        lambda: read_leads(EIGHT, LIMBS),
        (SettingError, r"V1, V2, .* cannot be derived from I, II, III, .*: give I, II alone \(--leads\)$"),
    ),
    "leads that give no part of the eight": (
        lambda: read_leads(EIGHT, ("III",)),
        (SettingError, r"cannot be derived from III: record those \(--leads\)$"),
    ),
    "one lead in all rows": (
        lambda: TINY["ecg-jepa"]().adapt_leads(("II",), "copy"),
        (SettingError, "ecg-jepa reads one lead as it is; leave lead mode 'copy' out"),
    ),
    "a rate below the band": (
        lambda: prepared("ecgfounder", windows(rate=60.0)),
        (SettingError, r"preset of ecgfounder: cannot keep 0\.67 to 40 Hz of a signal of 60 Hz.*--preset none"),
    ),
    "windows of another length": (
        lambda: prepared("ecg-jepa", windows(seconds=4)),
        (
            DataError,
            r"windows of 4 s do not fit ecg-jepa, at its 250 Hz: 1000 samples; allowed: 60; take .*--window",
        ),
    ),
    "leads in a row, in a file of windows": (
        lambda: prepared("ecg-jepa", windows(seconds=120)),
        (DataError, r"windows of 120 s do not fit.*; leads in a row are read as one lead: give \(windows, leads, samp"),
    ),
    "an unknown unit": (
        lambda: prepared("ecg-jepa", windows(unit="unknown")),
        (DataError, r"needs millivolts, but the unit of the signals is unknown; give it, .*or --preset none"),
    ),
    "recordings that were z-scored": (
        lambda: prepared("ecg-jepa", windows(unit="zscore")),
        (DataError, r"needs millivolts, but its recordings are z-scored as a whole.*or --preset none"),
    ),
    "an unknown preset": (
        lambda: prepared("ecgfounder", windows(), preset="evaluate"),
        (SettingError, r"preset 'evaluate'.*evaluation"),
    ),
    "a preset and a normalisation": (
        lambda: prepared("ecgfounder", windows(), normalisation="global"),
        (SettingError, r"normalisation is 'global', but the preset of ecgfounder has its own; .*--preset none"),
    ),
}


@pytest.mark.parametrize(("act", "expected"), CASES.values(), ids=CASES)
def test_bad_input_is_refused_in_one_line(act, expected):
    error, message = expected
    with pytest.raises(error, match=message) as caught:
        act()
    one_line(caught.value)


@pytest.mark.parametrize(
    ("leads", "read"),
    [
        (STANDARD_LEADS, EIGHT),
        (EIGHT[::-1], EIGHT),
        (("II", "III", *EIGHT[2:]), EIGHT),
        (("aVR", "aVF", *EIGHT[2:]), EIGHT),
        (("aVL", "aVF", "aVR", *EIGHT[2:]), EIGHT),
        (("V2", "II"), ("II", "V2")),
        (("V3",), ("V3",)),
    ],
)
def test_leads_are_derived_where_physics_allows(leads, read):
    rng = np.random.default_rng(0)
    signal = dict(zip(EIGHT, rng.standard_normal((8, 50)), strict=True))
    first, second = signal["I"], signal["II"]
    signal |= {
        "III": second - first,
        "aVR": -(first + second) / 2,
        "aVL": first - second / 2,
        "aVF": second - first / 2,
    }
    found, matrix = read_leads(EIGHT, leads)
    assert found == read
    recorded = np.stack([signal[lead] for lead in leads])
    np.testing.assert_allclose(np.array(matrix) @ recorded, np.stack([signal[lead] for lead in read]), atol=1e-12)


@pytest.mark.parametrize(
    ("name", "leads", "problem"),
    [
        ("ecg-jepa", STANDARD_LEADS, ""),
        ("ecg-jepa", LIMBS, "cannot be derived"),
        ("hubert-ecg-small", ("II",), ""),
        ("ecgfounder-1lead", ("V5",), ""),
        ("ecgfounder-1lead", ("I", "II"), "reads one lead, but 2 were given"),
        ("resnet-1d", ("V1", "V2"), ""),
    ],
)
def test_leads_are_checked_before_weights_are_here(name, leads, problem):
    found = leads_problem(name, leads)
    assert problem in found
    assert bool(found) == bool(problem)


def test_no_preset_resamples_and_normalises_as_for_every_encoder():
    made = prepared("ecgfounder", windows(), preset="none")
    assert not made.preprocessing.steps
    assert made.preprocessing.normalisation == "zscore"
    assert made.samples == 5000
    assert prepared("ecgfounder", windows(), preset="evaluation").preprocessing.to_dict()["steps"]
