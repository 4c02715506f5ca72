"""Trainings for which memory is short: smaller pieces of a batch until they fit."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch

from ecgtune.errors import EcgtuneError, RunError
from ecgtune.recipes.recipe import Recipe
from ecgtune.training.inference import choose_device
from ecgtune.training.memory import free_memory, out_of_memory, release_freed_memory
from ecgtune.utils import formatting

T = TypeVar("T")
#: Entries of a job: pieces of a batch, and the memory that was free when a training needed more.
Pieces = Mapping[str, Any]


def in_pieces(recipe: Recipe, pieces: Pieces | None) -> Recipe:
    """The recipe with batches in so many pieces, which predictions take too; None leaves it as it is."""
    if pieces is None:
        return recipe
    asked = recipe.trainer
    limit = asked.max_memory or pieces["max_memory"]
    trainer = replace(asked, max_memory=limit, gradient_accumulation_steps=pieces["pieces"])
    return replace(recipe, trainer=trainer)


def within_memory(
    attempt: Callable[[Pieces | None], T], pieces: Pieces | None, *, batch: int, device: str
) -> tuple[T, Pieces | None]:
    """Return `attempt(pieces)`, and the pieces; where memory ends, try again with twice as many, down to one window.

    Raises RunError where one window at a time is too much.
    """
    while True:
        try:
            return attempt(pieces), pieces
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, EcgtuneError) or not out_of_memory(error):
                raise
        # Behind the except block, whose error holds the tensors of the failed attempt.
        pieces = _more(pieces, batch, device)


def _more(pieces: Pieces | None, batch: int, device: str) -> Pieces:
    gc.collect()
    place = choose_device(device)
    if place.type == "cuda":
        torch.cuda.empty_cache()
    release_freed_memory()
    free, now = free_memory(place), 1 if pieces is None else pieces["pieces"]
    if now >= batch:
        raise RunError(
            f"the memory of the {place.type} ends with one window at a time ({formatting.size(free)} are free); close "
            "other programs, choose another --device, or a smaller encoder with --encoders"
        )
    return {"pieces": min(2 * now, batch), "max_memory": f"{max(1, free // 1_000_000)}MB"}
