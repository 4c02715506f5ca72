"""What files leave open is asked for in one message, with the flag of each answer; the answers together suffice."""

import numpy as np
import pytest

from helpers.cli import refused, run


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Windows with two columns that may be the label, and arrays without leads, unit and rate with two tables."""
    monkeypatch.setenv("ECGTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    names = ",".join([*(f"signal_{i}" for i in range(300)), "AF", "MI", "patient"])
    signal = rng.normal(size=(40, 300))
    rows = [",".join(f"{value:.3f}" for value in row) + f",{k % 2},{k % 3 % 2},p{k}" for k, row in enumerate(signal)]
    (tmp_path / "windows.csv").write_text("\n".join([names, *rows]))
    (tmp_path / "records").mkdir()
    for k in range(12):
        np.save(tmp_path / "records" / f"r{k}.npy", rng.normal(size=(2, 1000)))
    cells = [f"r{k},{k % 2},{k % 3 % 2}" for k in range(12)]
    (tmp_path / "labels.csv").write_text("\n".join(["record,AF,MI", *cells]))
    (tmp_path / "who.csv").write_text("\n".join(["who,AF,MI", *cells]))
    return tmp_path


FACTS = ["--lead-names", "--unit", "--sampling-rate"]
ANSWERS = ["--lead-names", "I", "II", "--unit", "mV", "--sampling-rate", "100"]
RECORDS = ["--records", "records"]


@pytest.mark.parametrize(
    ("data", "given", "asked", "answers"),
    [
        ("windows.csv", [], ["--label", "--sampling-rate"], ["--label", "AF", "--sampling-rate", "100"]),
        (
            "labels.csv",
            RECORDS,
            ["--label", *FACTS],
            ["--label", "AF", *ANSWERS],
        ),
        (
            "labels.csv",
            [*RECORDS, "--label", "AF"],
            FACTS,
            ANSWERS,
        ),
        (
            "who.csv",
            RECORDS,
            ["--recording-column", "--label", *FACTS],
            [
                "--recording-column",
                "who",
                "--label",
                "MI",
                "--lead-names",
                "I",
                "II",
                "--unit",
                "mV",
                "--sampling-rate",
                "100",
            ],
        ),
    ],
)
def test_all_questions_come_at_once_and_their_answers_suffice(data, given, asked, answers, place, capsys):
    line = refused(capsys, "data", "check", data, *given)
    assert all(flag in line for flag in asked), line
    run("data", "check", data, *given, *answers)


def test_the_unit_that_a_recipe_needs_is_asked_for_with_the_rest(place, capsys):
    tokens = ["fine-tune", "windows.csv", "--normalisation", "none"]
    line = refused(capsys, *tokens)
    assert all(flag in line for flag in ("name it with --label", "--sampling-rate 500", "--unit uV")), line
    assert "--unit" not in refused(capsys, *tokens, "--unit", "uV")


def test_differences_between_recordings_are_told_at_once(place, capsys):
    facts = ["--label", "AF", "--unit", "mV", "--sampling-rate", "100"]
    for k in range(12):
        file = place / "records" / f"r{k}.npy"
        signal = np.load(file)[: 1 + k % 2, : 900 if k == 3 else 1000]
        np.savez(file.with_suffix(".npz"), signal=signal, leads=["I", "II"][: 1 + k % 2])
        file.unlink()
    line = refused(capsys, "fine-tune", "labels.csv", *RECORDS, *facts)
    assert all(flag in line for flag in ("--leads I II", "--window", "--lead")), line
