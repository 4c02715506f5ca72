"""What the first of several processes does alone, and how all of them part."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from typing import TypeVar

import torch.distributed
from accelerate import PartialState

from ecgtune.training.inference import choose_device

T = TypeVar("T")


def destroy_process_group_at_exit() -> None:
    """Close the connections between processes at exit, while the interpreter stands.

    Threads of torch that hold tensors when it falls end a process with SIGABRT now and then, its work long done.
    """
    atexit.unregister(_part)
    atexit.register(_part)


def _part() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


class Processes:
    """The processes that torchrun started, or the only one."""

    def __init__(self, device: str) -> None:
        self._state = PartialState(cpu=choose_device(device).type == "cpu")
        destroy_process_group_at_exit()

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self._state.is_main_process

    def first_alone(self, action: Callable[[], object]) -> None:
        """Run `action` in the first process only; the others wait until it is done."""
        if self.first:
            action()
        self._state.wait_for_everyone()

    def first_before_others(self, action: Callable[[], T]) -> T:
        """Run `action` in the first process, then in the others: they find in the cache what it left there."""
        with self._state.main_process_first():
            return action()
