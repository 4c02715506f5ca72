"""The code blocks of the README and of the pages under docs/, and the program that runs those of a page."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = {"README": ROOT / "README.md"} | {
    path.relative_to(DOCS).with_suffix("").as_posix(): path
    for path in sorted(DOCS.rglob("*.md"))
    if not {"_build", "gallery", "commands"} & {*path.relative_to(DOCS).parts}  # which the builder writes
}
#: Languages of blocks that are run, and of blocks that another file of tests runs, or that are no program.
RUN, ELSEWHERE, NO_PROGRAM = ("sh", "python"), ("console", "py"), ("text", "toml")
_BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\S+\.(?:py|toml))\n")
_NEEDS = re.compile(r"# Needs (.+)\n")
FEW = ("--epochs", "2", "--batch-size", "8")
#: Flags that replace those of a command, or are added; of `auto`, only those that it has.
SHORT = {
    "auto": ("--budget", "40s"),
    "compare": (*FEW, "--seeds", "1"),
    "fine-tune": FEW,
    "pretrain": FEW,
    "simulate": ("--windows", "60"),
    "sweep": ("--trials", "2", "--epochs", "2"),
}


@dataclass(frozen=True)
class Block:
    """A code block: its language, and its lines. A first line names the file that it is, or what it needs."""

    language: str
    body: str

    @property
    def file(self) -> str | None:
        found = _FILE.match(self.body)
        return found and found[1]

    @property
    def needs(self) -> str | None:
        """What running it would need that a test has not, as the page says."""
        found = _NEEDS.match(self.body)
        return found and found[1]


def blocks(page: str) -> list[Block]:
    """The blocks of a page; those of the documentation builder, such as {toctree}, are none."""
    found = _BLOCK.findall(PAGES[page].read_text("utf-8"))
    return [Block(language, body) for language, body in found if not language.startswith("{")]


def runnable(page: str) -> list[Block]:
    """The blocks of a page that `program` runs."""
    return [block for block in blocks(page) if block.language in RUN and block.needs is None]


def program(page: str) -> str:
    """The files, commands and programs of a page, in their order, as one Python program."""
    lines = ["from pathlib import Path", "from ecgtune.cli.main import main", "names = {'__name__': 'page'}"]
    lines += [f"Path({block.file!r}).write_text({block.body!r})" for block in blocks(page) if block.file]
    for block in runnable(page):
        if block.file:
            continue
        if block.language == "python":
            lines.append(f"exec({block.body!r}, names)")
            continue
        for line in block.body.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["ecgtune"]:
                lines.append(f"main({shortened(words[1:])!r})")
            else:
                assert not words or words[:2] == ["pip", "install"], f"{page}: no test runs {line!r}"
    return "\n".join(lines)


def shortened(tokens: list[str]) -> list[str]:
    """The tokens of a training with few epochs and one seed: nothing else of the command line changes."""
    for flag, value in zip(*[iter(SHORT.get(tokens[0], ()))] * 2, strict=True):
        if flag in tokens:
            tokens[tokens.index(flag) + 1] = value
        elif tokens[0] != "auto":
            tokens += [flag, value]
    return [*tokens, "--quiet"]
