"""The cyclopts application around one command: its options, those of every command, and errors as one line."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args

from cyclopts import App, CycloptsError, Parameter, Token, convert

from ecgtune.cli.commands import COMMANDS, load
from ecgtune.cli.options import MACHINE
from ecgtune.cli.output import show_log, to_stdout
from ecgtune.errors import SettingError

Imports = Annotated[
    tuple[Path, ...],
    Parameter(
        name="--import",
        group=MACHINE,
        show_default=False,
        help="Python file that registers encoders, methods or file formats, such as my_encoder.py; several may follow. "
        "The environment variable ECGTUNE_IMPORT names files too.",
    ),
]
Quiet = Annotated[
    bool,
    Parameter(group=MACHINE, negative=(), show_default=False, help="Show no progress, and of the log only warnings."),
]
#: In place of a lone "-", a channel to leave out in --lead-names, which cyclopts takes for an option.
_VALUE = "\N{MINUS SIGN}"
#: Of commands with any number of files, which cyclopts calls ARGS.
USAGE = {
    "predict": "Usage: ecgtune predict [OPTIONS] RUN DATA...",
    "verify": "Usage: ecgtune verify [OPTIONS] MODEL [DATA...]",
}
Tokens = Annotated[str, Parameter(show=False, allow_leading_hyphen=True)]


def _strict(kind: Any, tokens: Sequence[Token]) -> Any:
    """The value of an argument as cyclopts converts it, but 1.5 is no whole number."""
    whole = int in (kind, *get_args(kind)) and float not in get_args(kind)
    if whole and any("." in token.value for token in tokens):
        raise ValueError(f"{tokens[0].value} is not a whole number")
    return convert(kind, tokens)


_BEHAVIOUR: dict[str, Any] = {
    "version_flags": (),
    "default_parameter": Parameter(negative=(), converter=_strict),
    "suppress_keyboard_interrupt": False,  # `main` says how to resume
    "exit_on_error": False,
    "print_error": False,
    "result_action": "return_value",
}


def make_app(name: str, command: Any) -> App:
    """The application with `command`, a function or an app with subcommands."""
    app = App(name="ecgtune", **_BEHAVIOUR)
    usage = {"usage": USAGE[name]} if name in USAGE else {}
    app.command(command, name=name, **usage)

    app.meta.suppress_keyboard_interrupt = False
    app.meta.default(_launcher(app))
    return app


def _launcher(app: App) -> Callable[..., None]:
    """The function that handles --import and --quiet, then runs `app` with the other tokens."""

    def launch(*tokens: Tokens, import_: Imports = (), quiet: Quiet = False) -> None:
        if quiet:
            show_log(logging.WARNING)
        if import_:
            from ecgtune.utils.extensions import add_file

            for file in import_:
                add_file(file)
        app(tokens)

    return launch


def run(name: str, tokens: Sequence[str]) -> None:
    """Run a command with the tokens that follow its name. Raises SettingError for tokens that it does not take."""
    show_log(logging.INFO)
    app = make_app(name, load(name))
    entry = app.meta  # collects the options of the command too, for its help, which is slow
    if not {"--help", "-h"}.intersection(tokens):
        entry = App(name="ecgtune", **_BEHAVIOUR)
        entry.default(_launcher(app))
    only_help = entry is app.meta or not (tokens or app[name].default_command)
    try:
        with to_stdout() if only_help else nullcontext():
            entry([name, *(_VALUE if token == "-" else token for token in _with_imports(tokens))])
    except CycloptsError as error:
        from ecgtune.cli.mistakes import explain

        raise SettingError(explain(error, name, tokens, _names(app.meta), options_by_command)) from None


def _with_imports(tokens: Sequence[str]) -> list[str]:
    """The tokens with --import before every file of `--import a.py b.py`."""
    found: list[str] = []
    for token in tokens:
        previous = found[-2:]
        if token.endswith(".py") and "--import" in previous[:1] and previous[-1].endswith(".py"):
            found.append("--import")
        found.append(token)
    return found


@cache
def options_by_command() -> dict[str, set[str]]:
    """Names of the options of every command, without dashes."""
    found = {}
    for name in COMMANDS:
        whole = make_app(name, load(name))
        app = whole[name]
        apps = [app] if app.default_command else [app[sub] for sub in app if not sub.startswith("-")]
        found[name] = set().union(*map(_names, [whole.meta, *apps]))
    return found


def _names(app: App) -> set[str]:
    arguments = app.assemble_argument_collection()
    return {part[2:] for argument in arguments for part in argument.names if part.startswith("--")}
