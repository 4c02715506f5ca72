"""Readers of the folders of finished runs, pretrainings and comparisons (docs/architecture.md).

All text of their files is made printable here: it is for reports, figures and cards only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecgtune.errors import EcgtuneError, RunError
from ecgtune.text import printable, printable_values, reason_of, shown
from ecgtune.training.run_folder import REPEAT, check_format, read_log
from ecgtune.training.schemas import CertaintyFile, EncoderFacts, Environment, Metrics, PretrainingMetrics, Results
from ecgtune.utils.schema import check_schema
from ecgtune.utils.stored import ELSEWHERE, is_there, read_json, read_text, read_toml

FINE_TUNING, PRETRAINING = "fine-tuning", "pretraining"
#: Folders of the encoder of a pretraining, and the number format of its tensors there.
ENCODERS = {"best": "float32", "float16": "float16"}


@dataclass(frozen=True)
class FinishedRun:
    """A finished run: its folder, metrics.json, log.jsonl, recipe.toml as text, environment.json, calibration.json
    and certainty.json.

    `log` has one entry per epoch; it is empty for a run without training. `calibration` and `certainty` are None for a
    run without them.
    """

    folder: Path
    metrics: dict[str, Any]
    log: list[dict[str, Any]]
    recipe: str
    environment: dict[str, Any]
    calibration: dict[str, Any] | None
    certainty: dict[str, Any] | None


@dataclass(frozen=True)
class Comparison:
    """A comparison folder: results.json and the runs of each method in the order of its seeds.

    Runs of baselines are not read, because the reports need only their rows.
    """

    folder: Path
    results: dict[str, Any]
    runs: dict[str, list[FinishedRun]]

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """Return the rows of results.json of one kind, "method" or "baseline"."""
        return [row for row in self.results["rows"] if row["kind"] == kind]


@dataclass(frozen=True)
class EncoderFile:
    """One stored form of a pretrained encoder: its folder inside the run, dtype, sha256 and size in bytes."""

    folder: str
    dtype: str
    sha256: str
    size: int


@dataclass(frozen=True)
class FinishedPretraining(FinishedRun):
    """A finished pretraining: a run, recipe.toml parsed (`settings`), the encoder's configuration, its files."""

    settings: dict[str, Any]
    architecture: str
    config: dict[str, Any]
    files: tuple[EncoderFile, ...]

    @property
    def sampling_rate(self) -> float:
        """Rate of the encoder in Hz; older files have no window."""
        return self.metrics["window"]["sampling_rate"] if "window" in self.metrics else self.config["sampling_rate"]


@contextmanager
def readable(folder: Path | str) -> Iterator[None]:
    """Raise RunError where the files of a folder, which fit their schemas, lack what only a report shows."""
    try:
        yield
    except (EcgtuneError, OSError):
        raise
    except Exception as error:
        raise RunError(
            f"{folder}: its files do not hold what the report shows ({reason_of(error)}); they are damaged, or of"
            f" another version; {ELSEWHERE}"
        ) from error


def read_run(folder: Path | str) -> FinishedRun:
    """Read a finished run folder. Raises RunError for an unfinished or unreadable one, and for a pretraining."""
    return _read(Path(folder), FINE_TUNING)


def read_pretraining(folder: Path | str) -> FinishedPretraining:
    """Read the folder of a finished pretraining. Raises RunError as `read_run` does, and for a fine-tuning."""
    folder = Path(folder)
    run = _read(folder, PRETRAINING)
    if not run.log:
        raise RunError(f"{folder} has no log.jsonl, which the curves need; pretrain again in another folder")
    names = [name for name in ENCODERS if name == "best" or (folder / name).is_dir()]
    models = [_json(folder / name / "model.json", EncoderFacts) for name in names]
    return FinishedPretraining(
        **vars(run),
        settings=printable_values(read_toml(folder / "recipe.toml")),
        architecture=models[0]["architecture"],
        config=models[0]["config"],
        files=tuple(
            EncoderFile(name, ENCODERS[name], model["sha256"], _size(folder / name / "model.safetensors"))
            for name, model in zip(names, models, strict=True)
        ),
    )


def _read(folder: Path, kind: str) -> FinishedRun:
    metrics_file = folder / "metrics.json"
    if not metrics_file.is_file():
        raise RunError(f"{folder} has no metrics.json, so the run is not finished; {REPEAT}")
    metrics = _json(metrics_file, Any)
    check_format(metrics_file, metrics)
    found = metrics.get("kind", FINE_TUNING)
    if found != kind:
        raise RunError(f"{folder} holds a {found}, not a {kind}; give the folder of a {kind}")
    check_schema(
        metrics, PretrainingMetrics if kind == PRETRAINING else Metrics, str(metrics_file), RunError, ELSEWHERE
    )
    log_file = folder / "log.jsonl"
    epochs = metrics["training"]["epochs"] or 0
    log = read_log(log_file, epochs) if is_there(log_file) else []
    if log and [row["epoch"] for row in log] != list(range(1, epochs + 1)):
        raise RunError(f"{log_file}: its epochs are not those of metrics.json, 1 to {epochs}; {ELSEWHERE}")
    environment = _json(folder / "environment.json", Environment if kind == PRETRAINING else dict[str, Any])
    file = folder / "calibration.json"
    calibration = _json(file, dict[str, Any]) if is_there(file) else None
    file = folder / "certainty.json"
    certainty = _json(file, CertaintyFile) if is_there(file) else None
    recipe = read_text(folder / "recipe.toml")
    return FinishedRun(folder, metrics, log, printable(recipe, lines=True), environment, calibration, certainty)


def read_comparison(folder: Path | str, results: dict[str, Any] | None = None) -> Comparison:
    """Read a comparison folder; `results` replaces results.json before it is written."""
    folder = Path(folder)
    file = folder / "results.json"
    if results is None and not file.is_file():
        raise RunError(f"{folder} has no results.json; give a folder written by 'ecgtune compare'")
    content: dict[str, Any] = _json(file, Any) if results is None else printable_values(results)
    check_format(file, content)
    check_schema(content, Results, str(file), RunError, ELSEWHERE)
    methods = [row for row in content["rows"] if row["kind"] == "method"]
    if not methods:
        raise RunError(f"{file} has no row of a method; {ELSEWHERE}")
    if len({row["method"] for row in content["rows"]}) < len(content["rows"]):
        raise RunError(f"{file} has two rows of one name; {ELSEWHERE}")
    named = [_place(file, run) for row in methods for run in row["runs"]]
    if len(set(named)) < len(named):
        raise RunError(f"{file} names a run twice; {ELSEWHERE}")
    runs = {row["method"]: [read_run(folder / run) for run in row["runs"]] for row in methods}
    return Comparison(folder, content, runs)


def _place(file: Path, run: str) -> Path:
    """Return the folder of a run that a file beside it names. Raises RunError where there is none."""
    try:
        return (file.parent / run).resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or reason_of(error)
        raise RunError(f"{file}: the run {shown(run)} cannot be found ({reason}); {ELSEWHERE}") from None


def _size(file: Path) -> int:
    if not file.is_file():
        raise RunError(f"{file} is missing; pretrain again in another folder")
    return file.stat().st_size


def _json(file: Path, schema: Any) -> Any:
    return printable_values(read_json(file, schema))
