"""A run with a method from the user's file says which file to import, in its files, reports and errors."""

import json
import sys

import pytest

import ecgtune
from ecgtune.errors import SettingError
from ecgtune.methods.registry import METHODS
from ecgtune.reporting.recommendation import load_line
from ecgtune.utils.extensions import VARIABLE, load_file
from helpers.cli import refused

SOURCE = """
from dataclasses import dataclass
import ecgtune

@ecgtune.register_method("first-block")
@dataclass(frozen=True)
class FirstBlock(ecgtune.Method):
    learning_rate = 5e-4

    def trained_parameters(self, encoder):
        first = next(iter(encoder.blocks))
        return frozenset(name for name, _ in encoder.named_parameters() if name.startswith(f"{first}."))
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setenv("ECGTUNE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "my_method.py"
    path.write_text(SOURCE)
    load_file(path)
    yield path
    forget()


def forget():
    METHODS._classes.pop("first-block", None)
    sys.modules.pop("ecgtune_import_my_method", None)


def test_the_file_is_named_wherever_the_run_is_loaded(file, tmp_path, capsys):
    dataset = ecgtune.simulate(60, seconds=3)
    recipe = ecgtune.recipe(METHODS.get("first-block")(), epochs=2, batch_size=16)
    run = tmp_path / "run"
    ecgtune.fine_tune(dataset, recipe, out=run)
    assert json.loads((run / "best" / "model.json").read_text())["imports"] == [str(file)]
    for name in ("README.md", "report.html"):
        assert "import ecgtune\nimport my_method\n" in (run / name).read_text()
    metrics = json.loads((run / "metrics.json").read_text())
    assert load_line({**metrics, "recommendation": {"run": "a"}}, "runs").startswith("import my_method; run = ")

    forget()
    with pytest.raises(SettingError, match=rf"'first-block' is not known; .* --import {file}$"):
        ecgtune.load_run(run)
    np_file = tmp_path / "windows.npz"
    np_file.write_bytes(b"")
    assert f"--import {file}" in refused(capsys, "predict", run, np_file)
    file.rename(tmp_path / "elsewhere.py")
    with pytest.raises(SettingError, match=r"my_method\.py is not there any more"):
        ecgtune.load_run(run)
    load_file(tmp_path / "elsewhere.py")
    assert ecgtune.load_run(run).predict(dataset.signal[:2]).shape == (2, 2)
    sys.modules.pop("ecgtune_import_elsewhere", None)
