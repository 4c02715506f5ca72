"""Predictions from exported files without torch: `Model`."""

from ecgtune.runtime.model import Model as Model
