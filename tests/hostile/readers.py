"""Readers of the hostile inputs of commands, as their process calls them."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable
from pathlib import Path

Reader = Callable[[Path], object]


def _start() -> Reader:
    """The weights of `pretrain --from`."""
    from ecgtune.pretraining.start import start_checkpoint
    from ecgtune.recipes.pretraining import StartWeights

    return lambda path: start_checkpoint(StartWeights(str(path)))


def _auto_data() -> Reader:
    """The data of an auto."""
    from ecgtune.config.auto import AutoSettings
    from ecgtune.workflows.auto.auto import auto

    place = Path(tempfile.mkdtemp(prefix="ecgtune-hostile-"))
    return lambda path: auto(path, AutoSettings(until="look"), out=place / path.parent.name)


def _evaluated() -> Reader:
    from ecgtune.config.commands import EvaluateSettings
    from ecgtune.io.subgroup_columns import read_columns
    from ecgtune.io.windows import WindowSettings, read_dataset
    from ecgtune.runtime.model import Model
    from ecgtune.workflows.evaluate import evaluate
    from hostile.exported import exported

    place = Path(tempfile.mkdtemp(prefix="ecgtune-hostile-"))
    exported()(place / "model.onnx")
    run, settings = Model(place / "model.onnx"), EvaluateSettings(by=("sex", "age"), map="0=a,1=b")

    def read(path: Path) -> object:
        data = read_dataset(path, sampling_rate=100, settings=WindowSettings(cache=False))
        return evaluate(run, data, settings, out=place / "out", columns=read_columns(path, data, settings.by))

    return read


def _program() -> Reader:
    from ecgtune.workflows.predict import open_predictor

    return open_predictor


def _prints() -> Reader:
    import scipy.spatial  # noqa: F401  # loaded outside of the measurement

    from ecgtune.workflows.overlap import data_overlap

    return lambda path: data_overlap(path, path)


def _import() -> Reader:
    from ecgtune.utils.extensions import load_file

    importlib.import_module("ecgtune.models.registry")
    return load_file


def _pretraining() -> Reader:
    from ecgtune.recipes.pretraining import load_pretraining_recipe

    return lambda path: load_pretraining_recipe(str(path))


def _map() -> Reader:
    import numpy as np

    from ecgtune.evaluation.label_mapping import map_labels, parsed_mapping

    def read(path: Path) -> object:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        return map_labels(np.array([0, 1]), ("0", "1"), parsed_mapping(text), ("0", "1"), "binary")

    return read


def _request() -> Reader:
    """A request to a server of an exported file; a refusal is raised as an error of ours."""
    from starlette.testclient import TestClient

    from ecgtune.errors import EcgtuneError
    from ecgtune.runtime.model import Model
    from ecgtune.workflows.serve import application
    from hostile.exported import exported

    place = Path(tempfile.mkdtemp(prefix="ecgtune-hostile-"))
    exported()(place / "model.onnx")
    client = TestClient(application({"model": Model(place / "model.onnx")}), base_url="http://127.0.0.1")
    client.post("/predict", json={"signal": [[0.1, 0.2] * 350], "sampling_rate": 100, "unit": "mV"}).raise_for_status()

    def read(path: Path) -> object:
        answer = client.post("/predict", content=path.read_bytes(), headers={"content-type": "application/json"})
        if 400 <= answer.status_code < 500:
            raise EcgtuneError(answer.json()["error"])
        return answer.raise_for_status()

    return read


def _auto() -> Reader:
    """The files of an auto's folder, each read as the step that needs it reads it."""
    from ecgtune.utils.progress import ProgressBar
    from ecgtune.workflows.auto.budget import Budget
    from ecgtune.workflows.auto.do import read_results
    from ecgtune.workflows.auto.look import read_fingerprint
    from ecgtune.workflows.auto.plan_file import read_choice, read_plan
    from ecgtune.workflows.auto.trial import read_job, read_trial

    readers: dict[str, Reader] = {
        "fingerprint.json": lambda path: read_fingerprint(path.parent),
        "spent.json": lambda path: Budget(path.parent, ProgressBar(shown=False)),
        "plan.toml": lambda path: read_plan(path.parent),
        "choice.json": lambda path: read_choice(path.parent),
        "results.json": lambda path: read_results(path.parents[1]),
        "job.json": lambda path: read_job(path.parent),
        "result.json": lambda path: read_trial(path.parent),
    }
    return lambda path: readers[path.name](path)


def _sweep() -> Reader:
    """The database of a sweep that resumes; a first one loads what optuna needs."""
    from hostile.sweeps import open_sweep

    with tempfile.TemporaryDirectory() as place:
        open_sweep(Path(place) / "sweep.db")
    return open_sweep


INPUT_READERS: dict[str, Callable[[], Reader]] = {
    "start": _start,
    "auto data": _auto_data,
    "evaluated": _evaluated,
    "program": _program,
    "prints": _prints,
    "import": _import,
    "pretraining": _pretraining,
    "map": _map,
    "request": _request,
    "auto": _auto,
    "sweep": _sweep,
}
