"""One split for all trainings: patients and signals are in one part, and folds validate each window twice."""

from dataclasses import replace

import numpy as np
import pytest

from ecgtune.data.near_duplicates import near_duplicate_groups
from ecgtune.data.simulation import simulate
from ecgtune.errors import DataError
from ecgtune.utils.files import write_json
from ecgtune.workflows.auto.material import read_material
from ecgtune.workflows.auto.plan_file import AutoPlan
from helpers.auto import FINGERPRINT


def material(out, dataset, **split):
    plan = AutoPlan()
    plan = replace(plan, split=replace(plan.split, **split))
    out.mkdir(exist_ok=True)
    reading = dict(dataset.source.reading)
    found = {"kind": "simulated", "reading": reading, "request": reading, "sha256": dataset.source.sha256}
    found["duplicates"] = near_duplicate_groups(dataset).pairs
    write_json(out / "fingerprint.json", FINGERPRINT | found)
    return read_material(out, plan)


def test_folds_validate_each_development_window_twice_and_never_the_test(tmp_path):
    data = simulate(240, seed=3)
    given = material(tmp_path / "out", data, folds=5)
    splits = [given.split(number) for number in range(given.rounds)]
    assert given.rounds == 5
    seen = np.bincount(np.concatenate([one.val for one in splits]), minlength=240)
    development = given.part != "test"
    assert (seen[development] == 2).all()
    assert (seen[~development] == 0).all()
    for one in [*splits, given.final()]:
        assert np.array_equal(one.test, splits[0].test)
        patients = [set(data.group[rows]) for rows in one.by_name().values()]
        assert sum(map(len, patients)) == len(set().union(*patients))
    assert len(given.final().train) > len(splits[0].train)


def test_fewer_windows_are_among_more_and_the_split_is_read_again(tmp_path):
    data = simulate(240, seed=3)
    given = material(tmp_path / "out", data)
    few, more = (given.split(0, windows=count).train for count in (40, 90))
    assert (len(few), len(more)) == (40, 90)
    assert set(few) <= set(more) <= set(given.split(0).train)
    again = material(tmp_path / "out", data)
    assert np.array_equal(again.part, given.part)


@pytest.mark.parametrize("folds", [1, 5])
def test_few_validation_windows_are_of_many_patients_and_the_same_in_both_rounds(folds, tmp_path):
    data = simulate(480, seed=3)
    data = replace(data, group=np.array([f"p{index // 6}" for index in range(480)]))
    given = material(tmp_path / "out", data, folds=folds)
    rounds = [given.split(number, validated=8).val for number in range(folds)]
    assert all(len(set(data.group[rows])) >= 5 for rows in rounds)
    seen = np.bincount(np.concatenate(rounds), minlength=480)
    assert set(seen) == {0, min(folds, 2)}


def test_a_round_that_validates_one_class_is_told(tmp_path, monkeypatch):
    data = simulate(240, seed=3)
    few = np.isin(data.group, np.unique(data.group)[:3])  # one patient for the test, two for five folds
    data = replace(data, label=few.astype(np.int64))
    monkeypatch.setattr("ecgtune.workflows.auto.material.read_again", lambda *_: data)
    with pytest.raises(DataError, match=r"round \d of 5 have one class only.*give --folds 1, or add patients"):
        material(tmp_path / "out", data, folds=5)
    assert not (tmp_path / "out" / "split.csv").exists()


@pytest.mark.parametrize("folds", [1, 5])
def test_windows_of_one_signal_stay_in_one_part_and_fold(folds, tmp_path, monkeypatch):
    data = simulate(240, seed=3)
    signal = data.signal.copy()
    names = np.unique(data.group)
    for first, second in zip(names[::2], names[1::2], strict=False):  # every second patient is a copy of another
        rows = [np.flatnonzero(data.group == name) for name in (first, second)]
        count = min(map(len, rows))
        signal[rows[1][:count]] = 2 * signal[rows[0][:count]]
    copied = replace(data, signal=signal)
    monkeypatch.setattr("ecgtune.workflows.auto.material.read_again", lambda *_: copied)
    given = material(tmp_path / "out", copied, folds=folds)
    for each in (given.part, given.fold):
        place = {name: set(each[data.group == name]) for name in names}
        assert all(place[a] == place[b] for a, b in zip(names[::2], names[1::2], strict=False))
    assert given.rounds == folds
    assert any("same signal" in text for text in given.facts["warnings"])
