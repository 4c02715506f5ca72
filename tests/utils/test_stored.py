"""Small files that somebody edited, or that a disk damaged, are refused in one line with the way out."""

import io
import re
import zipfile
from pathlib import Path
from typing import TypedDict

import numpy as np
import pytest

import ecgtune
from ecgtune.errors import DataError, RunError
from ecgtune.utils.schema import Count
from ecgtune.utils.stored import fraction, read_json, read_json_lines, read_packed, read_rows, read_text, read_toml


class Schema(TypedDict):
    seconds: Count


def of_row(row):
    return int(row["row"]), fraction(row["score"])


def array(content):
    with np.load(io.BytesIO(content)) as stored:
        return stored["a"]


def packed(names="a", size=1):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            array = io.BytesIO()
            np.save(array, np.zeros(size))
            archive.writestr(f"{name}.npy", array.getvalue())
    return content.getvalue()


READERS = {
    "json": lambda path: read_json(path, Schema, "REMEDY"),
    "lines": lambda path: read_json_lines(path, list[Schema], 3, "REMEDY"),
    "toml": lambda path: read_toml(path, "REMEDY"),
    "text": lambda path: read_text(path, "REMEDY"),
    "rows": lambda path: read_rows(path, of_row, "REMEDY"),
    "packed": lambda path: read_packed(path, array, "REMEDY"),
}
LARGE = b" " * ((16 << 20) + 1)
DEEP = b"[" * 100_000
#: What is in the file, None for no file; and a part of the message.
DAMAGED = {
    "json": [
        (None, "is missing"),
        (b"", "cannot be read"),
        (b"\xff", "cannot be read"),
        (LARGE, "over 16777216 bytes"),
        (DEEP, "nested too deep"),
        (b'{"seconds": [' + b"{}," * 300_000 + b"1]}", "over 262144 lists and tables"),
        (b'{"seconds": NaN}', "NaN is no number"),
        (b'{"seconds": 9e999}', "a number is beyond those of 64 bits"),
        (b'{"seconds": 99999999999999999999}', "beyond 64 bits"),
        (b"null", "the content is 'None'"),
        (b"[]", "the content is a list"),
        (b"{}", "seconds is missing"),
        (b'{"seconds": "3"}', "seconds is '3'; a whole number"),
    ],
    "lines": [
        (None, "is missing"),
        (b'{"seconds": 1}\n{"sec', "cannot be read"),
        (b"null", r"\[0\] is 'None'"),
        (b'{"seconds": 1}\n' * 4, "over 3 lines"),
    ],
    "toml": [
        (None, "is missing"),
        (b"a = [", "cannot be read"),
        (b"a = " + DEEP, "nested too deep"),
        (b"a = " + b"9" * 30, "beyond 64 bits"),
    ],
    "text": [(None, "is missing"), (b"\xff", "cannot be read"), (LARGE, "over 16777216 bytes")],
    "rows": [
        (None, "is missing"),
        (b'row,score\n"1', "cannot be read"),
        (b"row,score\n1\n", "cannot be read"),
        (b"score\n1\n", "has no column 'row'"),
        (b"row,score\n1,0.5\n2,nan\n", "line 3: ValueError: nan is outside 0 to 1"),
        (b"row,score\n1.5,0.5\n", "line 2: ValueError"),
    ],
    "packed": [
        (None, "is missing"),
        (b"PK", "cannot be read"),
        (packed("b"), "a is not a file in the archive"),
        (packed(size=10**7), "far more than it holds"),
    ],
}


@pytest.mark.parametrize(("kind", "content", "message"), [(k, *case) for k, cases in DAMAGED.items() for case in cases])
def test_it_names_the_file_what_is_wrong_and_the_remedy(tmp_path, kind, content, message):
    path = tmp_path / "stored"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunError, match=rf"^{path}[ :,].*{message}.*; REMEDY$"):
        READERS[kind](path)


def test_a_whole_file_is_read(tmp_path):
    good = {
        "json": (b'{"seconds": 3, "other": 1}', {"seconds": 3, "other": 1}),
        "lines": (b'{"seconds": 3}\n\n{"seconds": 4}\n', [{"seconds": 3}, {"seconds": 4}]),
        "toml": (b"[a]\nb = 1", {"a": {"b": 1}}),
        "text": (b"text", "text"),
        "rows": (b"row,score\n1,0.5\n", [(1, 0.5)]),
        "packed": (packed(), 0.0),
    }
    for kind, (content, value) in good.items():
        (tmp_path / kind).write_bytes(content)
        assert READERS[kind](tmp_path / kind) == value


def test_the_error_is_that_of_the_caller(tmp_path):
    with pytest.raises(DataError, match="is missing"):
        read_packed(tmp_path / "a", array, error=DataError)


#: Calls that read no file of a folder: files of the package, drawings, and round trips of plain values.
OTHERS = {
    "reporting/figures.py": {"tomllib.loads"},
    "reporting/pack/checklists.py": {"tomllib.loads"},
    "deployment/page.py": {"json.loads"},
    "deployment/hub.py": {"json.loads"},
    "workflows/auto/plan_file.py": {"json.loads"},
}


def test_packages_behind_training_read_their_files_with_these_readers():
    source = Path(ecgtune.__file__).parent
    call = re.compile(r"\b(json_value|json_lines|toml_value|small_text|read_csv|(?:json|tomllib)\.loads?)\(")
    files = [file for name in ("training", "pretraining", "reporting", "deployment", "workflows")
             for file in (source / name).rglob("*.py")]  # fmt: skip
    calls = {file.relative_to(source).as_posix(): {*call.findall(file.read_text())} for file in files}
    assert {file: found for file, found in calls.items() if found} == OTHERS
