"""Names of models, known without torch, so that a misspelt one is refused before anything heavy is imported.

`models.toml` in the folder of an architecture names its models; others are registered when their file is imported.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ecgtune.config.base import suggest
from ecgtune.errors import SettingError
from ecgtune.utils.extensions import load_entry_points

#: Models that are registered in this process, as entries of `models.registry`.
MODELS: dict[str, Any] = {}


@dataclass(frozen=True)
class NamedModel:
    """Facts about a model of this package.

    repository: of its weights on the Hugging Face hub. package: that holds them, an extra of the same name. terms: what
    the licence forbids, in words that are shown wherever the weights are used. files: of published weights, the first
    by default. place: where to get them by hand.
    """

    licence: str
    description: str
    repository: str | None = None
    terms: str = ""
    files: tuple[str, ...] = ()
    place: str = ""
    package: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", tuple(self.files))


@cache
def built_in() -> dict[str, NamedModel]:
    """The models of this package by name."""
    files = sorted(Path(__file__).parent.glob("*/models.toml"))
    tables = [tomllib.loads(file.read_text(encoding="utf-8")) for file in files]
    return {name: NamedModel(**facts) for table in tables for name, facts in table.items()}


def model_names() -> list[str]:
    """Names of all models, those of entry points and of the user's files among them."""
    load_entry_points("ecgtune.encoders")
    return sorted({*built_in(), *MODELS})


def check_model_name(name: str) -> None:
    """Raise SettingError for a name that is neither a model, nor a file or folder, nor in a known hub repository."""
    if name not in built_in() and not Path(name).exists() and name not in model_names() and not _on_hub(name):
        raise unknown_model(name)


def may_download(name: str) -> bool:
    """Whether the weights of `name` may have to be fetched: it is no path, and neither bundled nor random."""
    known = built_in().get(name)
    return not Path(name).exists() and (known is None or bool(known.files))


def unknown_model(name: str) -> SettingError:
    """Error for a name that is neither a model nor a file."""
    others = ", ".join([*_repositories(), "the path of a checkpoint, or a name that --import FILE registers"])
    return SettingError(f"no model or file {name!r}; {suggest(name, model_names())}, {others}")


def _on_hub(name: str) -> bool:
    return any(name == repository or name.startswith(f"{repository}/") for repository in _repositories())


def _repositories() -> list[str]:
    registered = [getattr(entry.weights, "repository", None) for entry in MODELS.values()]
    named = [model.repository for model in built_in().values()]
    return list(dict.fromkeys(name for name in (*named, *registered) if name is not None))
