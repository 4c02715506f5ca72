"""Rows find their files, whatever of the path and the suffix they write."""

import pytest

from ecgtune.errors import DataError
from ecgtune.io.matching import match_numbers, match_recordings

FOUND = dict.fromkeys(["records500/00000/00001_hr", "records500/00000/00002_hr", "v1.2/a", "a.b", "x/same", "y/same"])


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("records500/00000/00001_hr", "records500/00000/00001_hr"),
        ("00001_hr", "records500/00000/00001_hr"),
        ("00001_hr.dat", "records500/00000/00001_hr"),
        ("00001_hr.csv.gz", "records500/00000/00001_hr"),
        ("./00000\\00002_hr.hea", "records500/00000/00002_hr"),
        ("ptb-xl/1.0.3/records500/00000/00001_hr", "records500/00000/00001_hr"),
        ("v1.2/a", "v1.2/a"),
        ("a.b", "a.b"),
        ("a.b.npy", "a.b"),
        ("x/same", "x/same"),
        ("00003_hr", None),
        ("0001_hr", None),
    ],
)
def test_one_name(name, identifier):
    got = match_recordings([name], FOUND, "labels.csv")
    assert got.identifier == (identifier,)
    assert set(got.unused) == set(FOUND) - {identifier}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["same"], "'same' may be x/same or y/same"),
        (["00001_hr.dat", "00001_hr"], "are the same recording, records500/00000/00001_hr"),
    ],
)
def test_what_is_not_clear_is_refused(names, said):
    with pytest.raises(DataError, match=said):
        match_recordings(names, FOUND, "labels.csv")


@pytest.mark.parametrize("name", ["../x/same", "y/../x/same", "x/../../x/same", "..\\00001_hr", "../../etc/passwd"])
def test_a_name_with_two_dots_in_its_path_is_refused(name):
    with pytest.raises(DataError, match=r"labels\.csv: '.*' has '\.\.' in its path; name recordings by their path in"):
        match_recordings([name], FOUND, "labels.csv")


def test_a_name_of_thousands_of_digits_is_no_number():
    assert match_numbers(["1", "9" * 5000], ["a/00001_hr", "9" * 5000]) == {"1": "a/00001_hr"}
