"""The cyclopts application around one command: its options, `--import`, and errors as one line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter
from cyclopts.exceptions import UnknownOptionError

from ecgtune.cli.options import MACHINE
from ecgtune.cli.output import show_log
from ecgtune.config.renamed import REMOVED, new_name
from ecgtune.errors import SettingError

Imports = Annotated[
    tuple[Path, ...],
    Parameter(
        name="--import",
        group=MACHINE,
        show_default=False,
        help="Python file that registers encoders or methods, such as my_encoder.py; repeatable. The environment "
        "variable ECGTUNE_IMPORT names files too.",
    ),
]
Tokens = Annotated[str, Parameter(show=False, allow_leading_hyphen=True)]


def make_app(name: str, command: Any) -> App:
    """The application with `command`, a function or an app with subcommands."""
    app = App(
        name="ecgtune",
        version_flags=(),
        default_parameter=Parameter(negative=()),
        suppress_keyboard_interrupt=False,  # `main` tells how to resume
        exit_on_error=False,
        print_error=False,
        result_action="return_value",
    )
    app.command(command, name=name)

    app.meta.suppress_keyboard_interrupt = False

    @app.meta.default
    def launch(*tokens: Tokens, import_: Imports = ()) -> None:
        if import_:
            from ecgtune.utils.extensions import add_file

            for file in import_:
                add_file(file)
        app(tokens)

    return app


def run(name: str, command: Any, tokens: Sequence[str]) -> None:
    """Run `command` with the tokens that follow its name. Raises SettingError for tokens that it does not take."""
    show_log()
    try:
        make_app(name, command).meta([name, *tokens])
    except UnknownOptionError as error:
        raise SettingError(_renamed(error) or str(error)) from None
    except CycloptsError as error:
        raise SettingError(str(error)) from None


def _renamed(error: UnknownOptionError) -> str | None:
    """What to type instead of a former flag or a synonym."""
    flag = (error.token.keyword or error.token.value or "").partition("=")[0]
    old = flag.lstrip("-").replace("-", "_")
    if old in REMOVED:
        return f"{flag} was {REMOVED[old]}"
    options = {name.lstrip("-").replace("-", "_") for argument in error.argument_collection for name in argument.names}
    new = new_name(old, options)
    return None if new is None else f"no option {flag}; use --{new.replace('_', '-')}"
