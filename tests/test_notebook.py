"""The notebook runs from top to bottom, but with few windows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "howto" / "free-gpu.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def program() -> str:
    """The code of all cells without the commands of the notebook's own shell."""
    lines = [line for cell in CELLS if cell["cell_type"] == "code" for line in [*cell["source"], "\n"]]
    return "\n".join(line.rstrip("\n") for line in lines if not line.startswith(("%", "!")))


def test_no_output_is_stored():
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in CELLS if "outputs" in cell)


@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    code = program().replace("WINDOWS, EPOCHS = 600, 3", "WINDOWS, EPOCHS = 120, 2")
    assert "120, 2" in code
    environment = os.environ | {"ECGTUNE_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "runs/notebook/page.html").is_file()
