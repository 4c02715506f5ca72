"""Output that cannot be shown or written as it is: escaped, or one line and status 2."""

import io
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
@pytest.mark.parametrize("tokens", [["--help"], ["methods"], ["compare", "--help"]])
def test_a_full_stdout_is_one_line(tokens):
    with open("/dev/full", "w") as full:
        done = command(*tokens, stdout=full)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1


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
