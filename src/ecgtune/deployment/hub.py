"""Runs for other people: a model repository on the Hugging Face hub, without data of the recordings.

A repository holds what `load_run` needs (`recipe.toml`, `metrics.json`, `best/`), the model card, the encoder where it
is a file of its own, and an exported file where one is given. Names of recordings, predictions, and paths of this
machine stay here.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecgtune.deployment.run import ENCODER, Run, load_run
from ecgtune.errors import RunError, SettingError
from ecgtune.io.again import WITHOUT_DATA
from ecgtune.models.checkpoint import SETTINGS_FILE, WEIGHTS_FILE
from ecgtune.models.hub import is_repository
from ecgtune.models.registry import find_model, licence_of
from ecgtune.reporting.writing import CARD, write_run
from ecgtune.runtime.model import Model
from ecgtune.runtime.predictor import Predictor
from ecgtune.runtime.verification import Verified
from ecgtune.text import reason_of
from ecgtune.training.run_folder import RunFolder
from ecgtune.training.schemas import SavedModel
from ecgtune.utils.files import file_sha256, temporary_folder, write_json, write_text
from ecgtune.utils.stored import REMOVE, read_json, read_text

#: What metrics are called on the hub.
_METRICS = {"accuracy": "accuracy", "f1": "f1", "auroc": "roc_auc"}


def push_to_hub(
    run: Predictor | str | Path,
    repository: str,
    *,
    exported: str | Path | None = None,
    private: bool = True,
    token: str | None = None,
) -> str:
    """Upload a run as the model repository `repository` ("user/name"), which `load_run("user/name")` loads.

    exported: a file of `export` of this run, which goes along; the model card states its verification. private: of a
    repository that is new; one that exists stays as it is. token: of the hub; the stored one when not given.

    The card is the run's README.md, with the metadata of the hub in front. Names of recordings, predictions per window
    and paths of this machine are left out. Returns the address of the repository. Raises SettingError for another name
    or a file of another run, RunError when the hub refuses it or cannot be reached.
    """
    from huggingface_hub import HfApi

    if not is_repository(repository):
        raise SettingError(f"{repository!r} is no name on the hub; it is like user/name")
    loaded = run if isinstance(run, Predictor) else load_run(run)
    if not isinstance(loaded, Run):
        raise SettingError("several runs are no one model on the hub; push the folder of each run")
    with temporary_folder() as place:
        stage(loaded, place, repository, None if exported is None else Path(exported))
        hub = HfApi(token=token)
        try:
            address = hub.create_repo(repository, private=private, exist_ok=True)
            hub.upload_folder(
                repo_id=repository, folder_path=place, commit_message=f"{loaded.metrics['name']}, ecgtune"
            )
        except Exception as error:  # errors of several libraries
            raise RunError(f"{repository} cannot be pushed to the hub ({reason_of(error)})") from error
    return str(address)


def stage(run: Run, folder: Path, repository: str, exported: Path | None = None) -> None:
    """Write the files of the repository into `folder`. Arguments and errors are those of `push_to_hub`."""
    saved = read_json(run.folder / "best" / "model.json", SavedModel)
    encoder = Path(saved["name"])
    own = encoder.is_absolute()
    paths = _paths_of(run, encoder if own else None)
    shutil.copytree(run.folder / "best", folder / "best")
    for file in (RunFolder(run.folder).certainty, RunFolder(run.folder).novelty):
        if file.is_file():
            shutil.copy2(file, folder / file.name)
    if own and run.model.attached.needs_encoder_weights:
        _copy_encoder(encoder, folder / ENCODER)
    entry = None if own else find_model(saved["name"])
    base = getattr(entry[1], "repository", None) if entry else None
    adapter = folder / "best" / "adapter_config.json"
    if adapter.is_file():
        known = read_json(adapter, dict[str, Any])
        write_json(adapter, known | {"base_model_name_or_path": base or (None if own else saved["name"])})
    write_json(folder / "best" / "model.json", _without(saved, paths))
    metrics = dict(run.metrics)
    metrics["data"] = metrics["data"] | {"reading": {"kind": WITHOUT_DATA}}
    write_json(folder / "metrics.json", _without(metrics, paths))
    write_text(folder / "recipe.toml", _without(read_text(run.folder / "recipe.toml"), paths))
    attached = "" if exported is None else _attach(run, exported, folder)
    write_text(folder / CARD, _front(run, base) + _card(run, repository, paths) + attached)


def _paths_of(run: Run, encoder: Path | None) -> dict[str, str]:
    """Paths of this machine in the files of a run, and what stands in their place; the longest first."""
    found = [os.path.realpath(run.folder), *([] if encoder is None else [str(encoder)])]
    found += [each for each in _strings(run.metrics["data"]) if Path(each).is_absolute()]
    return {each: Path(each).name for each in sorted(found, key=len, reverse=True)}


def _strings(values: Any) -> list[str]:
    parts = list(values.values()) if isinstance(values, Mapping) else values
    if isinstance(parts, str):
        return [parts]
    return [text for each in parts for text in _strings(each)] if isinstance(parts, (list, tuple)) else []


def _without(values: Any, paths: Mapping[str, str]) -> Any:
    """Plain values without the paths."""
    text = json.dumps(values, ensure_ascii=False)
    for path, name in paths.items():
        text = text.replace(json.dumps(path, ensure_ascii=False)[1:-1], name)
    return json.loads(text)


def _copy_encoder(encoder: Path, target: Path) -> None:
    target.mkdir()
    for file in [encoder / WEIGHTS_FILE, encoder / SETTINGS_FILE] if encoder.is_dir() else [encoder]:
        shutil.copy2(file, target / file.name)


def _card(run: Run, repository: str, paths: Mapping[str, str]) -> str:
    """The text of the run's card, which loads it from the hub."""
    file = run.folder / CARD
    if not file.is_file():
        write_run(run.folder)
    lines = read_text(file, REMOVE).splitlines()
    for number, line in enumerate(lines):
        if line.startswith("run = ecgtune.load_run("):
            lines[number] = f'run = ecgtune.load_run("{repository}")'
    return _without("\n".join(lines) + "\n", paths)


def _front(run: Run, base: str | None) -> str:
    """The metadata of the hub at the head of a card."""
    from huggingface_hub import EvalResult, ModelCardData

    licence = run.model.weights.licence or licence_of(run.model.name)
    values = {name: run.metrics["window"]["metrics"][name]["value"] for name in _METRICS}
    results = [
        EvalResult(
            task_type="time-series-classification",
            dataset_type="private",
            dataset_name="test windows of the run",
            metric_type=_METRICS[name],
            metric_name=name,
            metric_value=value,
        )
        for name, value in values.items()
        if value is not None
    ]
    data = ModelCardData(
        library_name="ecgtune",
        tags=["ecg", "electrocardiogram", run.model.base_encoder.architecture, run.metrics["name"]],
        license=None if licence == "unknown" else licence.lower().replace(" ", "-"),
        base_model=base,
        model_name=run.metrics["name"],
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml()}\n---\n"


def _attach(run: Run, exported: Path, folder: Path) -> str:
    """Copy an exported file, and return the section of the card about it."""
    metadata = Model(exported).metadata
    if "members" in metadata or metadata["run"]["sha256"] != file_sha256(run.folder / "metrics.json"):
        raise SettingError(f"{exported}: is the export of another run than {run.folder}; export this one")
    shutil.copy2(exported, folder / exported.name)
    report = metadata["verification"]
    write_json(folder / f"{exported.stem}.verification.json", report)
    facts = "".join(f"- {sentence}\n" for sentence in Verified(exported, report).sentences())
    size = exported.stat().st_size / 1e6
    return (
        f"\n## Exported file\n\n`{exported.name}` ({size:.1f} MB, {report['precision']}) needs no torch: "
        f'`ecgtune predict {exported.name} recordings`, or `ecgtune.runtime.Model("{exported.name}")`.\n\n{facts}'
    )
