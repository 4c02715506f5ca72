"""Write a model as one HTML page that reads and answers ECGs in a browser, offline."""

from __future__ import annotations

from pathlib import Path

from ecgtune.config.commands import ExportSettings
from ecgtune.deployment.page import write_page
from ecgtune.errors import SettingError
from ecgtune.runtime.model import Model
from ecgtune.runtime.predictor import Predictor
from ecgtune.utils.files import temporary_folder

DEFAULTS = ExportSettings()


def page(
    model: Predictor | str | Path,
    path: str | Path,
    settings: ExportSettings = DEFAULTS,
    *,
    title: str | None = None,
) -> Path:
    """Write a model as the page `path`, which opens from disk, reads ECGs and sends nothing anywhere.

    model: an exported file (or a `runtime.Model`), or a run (its folder, or the result of `load_run`), which is
    exported and verified first; `settings` are those of that export. title: heading of the page; the labels when not
    given.

    Raises SettingError for a path that is not .html or settings of an export beside an exported file, and what
    `ecgtune.export` and `runtime.Model` raise.
    """
    path = Path(path)
    if path.suffix not in (".html", ".htm"):
        raise SettingError(f"{path}: a page is named .html, such as {path.with_suffix('.html').name}")
    if path.is_dir():
        raise SettingError(f"{path} is a folder; give the name of a file")
    if isinstance(model, Model):
        model = model.path
    if isinstance(model, (str, Path)) and (Path(model).is_file() or Path(model).suffix == ".onnx"):
        if settings != DEFAULTS:
            raise SettingError(
                f"{model} is exported already, so --int8, --rate and --verify do not apply; give the run's folder, or"
                " leave them out"
            )
        return write_page(Path(model), path, title)
    from ecgtune.workflows.export import export

    with temporary_folder() as folder:
        exported = export(model, folder / "model.onnx", settings)
        return write_page(exported.path, path, title)
