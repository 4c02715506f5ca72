"""Run a table of checks and report all failures at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from ecgtune.errors import EcgtuneError

T = TypeVar("T")


class ConformanceError(EcgtuneError, AssertionError):
    """Checks of a contract that failed, one per line."""


def expect(condition: object, message: str) -> None:
    """Raise ConformanceError(message) unless the condition holds."""
    if not condition:
        raise ConformanceError(message)


def expect_close(found: Tensor, wanted: Tensor, what: str, tolerance: float = 1e-5) -> None:
    """Raise ConformanceError unless both have one shape and differ by `tolerance` at most, relative to the largest."""
    expect(found.shape == wanted.shape, f"{what}: shape {tuple(found.shape)} instead of {tuple(wanted.shape)}")
    found, wanted = found.detach().float(), wanted.detach().float()
    difference = float((found - wanted).abs().max()) if found.numel() else 0.0
    limit = tolerance * max(1.0, float(wanted.abs().max()))
    expect(difference <= limit, f"{what}: differs by {difference:.2g}, allowed {limit:.2g}")


def run_checks(subject: str, checks: Sequence[Callable[[T], None]], make: Callable[[], T]) -> None:
    """Run each check on a fresh subject. Raises ConformanceError with all failures."""
    failures = []
    for check in checks:
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                check(make())
        except Exception as error:  # whatever a third-party class raises is a failure of that check
            kind = "" if isinstance(error, ConformanceError) else f"{type(error).__name__}: "
            failures.append(f"{check.__name__}: {kind}{error}")
    if failures:
        raise ConformanceError("\n".join([f"{subject} fails {len(failures)} of {len(checks)} checks:", *failures]))


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread of computation: the order of summation, and so each bit, is the same every time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
