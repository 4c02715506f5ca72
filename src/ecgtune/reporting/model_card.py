"""README.md of a run folder: the model card."""

import re
from dataclasses import replace
from pathlib import Path

from ecgtune.reporting.html import environment, pretraining_facts, run_facts
from ecgtune.reporting.reading import PretrainingRun, read_pretraining, read_run
from ecgtune.utils.files import write_text

CARD = "README.md"


def write_model_card(folder: Path | str) -> Path:
    """Write the model card `README.md` of a finished run; returns the file. Raises RunError when it is not finished.

    What a file cannot know (intended use, who labelled, who reviewed) is left as a marked blank for a clinician.
    """
    run = read_run(folder)
    file = run.folder / CARD
    write_text(file, environment().get_template("model-card.md.j2").render(**run_facts(run)))
    return file


def write_pretraining_card(folder: Path | str) -> Path:
    """Write the model card `README.md` of a finished pretraining; returns the file. Raises RunError as above.

    What its files cannot know (licence and attribution of the recordings, intended use) is left as a marked blank.
    """
    run = read_pretraining(folder)
    file = run.folder / CARD
    write_text(file, _pretraining_card(run))
    return file


def card_is_edited(folder: Path | str) -> bool:
    """Whether the README.md of a finished pretraining is not as `write_pretraining_card` writes it.

    One of before float16/ was there counts as written. Raises RunError as above.
    """
    run = read_pretraining(folder)
    file = run.folder / CARD
    written = {_anywhere(_pretraining_card(each)) for each in (run, replace(run, files=run.files[:1]))}
    return file.is_file() and _anywhere(file.read_text(encoding="utf-8")) not in written


def _anywhere(card: str) -> str:
    """The card without the place of its folder, which hangs on where the command was typed."""
    return re.sub(r"--model .*/best", "--model best", card)


def _pretraining_card(run: PretrainingRun) -> str:
    return environment().get_template("pretraining-card.md.j2").render(**pretraining_facts(run))
