"""The kill test, `benchmarks/crash.py`, with few faults: what was killed ends on the same files when it is rerun."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "crash.py"
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="faults are made by a library in C, on Linux"
)


@pytest.mark.parametrize(
    ("victims", "kills", "states", "full"),
    [
        (["cache"], 3, 2, 1),
        pytest.param(["first_pass"], 4, 0, 9, marks=pytest.mark.slow),
        pytest.param(["training", "head_first", "comparison"], 3, 3, 1, marks=pytest.mark.slow),
        pytest.param(["sweep", "pretraining", "export", "prediction"], 4, 3, 1, marks=pytest.mark.slow),
    ],
)
def test_killed_commands_end_on_the_same_files(tmp_path, victims, kills, states, full):
    counts = {"--kills": kills, "--states": states, "--full": full}
    options = [*(str(part) for pair in counts.items() for part in pair), "--work", str(tmp_path / "work")]
    command = [sys.executable, str(SCRIPT), *options, "--result", str(tmp_path / "crash.json"), "--victims", *victims]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "crash.json").read_text())
    assert found["total"]["random"] == {"planned": kills, "faults": kills, "same bytes": kills}
    for name in victims:
        counts = {kind: found["victims"][name][kind]["faults"] for kind in ("operation", "full disk", "temporary")}
        assert min(counts.values()) >= 1, counts
        assert "wrong" not in found["victims"][name]


def test_a_command_that_does_not_end_on_the_same_files_is_found(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import crash

    (tmp_path / "a.json").write_text(json.dumps({"seconds": 1.5, "score": [0.5, {"created": "now"}]}))
    (tmp_path / ".lock").touch()
    (tmp_path / "weights").write_bytes(b"1")
    before = crash.snapshot(tmp_path)
    (tmp_path / "a.json").write_text(json.dumps({"seconds": 2.5, "score": [0.5, {"created": "then"}]}))
    assert crash.differences(before, crash.snapshot(tmp_path)) == []
    (tmp_path / "weights").write_bytes(b"2")
    (tmp_path / ".weights.partial-host-1").touch()
    assert crash.differences(before, crash.snapshot(tmp_path)) == [".weights.partial-host-1", "weights"]
