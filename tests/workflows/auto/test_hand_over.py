"""The commands that follow hold what exists."""

import pytest

from ecgtune.workflows.auto.hand_over import commands
from ecgtune.workflows.auto.plan_file import GIVEN, AutoPlan, write_plan


@pytest.mark.parametrize("exported", [True, False])
def test_commands_name_files_that_were_written_and_settings_that_are_set(exported, tmp_path):
    reading = {"kind": "windows", "path": "windows.csv", "sampling_rate": 100.0}
    found, plan = {"kind": "windows", "reading": reading, "request": reading}, AutoPlan()
    write_plan(tmp_path, plan, {"training.max_memory": GIVEN, "training.epochs": GIVEN})
    if exported:
        (tmp_path / "model.onnx").touch()
    lines = commands(tmp_path, found, plan, [tmp_path / "model"])
    assert {"predict", "evaluate at another hospital", "reproduce"} <= lines.keys()
    assert ("model.onnx" in str(lines)) == exported
    assert "--epochs 20" in lines["reproduce"][0]
    assert "--max-memory" not in lines["reproduce"][0]
