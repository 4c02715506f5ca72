"""The cyclopts application around one command: its options, `--import`, and errors as one line."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args

from cyclopts import App, CycloptsError, Parameter, Token, convert

from ecgtune.cli.commands import COMMANDS, load
from ecgtune.cli.options import MACHINE
from ecgtune.cli.output import show_log
from ecgtune.errors import SettingError

Imports = Annotated[
    tuple[Path, ...],
    Parameter(
        name="--import",
        group=MACHINE,
        show_default=False,
        help="Python file that registers encoders, methods or file formats, such as my_encoder.py; repeatable. The "
        "environment variable ECGTUNE_IMPORT names files too.",
    ),
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


def make_app(name: str, command: Any) -> App:
    """The application with `command`, a function or an app with subcommands."""
    app = App(
        name="ecgtune",
        version_flags=(),
        default_parameter=Parameter(negative=(), converter=_strict),
        suppress_keyboard_interrupt=False,  # `main` tells how to resume
        exit_on_error=False,
        print_error=False,
        result_action="return_value",
    )
    usage = {"usage": USAGE[name]} if name in USAGE else {}
    app.command(command, name=name, **usage)

    app.meta.suppress_keyboard_interrupt = False

    @app.meta.default
    def launch(*tokens: Tokens, import_: Imports = ()) -> None:
        if import_:
            from ecgtune.utils.extensions import add_file

            for file in import_:
                add_file(file)
        app(tokens)

    return app


def run(name: str, tokens: Sequence[str]) -> None:
    """Run a command with the tokens that follow its name. Raises SettingError for tokens that it does not take."""
    show_log()
    try:
        make_app(name, load(name)).meta([name, *(_VALUE if token == "-" else token for token in tokens)])
    except CycloptsError as error:
        from ecgtune.cli.mistakes import explain

        raise SettingError(explain(error, name, tokens, options_by_command)) from None


@cache
def options_by_command() -> dict[str, set[str]]:
    """Names of the options of every command, without dashes."""
    found = {}
    for name in COMMANDS:
        app = make_app(name, load(name))[name]
        apps = [app] if app.default_command else [app[sub] for sub in app if not sub.startswith("-")]
        arguments = [argument for each in apps for argument in each.assemble_argument_collection()]
        found[name] = {part[2:] for argument in arguments for part in argument.names if part.startswith("--")}
    return found
