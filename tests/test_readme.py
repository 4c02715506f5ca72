"""The commands and programs of the README run as written."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ecgtune
from ecgtune.cli.main import main
from ecgtune.io.writing import write_csv
from helpers.pretraining import write_recordings
from helpers.records import heartbeats, write_record

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    return [body for name, body in fenced if name == language]


def test_the_python_blocks_run(tmp_path):
    program = "\n".join(f"exec({block!r}, {{'__name__': 'readme'}})" for block in blocks("python"))
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "value" in done.stdout
    assert (tmp_path / "runs" / "lora" / "report.html").is_file()


def test_the_compare_command_runs(tmp_path, monkeypatch, capsys):
    (command,) = [block for block in blocks("") if block.startswith("ecgtune compare")]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECGTUNE_CACHE", str(tmp_path / "cache"))
    write_csv(ecgtune.simulate(60, seed=1, seconds=3), tmp_path / "windows.csv")
    tokens = shlex.split(command.replace("\\\n", " "))
    # As written, but short: fewer seeds and epochs change nothing that the command line has to get right.
    tokens[tokens.index("--seeds") + 1] = "1"
    main([*tokens[1:], "--epochs", "2", "--quiet"])
    assert "report: runs/first/report.html" in capsys.readouterr().out


def test_the_pretraining_commands_run(tmp_path, monkeypatch, capsys):
    (commands,) = [block for block in blocks("") if block.startswith("ecgtune pretrain")]
    pretrain, compare = (shlex.split(line)[1:] for line in commands.splitlines())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECGTUNE_CACHE", str(tmp_path / "cache"))
    write_recordings(tmp_path / "recordings.npz")
    np.savez(tmp_path / "windows.npz", record=["R00", "R01"], split=["val", "train"])
    write_csv(ecgtune.simulate(60, seed=1, seconds=3), tmp_path / "windows.csv")
    pretrain[pretrain.index("--recipe") + 1] = str(ROOT / "recipes" / "pretrain-tiny.toml")
    short = ["--epochs", "2", "--batch-size", "16", "--quiet"]
    main([*pretrain, *short])
    assert "R00,left_out" in (tmp_path / "runs" / "pretrain" / "recordings.csv").read_text()
    main([*compare, "--methods", "probe", "--seeds", "1", *short])
    assert "random" not in capsys.readouterr().out


def test_the_commands_for_recordings_run(tmp_path, monkeypatch, capsys):
    (commands,) = [block for block in blocks("") if block.startswith("ecgtune data check")]
    check, compare, predict = (shlex.split(line)[1:] for line in commands.splitlines())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECGTUNE_CACHE", str(tmp_path / "cache"))
    for index, signal in enumerate(heartbeats(24)):
        write_record(tmp_path / "recordings", f"r{index:02}", signal)
    rows = [f"r{index:02},p{index},{index % 2}" for index in range(24)]
    (tmp_path / "labels.csv").write_text("\n".join(["record,patient,AF", *rows]) + "\n")
    main([*check, "--quiet"])
    assert "24 of 24 with a label" in capsys.readouterr().out
    main([*compare, "--methods", "probe,lora", "--seeds", "1", "--epochs", "2", "--batch-size", "8", "--quiet"])
    assert "report: runs/recordings/report.html" in capsys.readouterr().out
    (tmp_path / "recordings").rename(tmp_path / "new-recordings")
    main([*predict, "--quiet"])
    assert len((tmp_path / "predictions" / "recordings.csv").read_text().splitlines()) == 1 + 24


@pytest.mark.parametrize("target", re.findall(r"`make (\w+)`", README))
def test_make_targets_exist(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
