"""Make a finished pretraining the encoder that comes with the package.

    python benchmarks/pretraining/ship.py runs/pretrain-tiny

puts half-precision weights, curves and model card of the run into src/ecgtune/models/ecg_fm/bundled/, with what
the run's files cannot know written into the card; keeps log, metrics, settings and machine of the run in
benchmarks/results/pretraining/run/; and tells the run in docs/pretraining.md. Everything is read and put together
first: a run that does not fit is refused in one line, and nothing is written.
"""

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

from rows import PAGE, RESULTS, with_part

from ecgtune.errors import EcgtuneError
from ecgtune.reporting.pretraining import data_phrase, logged_terms, term_title
from ecgtune.utils.files import read_json, replace_folder, write_text

ROOT = Path(__file__).parents[2]
EMBEDDED = ROOT / "src" / "ecgtune" / "models" / "ecg_fm" / "bundled" / "ecg-fm-tiny"
KEPT = RESULTS / "run"
#: The recordings that `ABOUT` speaks of, as metrics.json has them; runs of before it named files have `POOL` alone.
POOL = "2bf4d88a06ce927841391d580246c4a52bdc313e33a20a8cc4c57fe817e49024"
POOL_FILES = [
    {
        "name": "pool_cinc2017_300hz_index.npz",
        "sha256": "7c636a4daaf46f7837ab376cd7c692ecbb3904b2c7de535ce2ab48e5d2340afc",
    },
    {
        "name": "pool_cinc2017_300hz.delta16.xz",
        "sha256": "baf98ea4130ad1365b5a403be3570306afc205d4ca4ad7a5f327081debfa8066",
    },
]
WEIGHTS = ("model.safetensors", "model.json")
FACTS = ("log.jsonl", "metrics.json", "environment.json", "recipe.toml", "recordings.csv")
BLANKS = "## To be completed before distribution"
ABOUT = """## Licence, attribution and use

- **Weights**: Apache-2.0, as the package. **Recordings**: the training set of the PhysioNet/Computing in Cardiology
  Challenge 2017, recorded with AliveCor's hand-held devices, Open Data Commons Attribution License v1.0 (ODC-By 1.0).
- **Cite** the recordings as: G. D. Clifford et al., AF Classification from a Short Single Lead ECG Recording: the
  PhysioNet/Computing in Cardiology Challenge 2017, Computing in Cardiology 44, 2017, doi:10.22489/CinC.2017.065-469;
  and A. L. Goldberger et al., PhysioBank, PhysioToolkit, and PhysioNet, Circulation 101(23), 2000. The architecture is
  that of ECG-FM: K. McKeen et al., arXiv:2408.05178; the weights are not.
- **Lead**: the recorder's one lead is lead I. Its channel is called II in `model.json`, because the file of recordings
  does not name it; an encoder of one lead takes any one lead.
- **Intended use**: a small starting point for research on fine-tuning, and for tests and demonstrations. Users are
  researchers and engineers who measure on labelled recordings of their own.
- **Who is in the data**: people who recorded themselves with a hand-held device. Age, sex and origin are not published,
  nor who is missing.
- **Out of bounds**: any use for or on a patient.
- **Left out**: the {left_out:,} recordings of the windows that this repository's results are measured on. How well the
  encoder does on them, beside the same encoder from random weights: `docs/pretraining.md`.
- **On other recordings**: what it gives on lead II of clinical 12-lead recordings, in windows of 10 s, beside a network
  from scratch: `docs/real_tasks.md`.
- **How to make it again**: the command with all of its processes stands in `docs/pretraining.md`.
"""


class Unfit(Exception):
    """A run that cannot be shipped, and why."""


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        sys.exit("usage: python benchmarks/pretraining/ship.py RUN")
    try:
        ship(Path(arguments[0]))
    except (EcgtuneError, OSError, Unfit) as error:
        sys.exit(str(error))


def ship(run: Path, embedded: Path = EMBEDDED, kept: Path = KEPT, page: Path = PAGE) -> None:
    """Put `run` into the two folders and the page. Raises before anything is written when it does not fit."""
    encoder = {name: (run / "float16" / name).read_bytes() for name in WEIGHTS}
    encoder["curves.svg"] = (run / "figures" / "curves.svg").read_bytes()
    encoder["README.md"] = card(run).encode()
    facts = {name: (run / name).read_bytes() for name in FACTS}
    text = with_part(page.read_text(encoding="utf-8"), "data", data(run))
    text = with_part(text, "run", told(run, read_json(run / "float16" / "model.json")["sha256"]))
    replace_folder(embedded, lambda folder: _fill(folder, encoder))
    replace_folder(kept, lambda folder: _fill(folder, facts))
    write_text(page, text)


def _fill(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


def card(run: Path) -> str:
    """The run's model card as that of ecg-fm-tiny."""
    metrics = read_json(run / "metrics.json")
    if metrics["data"]["sha256"] != POOL:
        raise Unfit(f"{run}: was not trained on the recordings whose licence the card tells; write `ABOUT` for its own")
    text = (run / "README.md").read_text(encoding="utf-8")
    if BLANKS not in text:
        raise Unfit(f"{run / 'README.md'}: {BLANKS!r} is not in it; remove it and have it written by pretrain --resume")
    text = text[: text.index(BLANKS)] + ABOUT.format(left_out=metrics["data"]["recordings"]["left_out"])
    for before, after in (
        (data_phrase(metrics["data"]), data_phrase(metrics["data"] | {"files": POOL_FILES})),
        (f"# {metrics['name']}: ", "# ecg-fm-tiny: "),
        ("one lead (II)", "one lead"),
        ("\n| best/ | ", "\n| as it was trained (not shipped) | "),
        ("\n| float16/ | ", "\n| model.safetensors | "),
        ("figures/curves.svg", "curves.svg"),
        (f"--model {run}/best", "--model ecg-fm-tiny"),
        ("`recipe.toml`", f"`recipes/{metrics['name']}.toml`"),
        ("`environment.json`", "`benchmarks/results/pretraining/run/environment.json`"),
        ("`recordings.csv`", "`benchmarks/results/pretraining/run/recordings.csv`"),
    ):
        if before not in text:
            raise Unfit(f"{run / 'README.md'}: {before!r} is not in it; write the card with this version")
        text = text.replace(before, after)
    return text


def data(run: Path) -> str:
    """The recordings and what was cut from them, for the page. run: a finished run, or what is kept of one."""
    found = read_json(run / "metrics.json")["data"]
    crops = tomllib.loads((run / "recipe.toml").read_text(encoding="utf-8"))["crops"]
    count, seconds = found["recordings"], crops["window_seconds"]
    return (
        f"The {count['left_out']:,} recordings that results are measured on were left out by name; of the others "
        f"{count['train']:,} train\n({found['training_hours']:.1f} h) and {count['val']:,} tell the validation loss. "
        f"{count['short']:,} were too short for a crop, {count['flat']:,} flat and {count['clipped']:,} clipped.\n"
        f"An epoch cuts {found['crops_per_epoch']:,} crops of {seconds:g} s at new places, each a little stretched in "
        "time, with breathing amplitude,\nbaseline wander and noise, and z-scored as fine-tuning will.\n"
    )


def told(run: Path, sha256: str) -> str:
    """The run as a table for the page, whatever its objective logs. sha256: of the weights that ship."""
    metrics, made = read_json(run / "metrics.json"), read_json(run / "environment.json")
    log: list[dict[str, Any]] = [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]
    training, last = metrics["training"], metrics["last"]
    terms = [term for term in logged_terms(log)[0] if term != "loss" and f"val_{term}" in last]
    parts = ", ".join(f"{term_title(term).lower()} {last[f'val_{term}']:.3f}" for term in terms)
    before = ", ".join(f"{row['val_loss']:.4f}" for row in log[-4:])
    facts = (
        ("epochs, steps of batch size", f"{training['epochs']}, {training['steps']:,} of {training['batch_size']}"),
        ("time", f"{training['seconds'] / 60:.0f} min on {made['processor']}, {training['precision']}"),
        ("validation loss of the last epochs", before),
        ("its parts and what else was watched, last epoch", parts),
        ("parameters", f"{metrics['parameters']:,}"),
        ("sha256 of the weights", f"`{sha256}`"),
        ("begun", made["created"][:10]),
    )
    return "| | |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in facts)


if __name__ == "__main__":
    main(sys.argv[1:])
