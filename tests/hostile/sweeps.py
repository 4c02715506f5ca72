"""Hostile databases of sweeps: a valid one with a change, of which the reader is a sweep that resumes."""

from __future__ import annotations

import os
import sqlite3
import struct
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from ecgtune.recipes.lookup import as_recipes
from ecgtune.recipes.space import space_of
from ecgtune.workflows.sweep.runner import TrialResult
from ecgtune.workflows.sweep.studies import Studies, Variant

TRIALS = 3
#: The end of a journal that names a journal of several databases.
_END = bytes.fromhex("d9d505f920a163d7")
_PAGE = 4096


def open_sweep(file: Path) -> Studies:
    """The studies of a sweep of one method, as a command that resumes it opens them."""
    (recipe,) = as_recipes(["probe"], None)
    variant = Variant(recipe, space_of(recipe))
    return Studies(file, {"probe": variant}, spaces={"probe": variant.space}, trials=TRIALS, seed=0)


@cache
def valid() -> bytes:
    """The database of a sweep of which two trials finished and one diverged."""
    with tempfile.TemporaryDirectory() as place:
        studies = open_sweep(Path(place) / "sweep.db")
        for auroc in (0.5, 0.6, None):
            job = studies.next()
            assert job is not None
            numbers = {"val_accuracy": 0.5, "best_epoch": 1, "epochs": 2, "seconds": 1.0} if auroc else {}
            state = "diverged" if auroc is None else "finished"
            studies.tell(job, TrialResult(state, val_auroc=auroc, trainable=9, **numbers))
        return (Path(place) / "sweep.db").read_bytes()


def changed(*statements: str) -> Callable[[Path], object]:
    def write(file: Path) -> None:
        file.write_bytes(valid())
        with sqlite3.connect(file) as database:
            for statement in statements:
                database.execute(statement)
        database.close()

    return write


def _gigabyte(file: Path) -> None:
    file.touch()
    os.truncate(file, 1 << 30)


def _beside(suffix: str, make: Callable[[Path], object]) -> Callable[[Path], object]:
    def write(file: Path) -> None:
        file.write_bytes(valid())
        make(file.with_name(file.name + suffix))

    return write


def journal_of_several(victim: Path) -> bytes:
    """A journal after which sqlite deletes the file that it names."""
    name = os.fsencode(victim)
    header = (_END + struct.pack(">IIIII", 0, 1, 2, 512, _PAGE)).ljust(512, b"\0")
    return header + struct.pack(">I", (1 << 30) // _PAGE + 1) + name + struct.pack(">II", len(name), sum(name)) + _END


def _interior(child: bytes, offset: int) -> bytearray:
    """A page of a table that names one child 301 times."""
    cells, page = 300, bytearray(_PAGE)
    content = (child + b"\x01") * cells
    start = _PAGE - len(content)
    header = struct.pack(">BHHHB", 5, 0, cells, start, 0) + child
    header += b"".join(struct.pack(">H", start + 5 * number) for number in range(cells))
    page[offset : offset + len(header)] = header
    page[start:] = content
    return page


def _repeated_pages(file: Path) -> None:
    """Definitions of tables under five levels of pages, each of which names the next one 301 times."""
    start = bytearray(valid())
    count = len(start) // _PAGE
    pages = [_interior(struct.pack(">I", count + number), 0) for number in range(2, 7)]
    record = bytes([6, 23, 15, 15, 1, 13]) + b"tablezz" + b"\x02"  # type, name, name of the table, page, no definition
    cell = bytes([len(record), 1]) + record
    leaf = struct.pack(">BHHHBH", 13, 0, 1, _PAGE - len(cell), 0, _PAGE - len(cell))
    first = _interior(struct.pack(">I", count + 1), 100)
    first[:100], first[28:32] = start[:100], struct.pack(">I", count + len(pages) + 1)
    start[:_PAGE] = first
    file.write_bytes(start + b"".join(pages) + leaf.ljust(_PAGE - len(cell), b"\0") + cell)


def _attribute(key: str, value: str) -> Callable[[Path], object]:
    return changed(f"UPDATE trial_user_attributes SET value_json = '{value}' WHERE key = '{key}' AND trial_id < 3")


def _rate(value: str) -> Callable[[Path], object]:
    return changed(f"UPDATE trial_params SET param_value = {value} WHERE param_name LIKE '%rate'")


def _span(text: str) -> Callable[[Path], object]:
    return changed(f"UPDATE trial_params SET distribution_json = '{text}'")


def _waiting(values: str) -> Callable[[Path], object]:
    return changed(
        "INSERT INTO trials (trial_id, number, study_id, state) VALUES (4, 3, 1, 'WAITING')",
        f"INSERT INTO trial_system_attributes (trial_id, key, value_json) VALUES (4, 'fixed_params', '{values}')",
    )


_ENDLESS = "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c{}) "
_TEXT = '"\\u001b[31mred"'
SWEEPS: dict[str, Callable[[Path], object]] = {
    **{f"{key} {value[:20]}": _attribute(key, value) for key, value in (
        ("index", '"x"'), ("index", "null"), ("index", "NaN"), ("index", "[1]"), ("index", "-1"), ("index", "0"),
        ("index", "1" + "0" * 30), ("index", "3"), ("index", "{"), ("state", "[" * 900 + "]" * 900),
        ("state", "[" * 100_000), ("state", _TEXT), ("state", '"diverged"'), ("val_auroc", '"=cmd|x"'),
        ("val_auroc", "7"), ("val_auroc", "null"), ("val_auroc", "1e999"), ("val_auroc", "0.9"), ("epochs", "-1"),
        ("seconds", "1e300"), ("trainable", "null"))},
    **{f"no {key}": changed(f"DELETE FROM trial_user_attributes WHERE key = '{key}'")
       for key in ("index", "state", "val_auroc")},
    **{f"learning rate {value}": _rate(value) for value in ("1e300", "-1", "null", "'abc'")},
    **{f"choice {value}": changed(f"UPDATE trial_params SET param_value = {value} WHERE param_name LIKE '%decay'")
       for value in ("99", "1e300", "null", "'abc'")},
    **{f"distribution {text[:40]}": _span(text) for text in (
        "{}", "[]", "null", "{", '{"name": "os.system", "attributes": {}}',
        '{"name": "FloatDistribution", "attributes": {"low": 5, "high": 4, "step": null, "log": false}}',
        '{"name": "FloatDistribution", "attributes": {"low": 0, "high": 1e9, "step": null, "log": false}}')},
    **{name: changed(*statements) for name, statements in {
        "another setting": ["UPDATE trial_params SET param_name = 'method.eval' WHERE param_name LIKE '%rate'"],
        "no settings": ["DELETE FROM trial_params"],
        "another attribute": ["INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (1, 'x', '1')"],
        "a state unknown": ["UPDATE trials SET state = 'EVIL'"],
        "a diverged one finished": ["UPDATE trials SET state = 'COMPLETE'"],
        "numbers null": ["UPDATE trials SET number = null"],
        "numbers equal": ["UPDATE trials SET number = 0"],
        "a number 0.5": ["UPDATE trials SET number = 0.5 WHERE number = 1"],
        "a date of text": ["UPDATE trials SET datetime_start = 'x'"],
        "an infinite value": ["UPDATE trial_values SET value = 0, value_type = 'INF_POS'"],
        "no values": ["DELETE FROM trial_values"],
        "direction minimize": ["UPDATE study_directions SET direction = 'MINIMIZE'"],
        "no direction": ["DELETE FROM study_directions"],
        "two directions": ["INSERT INTO study_directions (direction, study_id, objective) VALUES ('MAXIMIZE', 1, 1)"],
        "schema version 99": ["UPDATE version_info SET schema_version = 99"],
        "another revision": ["UPDATE alembic_version SET version_num = 'x'"],
        "no study": ["DELETE FROM studies"],
        "a table dropped": ["DROP TABLE trial_params"],
        "steps": ["INSERT INTO trial_intermediate_values (trial_id, step, intermediate_value_type) "
                  "VALUES (1, 1, 'NAN')"],
        "a view without an end": [
            "DROP TABLE trial_user_attributes",
            "CREATE VIEW trial_user_attributes AS " + _ENDLESS.format("")
            + "SELECT n AS trial_user_attribute_id, 1 AS trial_id, 'x' AS key, '1' AS value_json FROM c"],
        "a trigger": ["CREATE TRIGGER t AFTER INSERT ON trials BEGIN DELETE FROM studies; END"],
        "a computed column": ["ALTER TABLE trials ADD COLUMN x AS (zeroblob(900000000))"],
        "statistics": ["ANALYZE"],
        "10^5 trials": ["INSERT INTO trials (number, study_id, state) " + _ENDLESS.format(" WHERE n < 100000")
                        + "SELECT n + 2, 1, 'FAIL' FROM c"],
        "500,000 attributes": ["INSERT INTO trial_user_attributes (trial_id, key, value_json) "
                               + _ENDLESS.format(" WHERE n < 500000") + "SELECT 1, 'k' || n, '1' FROM c"],
    }.items()},
    **{f"a trial that waits with {values}": _waiting(values) for values in (
        '{"optimisation.learning_rate": "x"}',
        '{"optimisation.learning_rate": 1e9, "optimisation.weight_decay": 0.1}', "[]", "{}")},
    "a write-ahead log": changed("PRAGMA journal_mode = wal"),
    "pages repeated": _repeated_pages,
    "a page size of 0": lambda file: file.write_bytes(valid()[:16] + b"\0\0" + valid()[18:]),
    "cut": lambda file: file.write_bytes(valid()[:20_000]),
    "text": lambda file: file.write_bytes(b"no database" * 100),
    "1 GB of nothing": _gigabyte,
    "a folder": lambda file: file.mkdir(),
    "a pipe": os.mkfifo,
    "a device": lambda file: file.symlink_to("/dev/zero"),
    "a link to itself": lambda file: file.symlink_to(file),
    **{f"a pipe as {suffix}": _beside(suffix, os.mkfifo) for suffix in ("-journal", "-wal", "-shm")},
    "a link as journal": _beside("-journal", lambda file: file.symlink_to("/etc/hostname")),
    "a journal that deletes": _beside("-journal", lambda file: file.write_bytes(journal_of_several(file.parent / "x"))),
    "a journal of 1 GB": _beside("-journal", _gigabyte),
}  # fmt: skip
