"""Every command and program of the README and the pages runs as written, but with few epochs, or says why not."""

import re
import shlex
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ecgtune
from ecgtune.cli.app import options_by_command
from ecgtune.io.writing import write_csv
from helpers.pages import DOCS, ELSEWHERE, NO_PROGRAM, PAGES, ROOT, RUN, Block, blocks, program, runnable
from helpers.pretraining import write_recordings
from helpers.programs import run_program
from helpers.records import heartbeats, write_record

#: Pages that use the results of another page.
AFTER = {
    "README": "start/first-table",
    "howto/predict": "howto/recordings",
    **dict.fromkeys(("evaluation", "export"), "start/own-csv"),
    "page": "export",
}
#: Pages whose blocks of the languages ELSEWHERE are run by another file of tests.
OWN_TESTS = {"howto/serve": "workflows/test_serve.py"}
#: Blocks that no test runs, by page: each says in its first line what it needs.
NOT_RUN = {
    "encoders": 5,
    "export": 1,
    "howto/from-fairseq-signals": 1,
    "howto/ptb-xl": 1,
    "howto/recordings": 2,
    "howto/several-gpus": 2,
    "pretraining": 2,
    "real_tasks": 2,
}
RUNNABLE = [page for page in PAGES if runnable(page)]


def write_files(tmp_path: Path) -> None:
    """The files that the pages name, as a reader of the page has them."""
    windows = replace(ecgtune.simulate(60, seed=1, seconds=3), classes=("other", "AF"))
    write_csv(windows, tmp_path / "windows.csv")
    facts = {"label": np.array(windows.classes)[windows.label], "patient": windows.group, "sampling_rate": 100}
    facts |= {"sex": np.resize(["f", "m"], 60), "age": np.arange(60) + 20}
    np.savez(tmp_path / "other.npz", signal=windows.signal, **facts)
    write_recordings(tmp_path / "recordings.npz")
    np.savez(tmp_path / "windows.npz", record=["R00", "R01"], split=["val", "train"])
    rows, several = ["record,patient,AF"], ["record,patient,MI,STTC"]
    for index, signal in enumerate(heartbeats(24)):
        write_record(tmp_path / "recordings", f"r{index:02}", signal)
        write_record(tmp_path / "recordings-12", f"r{index:02}", np.stack([signal / 2, signal]), leads=("I", "II"))
        rows.append(f"r{index:02},p{index},{index % 2}")
        several.append(f"r{index:02},p{index},{index % 2},{index // 2 % 2}")
    shutil.copytree(tmp_path / "recordings", tmp_path / "other")
    other = [f"r{index:02},q{index},{('SR', 'AFIB', 'AFL')[index % 3]}" for index in range(24)]
    (tmp_path / "other.csv").write_text("\n".join(["record,patient,rhythm", *other]) + "\n")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "labels-several.csv").write_text("\n".join(several) + "\n")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A function: the folder in which a page ran, behind the page that it uses."""
    folders: dict[str, Path] = {}

    def run(page: str) -> Path:
        if page not in folders:
            folder = tmp_path_factory.mktemp(page.replace("/", "-"))
            if page in AFTER:
                shutil.copytree(run(AFTER[page]), folder, dirs_exist_ok=True)
            elif page != "extending":  # which makes its own
                write_files(folder)
            run_program(program(page), folder, ECGTUNE_CACHE=str(folder / "cache"))
            folders[page] = folder
        return folders[page]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNABLE)
def test_a_page_runs(page, ran):
    ran(page)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_run_or_says_what_it_needs(page):
    """A block without a language is run by nobody, and a command in one that is no program neither."""
    for block in blocks(page):
        assert block.language in (*RUN, *ELSEWHERE, *NO_PROGRAM), f"{page}: a block has the language {block.language!r}"
        if block.language in ELSEWHERE:
            assert f"{page}.md" in (ROOT / "tests" / OWN_TESTS[page]).read_text("utf-8")
        if block.language == "text":
            assert not re.search(r"^(ecgtune|pip|python|import|from) ", block.body, flags=re.MULTILINE), page
    assert sum(block.needs is not None for block in blocks(page)) == NOT_RUN.get(page, 0)
    program(page)  # fails for a command that is neither ecgtune nor pip


@pytest.mark.parametrize(
    ("body", "said"), [("make magic", "no test runs 'make magic'"), ("ecgtune models\npython x.py", "python x.py")]
)
def test_a_command_that_nobody_runs_is_found(body, said, monkeypatch):
    monkeypatch.setattr("helpers.pages.blocks", lambda page: [Block("sh", body)])
    with pytest.raises(AssertionError, match=said):
        program("README")


EXTRAS = re.compile(r"ecgtune\[(\w+)\]")


def test_extras_that_are_named_exist():
    known = set(ecgtune_extras())
    named = {name for path in PAGES.values() for name in EXTRAS.findall(path.read_text("utf-8"))}
    assert named
    assert named <= known


def ecgtune_extras() -> list[str]:
    return list(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"])


def commands(text: str) -> list[list[str]]:
    """The words of every command in the code of a page, in blocks and in lines."""
    blocks = re.findall(r"^```(?:sh|console)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`(ecgtune [a-z][^`\n]*)`", text)
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("ecgtune ")]


WITH_COMMANDS = [page for page, path in PAGES.items() if commands(path.read_text("utf-8"))]


@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_commands_and_flags_of_a_page_exist(page):
    known = options_by_command()
    for first, *rest in commands(PAGES[page].read_text("utf-8")):
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
