"""Rounds of a cross-validation: each group tested once, none in two parts; sites; near-duplicates across splits."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from ecgtune.data.folds import k_folds, leave_one_site_out
from ecgtune.data.simulation import simulate
from ecgtune.data.splits import split_dataset
from ecgtune.errors import DataError, SettingError


@pytest.fixture(scope="module")
def dataset():
    made = simulate(120, seconds=2, patients=30, seed=3)
    return replace(made, recording=np.char.add("r", made.group))


def test_each_group_is_tested_once_and_validated_once(dataset):
    rounds = k_folds(dataset, 5, seed=1)
    for part in ("test", "val"):
        assert_array_equal(sum((each.split == part).astype(int) for each in rounds), 1)
    for number, each in enumerate(rounds, start=1):
        split = split_dataset(each)
        assert split.unit == "patient"
        assert f"5 folds by patient, stratified by label, seed 1: test {number}" in split.origin
        people = [set(dataset.group[rows]) for rows in split.by_name().values()]
        assert len(people[0] | people[1] | people[2]) == sum(map(len, people)) == 30
        assert abs(dataset.label[split.test].mean() - dataset.label.mean()) < 0.2
        assert each.signal is dataset.signal


def test_nested_rounds_are_every_pair_of_test_and_validation(dataset):
    rounds = k_folds(dataset, 4, nested=True)
    assert len(rounds) == 12
    pairs = {
        (tuple(np.flatnonzero(each.split == "test")), tuple(np.flatnonzero(each.split == "val"))) for each in rounds
    }
    assert len(pairs) == 12
    assert len({test for test, _ in pairs}) == 4


def test_folds_hang_on_the_seed_alone(dataset):
    assert_array_equal(k_folds(dataset, 3, seed=5)[0].split, k_folds(dataset, 3, seed=5)[0].split)
    assert (k_folds(dataset, 3, seed=5)[0].split != k_folds(dataset, 3, seed=6)[0].split).any()


def test_rows_are_folded_without_groups(dataset):
    alone = replace(dataset, group=None, group_name=None)
    assert_array_equal(sum((each.split == "test").astype(int) for each in k_folds(alone, 5)), 1)


def test_several_labels_are_shared_out(dataset):
    label = np.random.default_rng(0).integers(0, 2, (120, 3)).astype(np.int8)
    several = replace(dataset, label=label, classes=("a", "b", "c"))
    for each in k_folds(several, 4):
        assert (label[each.split == "test"].sum(axis=0) > 0).all()


@pytest.mark.parametrize(("folds", "error", "said"), [(2, SettingError, "3 or more"), (31, DataError, "30 patients")])
def test_folds_that_cannot_be(dataset, folds, error, said):
    with pytest.raises(error, match=said):
        k_folds(dataset, folds)


def test_each_site_is_left_out_once(dataset):
    sites = np.array(["A", "B", "C"])[np.unique(dataset.group, return_inverse=True)[1] % 3]
    rounds = leave_one_site_out(replace(dataset, site=sites))
    assert len(rounds) == 3
    for site, each in zip("ABC", rounds, strict=True):
        split = split_dataset(each)
        assert set(sites[split.test]) == {site}
        assert site not in set(sites[split.train]) | set(sites[split.val])
        assert f"site '{site}' left out" in split.origin


@pytest.mark.parametrize(
    ("site", "said"),
    [(None, "--site"), (np.full(120, "A"), "two sites"), (np.array(["A", "B"] * 60), "was at 'A' and 'B'")],
)
def test_sites_that_cannot_be_left_out(dataset, site, said):
    with pytest.raises(DataError, match=said):
        leave_one_site_out(replace(dataset, site=site))


def with_near_duplicates(dataset, first: str, second: str):
    return replace(
        dataset, source=replace(dataset.source, near_duplicates=((first, second),), notes=("3 of 9 were left out",))
    )


def test_near_duplicates_in_two_parts_are_refused_unless_allowed(dataset):
    split = split_dataset(dataset)
    train, test = dataset.recording[split.train[0]], dataset.recording[split.test[-1]]
    leaking = with_near_duplicates(dataset, train, test)
    with pytest.raises(DataError, match=rf"1 pair of recordings .* \({train} and {test}\); .*--allow-duplicates"):
        split_dataset(leaking)
    told = split_dataset(leaking, allow_duplicates=True)
    assert any("same signal in different splits" in warning for warning in told.warnings)
    assert told.warnings[0] == "3 of 9 were left out"


def test_near_duplicates_in_one_part_are_well(dataset):
    split = split_dataset(dataset)
    first, second = np.unique(dataset.recording[split.train])[:2]
    assert split_dataset(with_near_duplicates(dataset, first, second)).warnings == ("3 of 9 were left out",)
