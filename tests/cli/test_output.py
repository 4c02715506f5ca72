"""Output that cannot be shown or written as it is: escaped, or one line and status 2."""

import io
import json
import logging
import os
import subprocess
import sys

import pytest

from ecgtune.cli.main import main
from ecgtune.cli.output import complain, say, show_log
from ecgtune.errors import DataError

NAME = "AF\x1b[2J\nerror: fake line\u202e"


def test_text_of_files_is_escaped_on_both_streams(capsys):
    show_log(logging.INFO)
    say(f"note: {NAME}")
    logging.getLogger("ecgtune.io").warning("%s: no signal", NAME)
    out, err = capsys.readouterr()
    assert out == "note: AF\\x1b[2J\\nerror: fake line\\u202e\n"
    assert err == "AF\\x1b[2J error: fake line\\u202e: no signal\n"


def test_an_error_is_one_line_of_text(capsys, monkeypatch):
    def fail(name, tokens):
        raise DataError(f"{NAME}: no recording")

    monkeypatch.setattr("ecgtune.cli.app.run", fail)
    with pytest.raises(SystemExit) as stop:
        main(["data", "check"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: AF\\x1b[2J error: fake line\\u202e: no recording\n"


def command(*tokens, **settings):
    environment = os.environ | {key: value for key, value in settings.items() if key.isupper()}
    rest = {key: value for key, value in settings.items() if not key.isupper()}
    return subprocess.run([sys.executable, "-m", "ecgtune", *tokens], env=environment, stderr=-1, text=True, **rest)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("tokens", [["--help"], ["methods"], ["compare", "--help"], ["data"]])
def test_a_full_stdout_is_one_line(tokens):
    with open("/dev/full", "w") as full:
        done = command(*tokens, stdout=full)
    assert done.returncode == 2
    expected = "error: standard output cannot be written (No space left on device); files that were written are kept\n"
    assert done.stderr == expected


@pytest.mark.skipif(os.name != "posix", reason="a shell that closes streams is needed")
@pytest.mark.parametrize("closed", ["2>&-", "<&- 2>&-", "<&- >&- 2>&-"])
def test_a_closed_stderr_moves_nothing_to_stdout(closed, tmp_path):
    """Nor to a file, of which the number would be that of a stream."""
    shell = f"exec {sys.executable} -c '{OPENS}' {closed}"
    done = subprocess.run(["sh", "-c", shell], stdout=subprocess.PIPE, cwd=tmp_path, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (2, b"")
    assert json.loads((tmp_path / "file").read_text()) == 3


OPENS = """
import ecgtune.cli.app, ecgtune.cli.main, os
from ecgtune.errors import DataError
def run(name, tokens):
    with open("file", "w") as file:
        file.write(str(min(file.fileno(), 3)))
        os.write(2, b"a library")
        raise DataError("no recording")
ecgtune.cli.app.run = run
ecgtune.cli.main.main(["models"])
""".replace("\n", "\n")


@pytest.mark.parametrize(
    "body",
    [
        "say('x' * 100_000)",
        "from rich.console import Console; Console().print('x' * 100_000)",
        "from ecgtune.cli.app import make_app; make_app('data', App()).help_print([])",
    ],
)
def test_a_reader_that_is_gone_ends_the_command_quietly(body):
    code = "import ecgtune.cli.main as program\nfrom cyclopts import App\nfrom ecgtune.cli.output import say\n"
    code += f"def run(tokens):\n    {body}\nprogram._run = run\nprogram.main(['models'])"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=-1)
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == (b"", 0)


def test_logs_of_other_libraries_are_escaped(capsys, monkeypatch):
    monkeypatch.setattr(logging.root, "handlers", [])
    show_log(logging.INFO)
    logging.getLogger("somebody").warning("%s", NAME)
    logging.getLogger("matplotlib").warning("created a temporary cache directory")
    assert capsys.readouterr().err == "AF\\x1b[2J error: fake line\\u202e\n"


def test_a_log_that_cannot_be_written_ends_nothing(monkeypatch):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stderr", Full())
    complain("epoch 1")


def test_characters_that_the_encoding_lacks_are_escaped():
    code = "from ecgtune.cli.output import *; prepare_streams(); say('Δ ± é')"
    for encoding, shown in (
        ("ascii", rb"\u0394 \xb1 \xe9"),
        ("latin-1", b"\\u0394 \xb1 \xe9"),
        ("utf-8", "Δ ± é".encode()),
    ):
        environment = os.environ | {"PYTHONIOENCODING": encoding}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
        assert done.stdout == shown + b"\n"
