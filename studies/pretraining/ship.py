"""Bundle a finished pretraining with the package.

    python studies/pretraining/ship.py runs/pretrain-tiny

copies half-precision weights and curves of the run to src/ecgtune/models/ecg_fm/bundled/ecg-fm-tiny/, and log, metrics,
settings and machine to results/run/, and describes the run in docs/pretraining.md. Run fingerprint.py afterwards, which
writes the fingerprints of its recordings. Nothing is written if one of these
files is missing. The model card must be edited by hand.
"""

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from pages import ROOT, markdown, replace_section

from ecgtune.reporting.pretraining import logged_terms, term_title
from ecgtune.utils.files import json_value, replace_folder

BUNDLED = ROOT / "src" / "ecgtune" / "models" / "ecg_fm" / "bundled" / "ecg-fm-tiny"
KEPT = Path(__file__).parent / "results" / "run"
PAGE = ROOT / "docs" / "pretraining.md"
CARD = "README.md"
FACTS = ("log.jsonl", "metrics.json", "environment.json", "recipe.toml", "recordings.csv")


def main(words: list[str]) -> None:
    if len(words) != 1:
        sys.exit("usage: python studies/pretraining/ship.py RUN")
    try:
        ship(Path(words[0]))
    except OSError as error:
        sys.exit(f"{error}; run `ecgtune pretrain ... --export-float16` to its end first")
    print(f"update {BUNDLED / CARD} by hand: data, training, curves and sha256 are those of the last run")


def ship(run: Path, bundled: Path = BUNDLED, kept: Path = KEPT, page: Path = PAGE) -> None:
    """Copy `run` to the two folders and update the page. Raises OSError if a file is missing."""
    encoder = {name: (run / "float16" / name).read_bytes() for name in ("model.safetensors", "model.json")}
    encoder["curves.svg"] = (run / "figures" / "curves.svg").read_bytes()
    encoder[CARD] = (bundled / CARD).read_bytes()
    facts = {name: (run / name).read_bytes() for name in FACTS}
    texts = {"data": data_text(run), "run": run_table(run, json.loads(encoder["model.json"])["sha256"])}
    for place, files in ((bundled, encoder), (kept, facts)):
        replace_folder(place, lambda folder, files=files: _fill(folder, files))
    for name, text in texts.items():
        replace_section(page, name, text)


def _fill(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


def data_text(run: Path) -> str:
    """Return a description of the recordings and crops of a finished run, for the page."""
    found = json_value(run / "metrics.json")["data"]
    seconds = tomllib.loads((run / "recipe.toml").read_text(encoding="utf-8"))["crops"]["window_seconds"]
    count = found["recordings"]
    return (
        f"The {count['left_out']:,} recordings that results are measured on were excluded by name. Of the others, "
        f"{count['train']:,} ({found['training_hours']:.1f} h) train\nand {count['val']:,} give the validation loss; "
        f"{count['short']:,} were too short for a crop, {count['flat']:,} flat and {count['clipped']:,} clipped. Each "
        f"epoch has\n{found['crops_per_epoch']:,} crops of {seconds:g} s at new positions.\n"
    )


def run_table(run: Path, sha256: str) -> str:
    """The facts of a finished run, whatever its objective logs. sha256: of the bundled weights."""
    metrics, environment = json_value(run / "metrics.json"), json_value(run / "environment.json")
    log: list[dict[str, Any]] = [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]
    training, last = metrics["training"], metrics["last"]
    terms = [term for term in logged_terms(log)[0] if term != "loss" and f"val_{term}" in last]
    facts = {
        "epochs, steps of batch size": f"{training['epochs']}, {training['steps']:,} of {training['batch_size']}",
        "time": f"{training['seconds'] / 60:.0f} min on {environment['processor']}, {training['precision']}",
        "validation loss of the last epochs": ", ".join(f"{row['val_loss']:.4f}" for row in log[-4:]),
        "other values, last epoch": ", ".join(f"{term_title(t).lower()} {last[f'val_{t}']:.3f}" for t in terms),
        "parameters": f"{metrics['parameters']:,}",
        "sha256 of the weights": f"`{sha256}`",
        "date": environment["created"][:10],
    }
    return markdown(("", ""), facts.items())


if __name__ == "__main__":
    main(sys.argv[1:])
