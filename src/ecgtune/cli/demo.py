"""`ecgtune demo`."""

from __future__ import annotations

from pathlib import Path

from ecgtune.cli.options import Out
from ecgtune.cli.output import print_comparison


def demo(*, out: Out = Path("runs/demo")) -> None:
    """Compare four methods on simulated ECGs in a few minutes.

    The encoder is the bundled one, so nothing is downloaded.
    """
    from ecgtune.workflows.demo import demo as run_demo

    print_comparison(run_demo(out), out)
