"""Contents of the files of an auto's folder."""

from typing import Any

from ecgtune.workflows.auto.trial import name_of

READING = {"kind": "windows", "path": "windows.csv"}
#: fingerprint.json of 5,000 windows of a file.
FINGERPRINT: dict[str, Any] = {
    "kind": "windows",
    "request": READING,
    "reading": READING,
    "sha256": "0" * 64,
    "sampling_rates": {"100": 5000},
    "leads": {"II": 5000},
    "seconds": {"min": 6.0, "p5": 6.0, "median": 6.0, "max": 6.0},
    "recordings": None,
    "task": "binary",
    "windows": 5000,
    "labels": {"0": {"positives": 2500, "known": 5000}, "1": {"positives": 2500, "known": 5000}},
    "group": "patient",
    "groups": 1000,
    "sites": None,
    "split": None,
    "duplicates": [],
    "positive": "positive class: 1 (as given)",
    "assumed": ["the sampling rate is 100 Hz"],
    "quality": {"notes": []},
    "problems": [],
}
JOB = {"method": "probe", "encoder": "e", "windows": None, "validated": None, "epochs": 2, "seed": 0, "pieces": None}

#: Entries of result.json beside those of the job.
FACTS = {"score": 0.8, "train_windows": 100, "trainable": 10, "trainable_fraction": 0.1, "ended": False, "spent": 1.0}
FACTS |= {"trained_epochs": 2, "step": 0.1}


def job(number: int = 0, **values: Any) -> dict[str, Any]:
    """job.json of a round of a training."""
    made = JOB | values
    return {**made, "name": name_of(made), "round": number, "seconds": values.get("seconds", 60.0)}


def trained(number: int = 0, **values: Any) -> dict[str, Any]:
    """result.json of a round of a training."""
    return {**job(number, **values), **FACTS, **values}


def results(trials: list[dict[str, Any]], encoder: str = "e") -> dict[str, Any]:
    """do/results.json."""
    rung = {"by": "encoder", "trials": [], "rounds": 1, "seconds": 9.0, "scores": {encoder: 0.8}}
    return {"encoder": encoder, "rungs": [rung], "missing": {}, "trials": trials}


def choice(**values: Any) -> dict[str, Any]:
    """choice.json of a probe."""
    of = trained()
    row = {key: of[key] for key in ("name", "method", "encoder", "windows", "epochs", "seed", "train_windows")}
    row |= {"trainable": 10, "trainable_fraction": 0.1, "title": "probe", "seconds": 1.0, "ended": False}
    row |= {"score": 0.8, "ci_low": 0.7, "ci_high": 0.9}
    rest = {"metric": "auroc", "validated": 20, "groups": 20, "reason": "it is the only one", "difference": None}
    runs = {"chosen": of["name"], "members": [of["name"]], "runs": [f"do/{of['name']}/round-0"], "ensemble": None}
    return {"budget": 1800.0, "candidates": [row], **rest, **runs, **values}
