"""Architectures by name: the classes that saved encoders are loaded into."""

from __future__ import annotations

from ecgtune import models
from ecgtune.errors import CheckpointError
from ecgtune.models.base import Encoder
from ecgtune.utils.extensions import Registry

ARCHITECTURES: Registry[Encoder] = Registry("encoder", models, "ecgtune.encoders")


def find_architecture(name: str) -> type[Encoder]:
    """Class that is registered as architecture `name`. Raises CheckpointError for an unknown one."""
    found = ARCHITECTURES.get(name)
    if found is None:
        raise CheckpointError(
            f"architecture {name!r} is not registered; known: {', '.join(sorted(ARCHITECTURES.all()))}; import the file"
            " that registers it (--import my_encoder.py)"
        )
    return found


def check_registered(encoder: Encoder) -> None:
    """Raise SettingError unless a saved run finds the class of `encoder` again by its architecture."""
    ARCHITECTURES.check(encoder, encoder.architecture)
