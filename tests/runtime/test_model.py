"""Exported files: no trace of onnxruntime's telemetry, and any text in the metadata."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import ecgtune
from ecgtune.data.signal.path import SignalPath
from ecgtune.runtime.model import Model
from helpers.exported import write_exported

PREDICT = """
import sys, time
import numpy as np
from ecgtune.runtime.model import Model
Model(sys.argv[1]).predict(np.ones((2, 1, 400), np.float32), 200)
time.sleep(1)
"""


def test_a_prediction_leaves_no_file_of_onnxruntime(tmp_path):
    path = write_exported(tmp_path / "model.onnx", signal_path=SignalPath(200, ("II",), window=2))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORT_")}
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME"):
        environment[name] = str(tmp_path / name)
        (tmp_path / name).mkdir()
    done = subprocess.run([sys.executable, "-c", PREDICT, path], env=environment, capture_output=True, check=True)
    assert done.stderr == b""
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == [path]


def test_onnxruntime_is_imported_behind_the_switch_of_its_telemetry():
    root = Path(ecgtune.__file__).parent
    for path in [*root.rglob("*.py"), *(root.parents[1] / "benchmarks").glob("*.py")]:
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            body = getattr(function, "body", None)
            for number, each in enumerate(body if isinstance(body, list) else []):
                names = [alias.name for alias in each.names] if isinstance(each, ast.Import) else []
                names += [each.module or ""] if isinstance(each, ast.ImportFrom) else []
                if any(name.partition(".")[0] == "onnxruntime" for name in names):
                    before = "".join(map(ast.unparse, body[:number]))
                    assert "load_onnxruntime()" in before or "ORT_DISABLE_TELEMETRY" in before, f"{path}, {each.lineno}"


def test_names_that_are_no_unicode_are_in_the_metadata(tmp_path):
    classes = ("SR\ud800", "AF\udce9")
    path = write_exported(tmp_path / "model.onnx", signal_path=SignalPath(200, ("II",), window=2), classes=classes)
    assert Model(path).classes == classes
