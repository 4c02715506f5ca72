"""PTB-XL's five superclasses by five-fold cross-validation over patients, from WFDB files and the table of labels.

    python benchmarks/real_tasks/ptbxl.py ../shared/data/ptbxl500_meta.csv ../shared/data/ptbxl500_500hz.npz

compares a frozen probe, LoRA and full fine-tuning of ecg-fm-tiny with two baselines on each fold (recipe
ptbxl-superclasses; lead II, because the encoder reads one lead), and keeps a row for each fold, method and label in
benchmarks/results/real_tasks/ptbxl.csv; means over folds and the table follow from them. In the place of the NPZ file
the folder of PTB-XL's own files can be given; the NPZ file is unpacked into WFDB files like those, and both are read by
`read_records`. Stopped, the same command goes on where it was.

Two things are decided in the table of labels before anything is read. A recording with none of the superclasses has no
label in this task (as in Strodthoff et al., IEEE J. Biomed. Health Inform. 25, 2021), so its cells are empty. Of
recordings with the same signal under two patients both are left out: they are refused across folds, and their patient
is unknown.
"""

import argparse
import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import wfdb
from ptbxl_summary import COLUMNS, summarised, table
from real_rows import RESULTS, Row, cells_of, facts_of, into_page, kept_runs, read_rows, replace_rows, write_facts

import ecgtune
from ecgtune.data.dataset import Dataset
from ecgtune.data.folds import k_folds
from ecgtune.io.label_table import TableColumns
from ecgtune.io.records.reading import RecordSettings, read_records
from ecgtune.recipe.recipe import load_recipes
from ecgtune.utils.files import write_text

LABELS = ("NORM", "MI", "STTC", "CD", "HYP")
MODEL_RATE = 100.0  # Hz, of ecg-fm-tiny
RECIPE, FOLDS = "ptbxl-superclasses", 5
KEY = ("fold", "method", "label")


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("table", nargs="?", type=Path, help="ptbxl_database.csv with the superclasses as 0/1 columns")
    parser.add_argument("records", nargs="?", type=Path, help="NPZ file of the recordings, or PTB-XL's folder")
    parser.add_argument("--out", type=Path, default=Path("runs/real_tasks/ptbxl"))
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    file = RESULTS / "ptbxl.csv"
    if asked.table is not None:
        folder = asked.records
        if folder.suffix == ".npz":
            folder = unpacked(asked.records, asked.table, asked.out / "records")
        dataset, left_out = read(asked.table, folder, asked.out / "labels.csv")
        data = {"sha256": dataset.source.sha256, "recordings": len(dataset), "notes": dataset.source.notes}
        facts = {"data": data, "left_out": left_out, "recipe": RECIPE, "folds": FOLDS, "split_by": "patient"}
        for number in run_folds(dataset, asked.out, asked.precision, file):
            rounds = [asked.out / f"round-{done}" for done in range(1, number + 1)]
            replace_rows(file, summarised(rounds, LABELS), COLUMNS, KEY)
            write_facts(file.with_suffix(".json"), {**facts, "folds_done": number, "seeds": [0]})
            into_page("ptbxl", table(read_rows(file), LABELS, FOLDS))
    into_page("ptbxl", table(read_rows(file), LABELS, FOLDS))


def unpacked(file: Path, table: Path, folder: Path) -> Path:
    """The recordings of an NPZ file (`X`, microvolts) as WFDB files under the names that the table gives them."""
    with table.open(newline="", encoding="utf-8") as lines:
        names = [row["filename_hr"] for row in csv.DictReader(lines)]
    with np.load(file) as arrays:
        signal, leads = arrays["X"], arrays["leads"].tolist()
    for name, values in zip(names, signal, strict=True):
        place = folder / name
        if place.with_suffix(".hea").is_file():  # it is written after the samples
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        count = len(leads)
        wfdb.wrsamp(
            place.name,
            fs=500,
            units=["mV"] * count,
            sig_name=leads,
            d_signal=values.T.astype(np.int64),
            fmt=["16"] * count,
            adc_gain=[1000] * count,
            baseline=[0] * count,
            write_dir=str(place.parent),
        )
    return folder


def read(table: Path, folder: Path, own_table: Path) -> tuple[Dataset, dict[str, str]]:
    """The windows, and why recordings are left out of them. Writes the table that is read to `own_table`."""
    with table.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    everything = _read(rows, folder, own_table)
    patient = dict(zip(everything.recording.tolist(), everything.group.tolist(), strict=True))
    reasons = {
        name: f"the same signal as {other}, which is of another patient"
        for pair in everything.source.near_duplicates
        for name, other in (pair, pair[::-1])
        if patient[name] != patient[other]
    }
    told = [row for row in rows if row["filename_hr"] not in reasons]
    labelled = [row | ({} if "1" in map(row.get, LABELS) else dict.fromkeys(LABELS, "")) for row in told]
    reasons |= {row["filename_hr"]: "none of the superclasses" for row in labelled if not row[LABELS[0]]}
    return _read(labelled, folder, own_table), reasons


def _read(rows: list[Row], folder: Path, own_table: Path) -> Dataset:
    names = ("filename_hr", "patient_id", *LABELS)
    write_text(own_table, "\n".join([",".join(names), *(",".join(row[name] for name in names) for row in rows)]) + "\n")
    return read_records(
        own_table,
        folder,
        columns=TableColumns(recording="filename_hr", patient="patient_id", labels=LABELS),
        settings=RecordSettings(sampling_rate=MODEL_RATE, leads=("II",), window=10.0, workers=1),
        skipped=own_table.with_name("skipped.csv"),
    )


def run_folds(dataset: Dataset, out: Path, precision: str, file: Path) -> Iterator[int]:
    """Compare on each fold and keep its rows; gives the number of each as it is done."""
    arms = [replace(arm, trainer=replace(arm.trainer, precision=precision)) for arm in load_recipes(RECIPE)]
    for number, fold in enumerate(k_folds(dataset, FOLDS), start=1):
        folder = out / f"round-{number}"
        ecgtune.compare(fold, arms, out=folder, seeds=1, quiet=True)
        rows: list[Row] = []
        for run in kept_runs(folder):
            whole = run.metrics["window"]
            row = {"fold": str(number), "method": run.method, **facts_of(run.metrics), "recordings": str(whole["n"])}
            rows.append({**row, "label": "macro", **cells_of("auroc", whole["metrics"]["auroc"])})
            for name, found in whole["labels"].items():
                counts = {"positives": str(found["positives"]), "known": str(found["known"])}
                auroc = {} if found["metrics"] is None else cells_of("auroc", found["metrics"]["auroc"])
                rows.append({**row, "label": name, **counts, **auroc})
        replace_rows(file, rows, COLUMNS, KEY)
        print(f"fold {number} of {FOLDS} is there", flush=True)
        yield number


if __name__ == "__main__":
    main()
