"""README.md of a run folder: the model card."""

from pathlib import Path

from ecgtune.files import write_text
from ecgtune.reporting.html import environment, pretraining_facts, run_facts
from ecgtune.reporting.reading import read_pretraining, read_run


def write_model_card(folder: Path | str) -> Path:
    """Write the model card `README.md` of a finished run; returns the file. Raises RunError when it is not finished.

    What a file cannot know (intended use, who labelled, who reviewed) is left as a marked blank for a clinician.
    """
    run = read_run(folder)
    file = run.folder / "README.md"
    write_text(file, environment().get_template("model-card.md.j2").render(**run_facts(run)))
    return file


def write_pretraining_card(folder: Path | str) -> Path:
    """Write the model card `README.md` of a finished pretraining; returns the file. Raises RunError as above.

    What its files cannot know (licence and attribution of the recordings, intended use) is left as a marked blank.
    """
    run = read_pretraining(folder)
    file = run.folder / "README.md"
    write_text(file, environment().get_template("pretraining-card.md.j2").render(**pretraining_facts(run)))
    return file
