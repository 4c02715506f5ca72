"""Architectures by name: the classes that saved encoders are loaded into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ecgtune import models
from ecgtune.errors import CheckpointError
from ecgtune.models.base import Encoder
from ecgtune.utils.extensions import Registry
from ecgtune.utils.sources import import_hint

ARCHITECTURES: Registry[Encoder] = Registry("encoder", models, "ecgtune.encoders")


def find_architecture(name: str, files: object = None) -> type[Encoder]:
    """Class that is registered as architecture `name`. Raises CheckpointError for an unknown one.

    files: of the user, that a saved encoder states.
    """
    found = ARCHITECTURES.get(name)
    if found is None:
        raise CheckpointError(
            f"architecture {name!r} is not registered; known: {', '.join(sorted(ARCHITECTURES.all()))}; "
            f"{import_hint(files)}"
        )
    return found


def check_registered(encoder: Encoder) -> None:
    """Raise SettingError unless a saved run finds the class of `encoder` again by its architecture."""
    ARCHITECTURES.check(encoder, encoder.architecture)


def architecture_of(settings: Mapping[str, Any], source: str) -> type[Encoder]:
    """Class of a saved encoder, by the architecture and version that its settings state. Raises CheckpointError."""
    architecture = find_architecture(str(settings.get("architecture")), settings.get("imports"))
    version = settings.get("version", 1)
    if version != architecture.version:
        raise CheckpointError(
            f"{source} was written by version {version} of {architecture.architecture}; allowed: "
            f"{architecture.version}; install the package that wrote it"
        )
    return architecture
