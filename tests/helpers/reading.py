"""Reading of windows with settings by name, for tables of cases."""

import dataclasses

from ecgtune.data.dataset import Dataset
from ecgtune.io.windows import WindowSettings, read_dataset


def read_windows(path, **given) -> Dataset:
    """`read_dataset` with its own arguments and those of its settings alike."""
    names = {item.name for item in dataclasses.fields(WindowSettings)}
    settings = {name: given.pop(name) for name in names & given.keys()}
    return read_dataset(path, **given, settings=WindowSettings(**settings))
