"""The program of the README runs as written, and the flags and targets that it names exist."""

import re
from pathlib import Path

import pytest

from ecgtune.cli.app import options_by_command
from helpers.programs import run_program

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_program_runs(tmp_path):
    (program,) = re.findall(r"^```python\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    assert "value" in run_program(program, tmp_path)
    assert (tmp_path / "runs" / "lora" / "report.html").is_file()


def test_flags_outside_of_commands_exist():
    known = {flag for flags in options_by_command().values() for flag in flags}
    named = re.findall(r"`--([a-z-]+)", README)
    assert named
    assert set(named) <= known


@pytest.mark.parametrize("target", re.findall(r"`make (\w+)`", README))
def test_make_targets_exist(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
