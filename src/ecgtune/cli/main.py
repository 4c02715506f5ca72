"""The command line: a table of commands, each of which is imported when it is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

from ecgtune.errors import EcgtuneError


class Command(NamedTuple):
    """Where a command is defined ("module:function", or an app with subcommands), and its line in the help."""

    target: str
    summary: str


COMMANDS = {
    "compare": Command("ecgtune.cli.compare:compare", "Compare methods on one dataset: a table, figures and a report."),
    "fine-tune": Command("ecgtune.cli.fine_tune:fine_tune", "Fine-tune one encoder with one method."),
    "sweep": Command("ecgtune.cli.sweep:sweep", "Search settings, with the same number of trials for every method."),
    "plan": Command("ecgtune.cli.plan:plan", "Estimate time, memory and disk space of a comparison."),
    "predict": Command("ecgtune.cli.predict:predict", "Predict new signals with a finished run."),
    "pretrain": Command("ecgtune.cli.pretrain:pretrain", "Pretrain an encoder on recordings without labels."),
    "convert": Command("ecgtune.cli.convert:convert", "Convert an official ECG-FM .pt file to safetensors."),
    "simulate": Command("ecgtune.cli.simulate:simulate", "Write a CSV of simulated one-lead windows."),
    "demo": Command("ecgtune.cli.demo:demo", "Compare four methods on simulated ECGs in a few minutes."),
    "data": Command("ecgtune.cli.data:data", "Download public databases, and check recordings before training."),
    "models": Command("ecgtune.cli.models:models", "List the encoders that are known by name."),
    "methods": Command("ecgtune.cli.methods:methods", "List methods and recipes."),
}
#: Former names, which still work.
ALIASES = {"train": "fine-tune"}


def main(tokens: Sequence[str] | None = None) -> None:
    """Run the command line. An error that the user can repair is one line on stderr and exit status 2."""
    try:
        _run(list(sys.argv[1:] if tokens is None else tokens))
    except EcgtuneError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(
            "stopped; rerun compare, sweep or data get to resume, rerun fine-tune and pretrain with --resume",
            file=sys.stderr,
        )
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output is gone (`ecgtune methods | head -1`); Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
        print(help_text())
        return
    if tokens[0] == "--version":
        from ecgtune import __version__

        print(__version__)
        return
    name = ALIASES.get(tokens[0], tokens[0])
    if name not in COMMANDS:
        from ecgtune.config.base import choose

        choose(name, COMMANDS, "command")
    module, _, attribute = COMMANDS[name].target.partition(":")
    from ecgtune.cli.app import run

    run(name, getattr(import_module(module), attribute), tokens[1:])


if __name__ == "__main__":
    main()
