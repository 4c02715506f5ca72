"""Files of the user are imported once, whatever imports them."""

import os
import sys

import pytest

from ecgtune.errors import SettingError
from ecgtune.utils.extensions import VARIABLE, add_file, load_file


@pytest.fixture
def counting(tmp_path, monkeypatch):
    """A file that counts how often it is imported, in a folder on the path."""
    file = tmp_path / "counting_extension.py"
    file.write_text("import sys\nsys.counted = getattr(sys, 'counted', 0) + 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "counted", 0, raising=False)
    monkeypatch.setenv(VARIABLE, "")
    yield file
    for name in ("counting_extension", "ecgtune_import_counting_extension"):
        sys.modules.pop(name, None)


def test_a_file_is_imported_once(counting):
    load_file(counting)
    load_file(counting)
    assert sys.counted == 1


def test_a_file_that_the_program_imports_is_not_imported_again(counting):
    __import__("counting_extension")
    add_file(counting)
    assert sys.counted == 1


def test_a_file_imports_the_one_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "neighbour_of_extension.py").write_text("VALUE = 3\n")
    (tmp_path / "extension_with_neighbour.py").write_text("from neighbour_of_extension import VALUE\n")
    load_file(tmp_path / "extension_with_neighbour.py")
    assert sys.modules.pop("ecgtune_import_extension_with_neighbour").VALUE == 3
    del sys.modules["neighbour_of_extension"]


def test_started_processes_inherit_the_file(counting):
    add_file(counting)
    add_file(counting)
    assert os.environ[VARIABLE] == str(counting)


def test_missing_and_failing_files_are_refused_in_one_line(tmp_path):
    with pytest.raises(SettingError, match="no such Python file"):
        load_file(tmp_path / "missing.py")
    (tmp_path / "failing.py").write_text("1 / 0")
    with pytest.raises(SettingError, match="ZeroDivisionError"):
        load_file(tmp_path / "failing.py")
