"""Keep the results of a comparison in the repository, and list all that are kept.

    python benchmarks/publish.py runs/compare cinc2017-first

copies results.json and table.csv of the comparison folder to benchmarks/results/cinc2017-first/ and writes
benchmarks/results/README.md anew from every results.json there: command, date, machine, table.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

from ecgtune.models.ecg_fm import BUNDLED as EMBEDDED
from ecgtune.reporting.tables import table_markdown
from ecgtune.utils.files import read_json, write_text

RESULTS = Path(__file__).parent / "results"
INTRODUCTION = """# Results

Written by `python benchmarks/publish.py <comparison folder> <name>`; every table is made from the `results.json` beside
it. `../shared` is a folder of public recordings beside the checkout (PhysioNet/CinC Challenge 2017, ODC-By 1.0).
"""


def section(name: str) -> str:
    """Command, circumstances and table of one kept comparison."""
    results = read_json(RESULTS / name / "results.json")
    machine = results["machine"]
    device = machine["accelerator"] or f"{machine['processor']}, {machine['threads']} threads"
    return (
        f"\n## {name}\n\n```\n{results['command']}\n```\n\n"
        f"{results['created'][:10]}, {device}, PyTorch {machine['versions']['torch']}. "
        f"Model {results['model']}, weights {results['weights']}.{_since(results)}\n\n{table_markdown(results)}"
    )


def _since(results: dict[str, Any]) -> str:
    """What to type today for weights that the model's name meant then."""
    model = results["model"]
    if not results["weights"].startswith("random") or not (EMBEDDED / model / "model.safetensors").is_file():
        return ""
    return (
        f" {model} had no pretrained weights yet: today the same command starts from those; with "
        f"`--model {model}-random` it starts from the random ones of then."
    )


def main() -> None:
    if len(sys.argv) == 3:
        folder, target = Path(sys.argv[1]), RESULTS / sys.argv[2]
        target.mkdir(parents=True, exist_ok=True)
        for file in ("results.json", "table.csv"):
            shutil.copyfile(folder / file, target / file)
    elif len(sys.argv) != 1:
        sys.exit("usage: python benchmarks/publish.py [<comparison folder> <name>]")
    names = sorted(path.parent.name for path in RESULTS.glob("*/results.json"))
    write_text(RESULTS / "README.md", INTRODUCTION + "".join(map(section, names)))
    print(f"wrote {RESULTS / 'README.md'}")


if __name__ == "__main__":
    main()
