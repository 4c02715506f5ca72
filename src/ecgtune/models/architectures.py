"""Architectures by name: the classes that saved encoders are loaded into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ecgtune import models
from ecgtune.config.base import from_table
from ecgtune.errors import CheckpointError, EcgtuneError
from ecgtune.models.base import Encoder, EncoderConfig
from ecgtune.text import reason_of, shown
from ecgtune.utils.extensions import Registry
from ecgtune.utils.sources import import_hint

#: No size of an encoder, nor its sampling rate, is larger.
LARGEST = 1 << 31
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


def architecture_of(settings: Mapping[str, Any], source: str) -> type[Encoder]:
    """Class of a saved encoder, by the architecture and version that its settings state. Raises CheckpointError."""
    try:
        architecture = find_architecture(str(settings.get("architecture")), settings.get("imports"))
    except CheckpointError as error:
        raise CheckpointError(f"{source}: {error}") from None
    version = settings.get("version", 1)
    if version != architecture.version:
        raise CheckpointError(
            f"{source} was written by version {version} of {architecture.architecture}; allowed: "
            f"{architecture.version}; install the package that wrote it"
        )
    return architecture


def config_of(architecture: type[Encoder], table: Mapping[str, Any], source: str) -> EncoderConfig:
    """Sizes of a saved encoder. Raises CheckpointError or SettingError, which begin with `source`."""
    try:
        for name, value in table.items():
            values = value if isinstance(value, (list, tuple)) else [value]
            if any(isinstance(each, (int, float)) and not 0 <= each < LARGEST for each in values):
                raise CheckpointError(f"{name} is {shown(value)}; allowed: 0 to {LARGEST}")
        return from_table(architecture.config_type, table, "its config")
    except EcgtuneError as error:
        raise type(error)(f"{source}: {error}") from None
    except Exception as error:  # a configuration divides by a size of 0, for example
        raise CheckpointError(f"{source}: its sizes do not fit together: {reason_of(error)}") from None
