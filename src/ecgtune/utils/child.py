"""Child processes that end when their parent does."""

from __future__ import annotations

import os
import threading
import time

_INTERVAL = 0.5  # seconds


def end_with_parent(parent: int) -> None:
    """End this process within a second of its parent, also when that was killed and could tell nobody.

    parent: its number, `os.getpid()` there. For the start of a child process on Linux and macOS, where an orphan gets
    another parent.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_INTERVAL)
        os._exit(1)

    if os.name == "posix":
        threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
