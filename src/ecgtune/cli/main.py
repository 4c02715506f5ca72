"""The command line: help, version, or one command with its errors as one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from ecgtune.cli.commands import COMMANDS
from ecgtune.cli.output import complain, prepare_streams, say
from ecgtune.errors import EcgtuneError

#: Libraries that commands of training need, and an installation of `ecgtune-runtime` has not.
TRAINING = frozenset({"accelerate", "huggingface_hub", "jinja2", "matplotlib", "peft", "pooch", "safetensors", "torch"})
#: Command, or group and command, that goes on with what it has done -> how.
RESUMED = {
    **dict.fromkeys(("auto", "compare", "sweep", "demo", "data get"), "rerun the command to resume"),
    **dict.fromkeys(("fine-tune", "pretrain"), "rerun it with --resume"),
}


def main(tokens: Sequence[str] | None = None) -> None:
    """Run the command line. An error that the user can repair is one line on stderr and exit status 2."""
    prepare_streams()
    tokens = list(sys.argv[1:] if tokens is None else tokens)
    try:
        _run(tokens)
    except EcgtuneError as error:
        complain(f"error: {error}")
        _leave(2)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in TRAINING:
            raise
        complain(f"error: {tokens[0]} needs {error.name}, which is not installed; pip install ecgtune")
        _leave(2)
    except KeyboardInterrupt:
        how = RESUMED.get(tokens[0]) or RESUMED.get(" ".join(tokens[:2])) if tokens else None
        complain(f"stopped; {how}" if how else "stopped")
        _leave(130)
    except (BrokenPipeError, SystemExit) as error:
        if not isinstance(error, BrokenPipeError) and not isinstance(error.__context__, BrokenPipeError):
            raise
        _leave(0)  # the reader of our output is gone (`ecgtune methods | head -1`); rich makes a SystemExit of it
    except OSError as error:  # such as a full disk, where no module knows more
        complain(f"error: {error.filename or 'a file or stream'}: {error.strerror or error}")
        _leave(2)


def _leave(status: int) -> NoReturn:
    """Exit; a stdout or stderr that cannot be written is dropped, about which Python would complain once more."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(status)


def help_text() -> str:
    """The answer to `ecgtune --help`: plain text from the table, since rendering it takes longer than Python starts."""
    lines = [f"  {name:<11}{command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "Usage: ecgtune COMMAND [OPTIONS]",
            "",
            "Fine-tune pretrained ECG encoders with few trainable weights, and audit the result.",
            "",
            "Commands:",
            *lines,
            "",
            "`ecgtune COMMAND --help` lists the options of a command; `ecgtune --version` prints the version.",
        ]
    )


def _run(tokens: list[str]) -> None:
    if not tokens or tokens[0] in ("--help", "-h"):
        say(*help_text().split("\n"))
        return
    if tokens[0] == "--version":
        from ecgtune import __version__

        say(__version__)
        return
    name = tokens[0]
    if name not in COMMANDS:
        from ecgtune.config.base import choose

        choose(name, COMMANDS, "command")
    # These imports take longer than the answers above.
    from ecgtune.cli.app import run

    run(name, tokens[1:])


if __name__ == "__main__":
    main()
