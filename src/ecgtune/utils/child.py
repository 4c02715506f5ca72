"""Child processes that end when their parent does."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

_INTERVAL = 0.5  # seconds
_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def end_with_parent(parent: int) -> None:
    """End this process within a second of its parent, also when that was killed and sent no message.

    parent: its number, `os.getpid()` there. For the start of a child process on Linux and macOS, where an orphan gets
    another parent. Linux kills this process also with the thread that started it, and while a library holds the
    interpreter; macOS waits for that library.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_INTERVAL)
        os._exit(1)

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.name == "posix":  # also on Linux: the parent may have ended before the call
        threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
