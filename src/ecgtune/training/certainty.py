"""Readers of certainty.json and novelty.npz of a run folder, and their writer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ecgtune.errors import RunError
from ecgtune.evaluation.certainty import Certainty
from ecgtune.evaluation.novelty import Novelty
from ecgtune.training.run_folder import RunFolder
from ecgtune.training.schemas import CertaintyFile
from ecgtune.utils.archives import checked_zip
from ecgtune.utils.files import read_json, write_atomically, write_json
from ecgtune.utils.schema import check_schema
from ecgtune.utils.text import reason_of

LARGEST = 1 << 28  # bytes of novelty.npz


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
    if not run.certainty.is_file():
        return None
    content = read_json(run.certainty)
    check_schema(content, CertaintyFile, str(run.certainty), RunError)
    try:
        return Certainty.from_dict(content["certainty"], thresholds)
    except ValueError as error:
        raise RunError(f"{run.certainty}: {error}; train the run again, or remove the file") from None


def read_novelty(run: RunFolder, features: int) -> Novelty | None:
    """Read novelty.npz; None for a run without it. Raises RunError for a damaged file.

    features: how many the encoder gives.
    """
    if not run.novelty.is_file():
        return None
    try:
        if run.novelty.stat().st_size > LARGEST:
            raise ValueError("larger than 256 MB")
        found = Novelty.unpacked(checked_zip(run.novelty.read_bytes()))
        if found.width != features:
            raise ValueError(f"{found.width} features, but the encoder gives {features}")
        return found
    except Exception as error:  # numpy and zipfile fail in many ways on damaged files
        raise RunError(f"{run.novelty} cannot be read ({reason_of(error)}); train the run again") from None
