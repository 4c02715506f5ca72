"""Conformance checks for encoders, methods and readers of your own; this package runs them on its own.

A failed check raises `ConformanceError`.
"""

from ecgtune.testing.checks import ConformanceError
from ecgtune.testing.encoders import check_encoder
from ecgtune.testing.methods import check_method
from ecgtune.testing.readers import check_reader

__all__ = ["ConformanceError", "check_encoder", "check_method", "check_reader"]
