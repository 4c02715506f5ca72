"""Make a finished pretraining the encoder that comes with the package.

    python benchmarks/pretraining/ship.py runs/pretrain-tiny

copies half-precision weights, curves and model card of the run into src/ecgtune/models/embedded/ecg-fm-tiny/, with what
the run's files cannot know written into the card; keeps log, metrics, settings and machine of the run in
benchmarks/results/pretraining/run/; and tells the run in docs/pretraining.md.
"""

import shutil
import sys
from pathlib import Path

from rows import into_page

from ecgtune.files import read_json, write_text

ROOT = Path(__file__).parents[2]
EMBEDDED = ROOT / "src" / "ecgtune" / "models" / "embedded" / "ecg-fm-tiny"
KEPT = ROOT / "benchmarks" / "results" / "pretraining" / "run"
BLANKS = "## To be completed before it is passed on"
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
- **Left out**: the 1,224 recordings of the windows that this repository's results are measured on. How well the encoder
  does on them, beside the same encoder from random weights: `docs/pretraining.md`.
"""


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python benchmarks/pretraining/ship.py RUN")
    run = Path(sys.argv[1])
    EMBEDDED.mkdir(parents=True, exist_ok=True)
    for file in ("model.safetensors", "model.json"):
        shutil.copyfile(run / "float16" / file, EMBEDDED / file)
    shutil.copyfile(run / "figures" / "curves.svg", EMBEDDED / "curves.svg")
    write_text(EMBEDDED / "README.md", _card(run))
    KEPT.mkdir(parents=True, exist_ok=True)
    for file in ("log.jsonl", "metrics.json", "environment.json", "recipe.toml", "recordings.csv"):
        shutil.copyfile(run / file, KEPT / file)
    into_page("run", _told(run))


def _card(run: Path) -> str:
    card = (run / "README.md").read_text(encoding="utf-8")
    card = card[: card.index(BLANKS)] + ABOUT
    name = read_json(run / "metrics.json")["name"]
    for before, after in (
        (f"# {name}: ", "# ecg-fm-tiny: "),
        ("one lead (II)", "one lead"),
        ("\n| best/ | ", "\n| as it was trained (not shipped) | "),
        ("\n| float16/ | ", "\n| model.safetensors | "),
        ("figures/curves.svg", "curves.svg"),
        (f"--model {run}/best", "--model ecg-fm-tiny"),
        ("`recipe.toml`", "`recipes/pretrain-tiny.toml`"),
        ("`environment.json`", "`benchmarks/results/pretraining/run/environment.json`"),
        ("`recordings.csv`", "`benchmarks/results/pretraining/run/recordings.csv`"),
    ):
        if before not in card:
            sys.exit(f"{run / 'README.md'}: {before!r} is not in it; write the card with this version")
        card = card.replace(before, after)
    return card


def _told(run: Path) -> str:
    metrics, made = read_json(run / "metrics.json"), read_json(run / "environment.json")
    training, last = metrics["training"], metrics["last"]
    facts = (
        ("epochs, steps of batch size", f"{training['epochs']}, {training['steps']:,} of {training['batch_size']}"),
        ("time", f"{training['seconds'] / 60:.0f} min on {made['processor']}, {training['precision']}"),
        ("validation loss", f"{last['val_loss']:.3f} (masked {last['val_masked']:.3f}, rhythm of a crop "
         f"{last['val_rhythm_crop']:.3f}, of a token {last['val_rhythm_token']:.3f})"),
        ("parameters", f"{metrics['parameters']:,}"),
        ("sha256 of the weights", f"`{read_json(EMBEDDED / 'model.json')['sha256']}`"),
        ("begun", made["created"][:10]),
    )  # fmt: skip
    return "| | |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in facts)


if __name__ == "__main__":
    main()
