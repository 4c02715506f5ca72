"""README.md of a run folder: the model card."""

from pathlib import Path

from ecgtune.files import write_text
from ecgtune.reporting.html import environment, run_facts
from ecgtune.reporting.reading import read_run


def write_model_card(folder: Path | str) -> Path:
    """Write the model card `README.md` of a finished run; returns the file. Raises RunError when it is not finished.

    What a file cannot know (intended use, who labelled, who reviewed) is left as a marked blank for a clinician.
    """
    run = read_run(folder)
    file = run.folder / "README.md"
    write_text(file, environment().get_template("model-card.md.j2").render(**run_facts(run)))
    return file
