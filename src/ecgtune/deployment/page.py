"""An exported file as one HTML page that reads and answers ECGs in a browser, offline.

The page is built from `web/` by `make web`: `page_files/` holds it with places for the model and the runtime, the
WebAssembly of onnxruntime-web, and the sha256 of both.
"""

from __future__ import annotations

import base64
import gzip
import html
import json
from importlib import resources
from pathlib import Path
from typing import Any

from ecgtune.errors import SettingError
from ecgtune.runtime.model import Model
from ecgtune.text import printable
from ecgtune.utils.files import write_atomically
from ecgtune.utils.formatting import size

#: Bytes of a model: browsers hold the page several times while it opens.
LARGEST_MODEL = 200_000_000
_TITLE_CHARACTERS = 80
_FILES = resources.files("ecgtune") / "deployment" / "page_files"


def page_file(name: str) -> bytes:
    """The content of a file of the built page: "page.html" or "runtime.wasm"."""
    return gzip.decompress((_FILES / f"{name}.gz").read_bytes())


def page_contents() -> dict[str, Any]:
    """What the built page holds: steps that it computes, version and licence of the runtime, sha256 of the files."""
    return json.loads((_FILES / "contents.json").read_text(encoding="utf-8"))


def write_page(model: Path, path: Path, title: str | None = None) -> Path:
    """Write the exported file `model` as the page `path`.

    title: heading of the page; "ECG: " and the labels when not given. The page is the same for the same model and
    version of ecgtune. Raises ModelFileError for a file that is not whole or not ecgtune's, SettingError for one of
    more than `LARGEST_MODEL` bytes, or with a preset.
    """
    opened = Model(model)  # checks the file, and that a runtime opens it
    if opened.metadata["input"].get("prepared_by_runtime"):
        raise SettingError(
            f"{model}: its windows are prepared by an encoder's preset, which the page cannot compute; use ecgtune "
            "predict, or train with --preset none"
        )
    content = model.read_bytes()
    if len(content) > LARGEST_MODEL:
        raise SettingError(
            f"{model}: has {size(len(content))}; a page holds models of at most {size(LARGEST_MODEL)}, since a browser "
            "opens it at once: export the run with --int8, or use ecgtune predict"
        )
    known = page_contents()["steps"]
    unknown = [each["step"] for each in opened.metadata["preprocessing"].get("steps", ()) if each["step"] not in known]
    if unknown:
        raise SettingError(
            f"{model}: prepares windows by the step {unknown[0]}, which a page does not compute ({', '.join(known)});"
            " use ecgtune predict"
        )
    parts = {
        "MODEL": base64.b64encode(gzip.compress(content, mtime=0)).decode(),
        "RUNTIME": base64.b64encode((_FILES / "runtime.wasm.gz").read_bytes()).decode(),
        "TITLE": html.escape(printable(title or heading(opened.metadata))),
    }
    page = page_file("page.html").decode()
    for name, text in parts.items():
        page = page.replace(f"@@{name}@@", text)
    write_atomically(path, lambda partial: partial.write_text(page, encoding="utf-8", newline="\n"))
    return path


def heading(metadata: dict[str, Any]) -> str:
    """The labels of a model as a heading."""
    classes = metadata["classes"][1:] if metadata["task"] == "binary" else metadata["classes"]
    text = "ECG: " + ", ".join(f"class {name}" if name.isdecimal() else name for name in classes)
    return text if len(text) <= _TITLE_CHARACTERS else f"{text[: _TITLE_CHARACTERS - 2]} …"
