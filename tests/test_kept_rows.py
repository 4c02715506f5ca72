"""Rows of benchmarks: several commands at once lose none, and what was typed is kept."""

import importlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def rows(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("kept_rows")


def test_rows_of_several_commands_at_once_are_all_there(rows, tmp_path):
    file, columns = tmp_path / "results" / "rows.csv", ("name", "value")
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(rows.add_row, file, {"name": n, "value": 1}, columns, ["name"]) for n in range(24)]
    assert all(job.exception() is None for job in jobs)
    assert sorted(int(row["name"]) for row in rows.read_rows(file)) == list(range(24))


def test_a_row_takes_the_place_of_the_one_with_its_key_and_leaves_the_others(rows, tmp_path):
    file, columns = tmp_path / "rows.csv", ("name", "settings", "value")
    for settings, value in (("old", 1), ("new", "2, or 3"), ("new", "4, or 5")):
        rows.add_row(file, {"name": "a", "settings": settings, "value": value}, columns, ["name", "settings"])
    assert rows.read_rows(file) == [
        {"name": "a", "settings": "old", "value": "1"}, {"name": "a", "settings": "new", "value": "4, or 5"},
    ]  # fmt: skip


def test_every_command_is_kept_also_that_of_a_file_of_one(rows, tmp_path):
    file = tmp_path / "facts.json"
    file.write_text(json.dumps({"command": "first", "date": "2026-01-01"}))
    rows.add_command(file, {"command": "second", "date": "2026-01-02"})
    rows.add_command(file, {"command": "third", "date": "2026-01-03"})
    assert [entry["command"] for entry in json.loads(file.read_text())["commands"]] == ["first", "second", "third"]


def test_a_command_that_waits_too_long_says_for_what(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "PATIENCE", 0.01)
    with (
        rows.alone(tmp_path / "rows.csv"),
        pytest.raises(TimeoutError, match=r"rows.csv is being written by another command"),
        rows.alone(tmp_path / "rows.csv"),
    ):
        pass


def test_the_proof_keeps_all_of_its_commands():
    kept = json.loads((ROOT / "benchmarks" / "results" / "pretraining" / "proof.json").read_text())["commands"]
    assert len(kept) > 1
    assert all(entry["command"].startswith("python benchmarks/pretraining/proof.py") for entry in kept)
    assert [entry["date"] for entry in kept] == sorted(entry["date"] for entry in kept)
