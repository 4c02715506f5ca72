"""Readers of certainty.json and novelty.npz of a run folder, and their writer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ecgtune.errors import RunError
from ecgtune.evaluation.certainty import Certainty
from ecgtune.evaluation.novelty import Novelty
from ecgtune.training.run_folder import RunFolder
from ecgtune.training.schemas import CertaintyFile
from ecgtune.utils.files import write_atomically, write_json
from ecgtune.utils.stored import ELSEWHERE, is_there, read_json, read_packed


def write_certainty(run: RunFolder, content: dict[str, Any], novelty: Novelty | None) -> None:
    """Write certainty.json, and novelty.npz where there is a score."""
    if novelty is not None:
        packed = novelty.packed()

        def write(partial: Path) -> None:
            partial.write_bytes(packed)

        write_atomically(run.novelty, write)
    write_json(run.certainty, content)


def read_certainty(run: RunFolder, thresholds: int) -> Certainty | None:
    """Read the thresholds of certainty.json; None for a run without it. Raises RunError for a damaged file.

    thresholds: how many a unit has, the number of labels or 1.
    """
    if not is_there(run.certainty):
        return None
    content = read_json(run.certainty, CertaintyFile)
    try:
        return Certainty.from_dict(content["certainty"], thresholds)
    except ValueError as error:
        raise RunError(f"{run.certainty}: {error}; {ELSEWHERE}") from None


def read_novelty(run: RunFolder, features: int) -> Novelty | None:
    """Read novelty.npz; None for a run without it. Raises RunError for a damaged file.

    features: how many the encoder gives.
    """
    if not is_there(run.novelty):
        return None

    def unpack(content: bytes) -> Novelty:
        found = Novelty.unpacked(content)
        if found.width != features:
            raise ValueError(f"{found.width} features, but the encoder gives {features}")
        return found

    return read_packed(run.novelty, unpack)
