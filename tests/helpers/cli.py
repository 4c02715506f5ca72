"""Commands of `ecgtune` as a user types them."""

import pytest

from ecgtune.cli.main import main


def run(*tokens) -> None:
    main([str(token) for token in tokens])


def refused(capsys, *tokens) -> str:
    """The one line on stderr of a command that ends with status 2."""
    with pytest.raises(SystemExit) as stop:
        run(*tokens)
    assert stop.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]
