"""The examples of docs/extending.md run as written."""

import re
import shlex
from pathlib import Path

import pytest

from helpers.programs import run_program

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\S+\.(?:py|toml))\n")


def files() -> dict[str, str]:
    """Blocks of the page that begin with a file name."""
    found = [(FILE.match(body), body) for _, body in BLOCK.findall(PAGE)]
    return {name.group(1): body for name, body in found if name}


def programs(section: str) -> list[str]:
    """The other Python blocks of a section in one program, and its command lines in another."""
    blocks, commands = [], ["from ecgtune.cli.main import main"]
    for language, body in BLOCK.findall(SECTIONS[section]):
        if language == "python" and not FILE.match(body):
            blocks.append(f"exec({body!r}, {{'__name__': 'example'}})")
        elif language == "":
            commands += [f"main({shlex.split(line)[1:]!r})" for line in body.replace("\\\n", " ").splitlines()]
    return ["\n".join(blocks), "\n".join(commands)]


@pytest.mark.parametrize("section", [name for name, text in SECTIONS.items() if BLOCK.search(text)])
def test_the_examples_run(section, tmp_path):
    for name, body in files().items():
        (tmp_path / name).write_text(body, encoding="utf-8")
    for program in programs(section):
        run_program(program, tmp_path, ECGTUNE_CACHE=str(tmp_path / "cache"))
