"""Run a table of checks and report all failures at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from ecgtune.errors import EcgtuneError
from ecgtune.text import printable, reason_of
from ecgtune.utils.formatting import counted

T = TypeVar("T")


class ConformanceError(EcgtuneError, AssertionError):
    """Checks of a contract that failed: one line per finding, with the names of all checks that have it."""

    def __init__(self, message: str = "") -> None:
        Exception.__init__(self, printable(message, lines=True))


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


def failed_checks(checks: Sequence[Callable[[T], None]], make: Callable[[], T]) -> dict[str, str]:
    """Run each check on a fresh subject; return what those that fail found, by the name of the check."""
    failures = {}
    for check in checks:
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                check(make())
        except Exception as error:  # whatever a third-party class raises is a failure of that check
            text = str(error) if isinstance(error, ConformanceError) else reason_of(error)
            failures[check.__name__.strip("_").replace("_", " ")] = text
    return failures


def raise_failures(subject: str, failures: Mapping[str, Mapping[str, str]]) -> None:
    """Raise ConformanceError for failures of each place where the checks ran, such as an encoder, if there are any."""
    findings: dict[str, dict[str, list[str]]] = {}
    for place, found in failures.items():
        for check, text in found.items():
            findings.setdefault(text, {}).setdefault(check, []).append(place)
    if not findings:
        return
    lines = []
    for text, checks in findings.items():
        several = len(failures) > 1
        names = [f"{check} ({', '.join(places)})" if several else check for check, places in checks.items()]
        lines.append(f"{', '.join(names)}: {text}")
    count = len({check for checks in findings.values() for check in checks})
    raise ConformanceError("\n".join([f"{subject} fails {counted(count, 'check')}:", *lines]))
