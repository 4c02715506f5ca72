"""Commands of `ecgtune` as a user types them."""

import pytest

from ecgtune.cli.main import main


def run(*tokens) -> None:
    main([str(token) for token in tokens])


def refused(capsys, *tokens) -> str:
    """The error of a command that ends with status 2: one line, the last one on stderr, behind notes."""
    with pytest.raises(SystemExit) as stop:
        run(*tokens)
    assert stop.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert [line.startswith("error: ") for line in lines] == [False] * (len(lines) - 1) + [True], lines
    assert not any("Traceback" in line for line in lines)
    return lines[-1]
