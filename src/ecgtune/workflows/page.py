"""Write a model as one HTML page that reads and answers ECGs in a browser, offline."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ecgtune.config.commands import ExportSettings
from ecgtune.deployment.page import write_page
from ecgtune.errors import SettingError
from ecgtune.runtime.model import Model
from ecgtune.runtime.predictor import Predictor
from ecgtune.utils.files import temporary_folder
from ecgtune.workflows.predict import open_predictor

DEFAULTS = ExportSettings()


def page(
    model: Predictor | str | Path | Iterable[str | Path],
    path: str | Path,
    settings: ExportSettings = DEFAULTS,
    *,
    title: str | None = None,
) -> Path:
    """Write a model as the page `path`, which opens from disk, reads ECGs and sends nothing anywhere.

    model: an exported file (or a `runtime.Model`), or a run or an ensemble (one folder or more, or the result of
    `load_run`), which is exported and verified first; `settings` are those of that export. title: heading of the page;
    the labels when not given.

    Raises SettingError for a path that is not .html or settings of an export beside an exported file, and what
    `ecgtune.export` and `runtime.Model` raise.
    """
    path = Path(path)
    if path.suffix not in (".html", ".htm"):
        raise SettingError(f"{path}: a page is named .html, such as {path.with_suffix('.html').name}")
    if path.is_dir():
        raise SettingError(f"{path} is a folder; give the name of a file")
    opened = model if isinstance(model, Predictor) else open_predictor(model)
    if isinstance(opened, Model):
        if settings != DEFAULTS:
            raise SettingError(
                f"{opened.path} is exported already, so --int8, --rate and --verify do not apply; give the run's "
                "folder, or leave them out"
            )
        return write_page(opened.path, path, title)
    from ecgtune.workflows.export import export

    with temporary_folder() as folder:
        exported = export(opened, folder / "model.onnx", settings)
        return write_page(exported.path, path, title)
