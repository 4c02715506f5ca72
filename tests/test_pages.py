"""The commands and programs of the pages under docs/start and docs/howto run as written, but with few epochs."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import ecgtune
from ecgtune.cli.app import options_by_command
from ecgtune.io.writing import write_csv
from helpers.pretraining import write_recordings
from helpers.programs import run_program
from helpers.records import heartbeats, write_record

DOCS = Path(__file__).resolve().parents[1] / "docs"
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
PAGES = {path.stem: path for folder in ("start", "howto") for path in sorted((DOCS / folder).glob("*.md"))}
RUNNABLE = [name for name, path in PAGES.items() if BLOCK.search(path.read_text("utf-8"))]
#: Pages that use the results of another page.
AFTER = {"predict": "recordings"}
FEW = ("--epochs", "2", "--batch-size", "8")
SHORT = {"compare": (*FEW, "--seeds", "1"), "fine-tune": FEW, "pretrain": FEW}


def program(name: str) -> str:
    """The commands and programs of a page, in their order, as one Python program."""
    lines = ["from ecgtune.cli.main import main"]
    for language, body in BLOCK.findall(PAGES[name].read_text("utf-8")):
        if language == "python":
            lines.append(f"exec({body!r}, {{'__name__': 'page'}})")
        else:
            lines += [f"main({shortened(shlex.split(line)[1:])!r})" for line in body.replace("\\\n", " ").splitlines()]
    return "\n".join(lines)


def shortened(tokens: list[str]) -> list[str]:
    """The tokens of a training with few epochs and one seed: nothing else of the command line changes."""
    for flag, value in zip(*[iter(SHORT.get(tokens[0], ()))] * 2, strict=True):
        if flag in tokens:
            tokens[tokens.index(flag) + 1] = value
        else:
            tokens += [flag, value]
    return [*tokens, "--quiet"]


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """The files that the pages name, as a reader of the page has them."""
    monkeypatch.chdir(tmp_path)
    write_csv(ecgtune.simulate(60, seed=1, seconds=3), tmp_path / "windows.csv")
    write_recordings(tmp_path / "recordings.npz")
    np.savez(tmp_path / "windows.npz", record=["R00", "R01"], split=["val", "train"])
    rows, several = ["record,patient,AF"], ["record,patient,MI,STTC"]
    for index, signal in enumerate(heartbeats(24)):
        write_record(tmp_path / "recordings", f"r{index:02}", signal)
        write_record(tmp_path / "recordings-12", f"r{index:02}", np.stack([signal / 2, signal]), leads=("I", "II"))
        rows.append(f"r{index:02},p{index},{index % 2}")
        several.append(f"r{index:02},p{index},{index % 2},{index // 2 % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "labels-several.csv").write_text("\n".join(several) + "\n")
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name == "recordings" else [pytest.mark.slow]) for name in RUNNABLE],
)
def test_a_page_runs(name, workspace):
    for page in (AFTER[name], name) if name in AFTER else (name,):
        run_program(program(page), workspace, ECGTUNE_CACHE=str(workspace / "cache"))


def commands(text: str) -> list[list[str]]:
    """The words of every command in the code of a page, in blocks and in lines."""
    blocks = re.findall(r"^```(?:sh|bash)?\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`(ecgtune [a-z][^`\n]*)`", text)
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("ecgtune ")]


WRITTEN = [page for page in sorted(DOCS.rglob("*.md")) if not {"_build", "gallery"} & set(page.parts)]
WITH_COMMANDS = [page for page in WRITTEN if commands(page.read_text("utf-8"))]


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.stem)
def test_commands_and_flags_of_a_page_exist(page):
    known = options_by_command()
    for first, *rest in commands(page.read_text("utf-8")):
        name = first.rstrip(",")
        flags = {token[2:] for token in rest if token.startswith("--")} - {"help"}
        assert flags <= known[name], (name, flags - known[name])


def test_every_error_of_the_reference_is_one_of_the_program():
    source = " ".join(
        re.sub(r'"\s*\n\s*f?"', "", path.read_text("utf-8")) for path in (DOCS.parent / "src").rglob("*.py")
    )
    page = (DOCS / "reference" / "errors.md").read_text("utf-8")
    stated = re.findall(r"^\| `([^`]+)` \|", page, flags=re.MULTILINE)
    assert len(stated) >= 10
    assert [phrase for phrase in stated if phrase not in source] == []
