"""The help: a line for every command without an import, and options in groups."""

import re
import resource
import subprocess
import sys
from importlib import import_module
from inspect import getdoc

import pytest

from ecgtune.cli.commands import COMMANDS
from ecgtune.cli.main import help_text
from helpers.cli import run

GROUPS = [
    *("Most used", "Data", "Recordings", "Split", "Model", "Optimisation", "Augmentation", "Evaluation", "Machine"),
]
MOST_USED = ["sampling-rate", "label", "records", "model", "epochs", "learning-rate", "device"]
HEAVY = {"cyclopts", "rich", "numpy", "torch", "tomllib", "lazy_loader"}


def panels(text: str) -> dict[str, str]:
    """Title of each panel of a rendered help to its content."""
    parts = text.split("╭─ ")[1:]
    return {part.partition(" ─")[0]: part for part in parts}


@pytest.mark.parametrize("tokens", [[], ["--help"], ["-h"]])
def test_the_help_lists_every_command_with_a_summary(tokens, capsys):
    run(*tokens)
    assert capsys.readouterr().out == help_text() + "\n"
    lines = help_text().splitlines()
    for name, command in COMMANDS.items():
        assert f"  {name:<11}{command.summary}" in lines
        assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("name", COMMANDS)
def test_a_summary_is_what_the_command_says_of_itself(name):
    module, _, attribute = COMMANDS[name].target.partition(":")
    command = getattr(import_module(module), attribute)
    text = command.help if name == "data" else getdoc(command)
    assert text.splitlines()[0] == COMMANDS[name].summary


def test_the_help_imports_next_to_nothing_and_is_there_at_once():
    code = "import sys; from ecgtune.cli.main import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert HEAVY & set(done.stderr.split()) <= {"lazy_loader"}
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.2


@pytest.mark.parametrize("name", ["compare", "fine-tune", "sweep", "plan"])
def test_options_are_in_groups_and_the_most_used_come_first(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    run(name, "--help")
    found = panels(capsys.readouterr().out)
    assert list(found) == GROUPS
    assert all(f"--{flag} " in found["Most used"] for flag in MOST_USED)
    assert len(re.findall(r"^│[ *]+--", found["Most used"], flags=re.MULTILINE)) <= 10
    for flag, group in {
        "normalisation": "Data", "patient": "Recordings", "test-fold": "Split", "label-fraction": "Split",
        "pooling": "Model", "max-grad-norm": "Optimisation", "checkpoint-metric": "Optimisation",
        "polarity-flip": "Augmentation", "threshold": "Evaluation", "precision": "Machine", "quiet": "Machine",
        "import": "Machine",
    }.items():  # fmt: skip
        assert f"--{flag} " in found[group], flag


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "data"])
def test_every_option_is_explained(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    run(name, "--help")
    rows = [
        line.strip("│ *") for line in capsys.readouterr().out.splitlines() if line.startswith("│") and " --" in line
    ]
    assert rows
    for row in rows:
        assert row.partition("  ")[2].strip()[:1].isalnum(), row


def test_the_version_is_printed(capsys):
    run("--version")
    assert capsys.readouterr().out.strip() == import_module("ecgtune").__version__


#: Words, what is said about them, and what is not imported until then, in the order in which one process is given them.
TYPOS = [
    (["compair", "w.csv"], "did you mean 'compare'", {"torch", "numpy", "cyclopts"}),
    (["compare", "w.csv", "--methods", "lroa"], "did you mean 'lora'", {"torch", "numpy", "peft"}),
    (["fine-tune", "w.csv", "--method", "mine.toml"], "no such recipe", {"torch", "numpy", "peft"}),
    (["compare", "w.csv", "--learningrate", "1"], "--learning-rate", {"torch", "numpy", "peft"}),
    (["convert", "nowhere.pt", "out"], "nowhere.pt", {"torch", "numpy"}),
    (["compare", "nowhere.csv"], "nowhere.csv", {"torch", "peft", "scipy", "pandas"}),
    (["compare", "w.csv", "--model", "ecg-fn"], "did you mean 'ecg-fm'", {"torch", "peft", "scipy", "pandas"}),
    (["compare", "w.csv"], "1 sample in a window", {"torch", "peft", "scipy", "pandas"}),
    (["predict", "nowhere", "w.csv"], "no run with a model", {"torch", "peft", "scipy", "pandas"}),
    (["predict", "nowhere", "v.csv"], "did you mean w.csv", {"torch", "peft", "scipy", "pandas"}),
    (["compare", "w.csv", "--reference", "ful"], "did you mean 'full'", {"torch", "scipy", "pandas"}),
    (["plan", "w.csv", "--methods", "lora,lora"], "two methods have the same name", {"torch", "scipy", "pandas"}),
    (["pretrain", "nowhere"], "nowhere", {"torch", "scipy", "pandas"}),
    (["pretrain", "w.csv", "--label-smoothing", "0.1"], "fine-tuning only", {"torch", "scipy", "pandas"}),
]


def test_typos_are_told_before_heavy_imports(tmp_path):
    (tmp_path / "w.csv").write_text("signal_0,label\n0,0\n")
    code = f"""
import sys
from ecgtune.cli.main import main
for tokens in {[tokens for tokens, *_ in TYPOS]}:
    try:
        main(tokens)
    except SystemExit as stop:
        print(stop.code, *sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    answers = zip(TYPOS, done.stderr.splitlines(), done.stdout.splitlines(), strict=True)
    for (tokens, told, absent), error, line in answers:
        status, *modules = line.split()
        assert (status, error.startswith("error: "), told in error) == ("2", True, True), (tokens, error)
        assert not absent & set(modules), tokens


@pytest.mark.parametrize(
    ("name", "usage"),
    [("predict", "[OPTIONS] RUN DATA..."), ("verify", "[OPTIONS] MODEL [DATA...]"), ("evaluate", "[OPTIONS] RUN DATA")],
)
def test_usage_names_the_arguments_and_no_default_is_empty(name, usage, capsys):
    run(name, "--help")
    out = capsys.readouterr().out
    assert out.splitlines()[0] == f"Usage: ecgtune {name} {usage}"
    assert "default: ()" not in out
