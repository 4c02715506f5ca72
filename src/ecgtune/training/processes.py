"""Coordination of the processes of a distributed run."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import torch.distributed
from accelerate import PartialState

from ecgtune.training.inference import choose_device
from ecgtune.utils.child import end_with_parent

T = TypeVar("T")


def end_cleanly() -> None:
    """Destroy the process group at exit, before the interpreter shuts down, and end with a killed torchrun.

    Otherwise threads of torch that still hold tensors can abort the finished process with SIGABRT, and the processes of
    torchrun would wait for each other.
    """
    atexit.unregister(_destroy_process_group)
    atexit.register(_destroy_process_group)
    _end_with_torchrun()


@cache
def _end_with_torchrun() -> None:
    if torch.distributed.is_torchelastic_launched():
        end_with_parent(os.getppid())


def _destroy_process_group() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


class Processes:
    """The processes that torchrun started, or the single process."""

    def __init__(self, device: str) -> None:
        self._state = PartialState(cpu=choose_device(device).type == "cpu")
        end_cleanly()

    @property
    def is_main(self) -> bool:
        """Whether this is the main process, which writes files."""
        return self._state.is_main_process

    def on_main_process(self, action: Callable[[], object]) -> None:
        """Run `action` in the main process only; the others wait until it is done."""
        if self.is_main:
            action()
        self._state.wait_for_everyone()

    def main_process_first(self, action: Callable[[], T]) -> T:
        """Run `action` in the main process, then in the others, which use the cache that it filled."""
        with self._state.main_process_first():
            return action()
