"""`ecgtune serve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ecgtune.cli.inputs import check_exists
from ecgtune.cli.options import MACHINE, MOST_USED, given, optional
from ecgtune.cli.output import complain, say
from ecgtune.config.commands import ServeSettings
from ecgtune.errors import SettingError

if TYPE_CHECKING:
    ServeFlags = ServeSettings
else:
    ServeFlags = optional(ServeSettings, "ServeFlags", MACHINE, recipe=False)


def serve(
    *models: Annotated[Path, Parameter(group=MOST_USED)],
    settings: ServeFlags = ServeFlags(),
) -> None:
    """Serve finished runs and exported files over HTTP.

    A client sends recordings, `curl -F file=@ecg.edf http://127.0.0.1:8000/predict`, and receives predictions of all
    models as JSON, with the columns of the tables of `ecgtune predict`. Adapters on one encoder hold its weights once.
    There is no login and no encryption: put a server that does both in front before others may reach it.

    Parameters
    ----------
    models
        Folders of runs, and files of ecgtune export, which need no torch.
    """
    if not models:
        raise SettingError("no model is given; name run folders or exported files")
    check_exists(*models)
    import ecgtune

    asked = ServeSettings(**given(settings))
    if asked.host not in ("127.0.0.1", "localhost", "::1"):
        complain(f"warning: whoever reaches {asked.host} can send recordings; there is no login and no encryption")
    ecgtune.serve(models, asked, started=lambda address: say(f"{address} (stop with Ctrl-C)"))
