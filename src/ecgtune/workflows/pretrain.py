"""Recordings without labels in, a run folder with a pretrained encoder out."""

from __future__ import annotations

import hashlib
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from ecgtune.config.base import check_seed, check_settings, require
from ecgtune.config.commands import PretrainSettings
from ecgtune.data.leads import lead_argument
from ecgtune.errors import RunError
from ecgtune.io.readers.base import ReadOptions
from ecgtune.io.recordings import Recordings, held_out_records, read_recordings
from ecgtune.models.base import Checkpoint
from ecgtune.pretraining.crops import Selection, select
from ecgtune.pretraining.objective import PretrainingObjective
from ecgtune.pretraining.start import (
    OBJECTIVES,
    continuing_recipe,
    make_objective,
    recording_input,
    start_checkpoint,
    window_shape,
)
from ecgtune.recipes.pretraining import Pretraining, StartWeights, load_pretraining_recipe
from ecgtune.reporting.writing import CARD, card_is_edited, write_pretraining
from ecgtune.text import utf8
from ecgtune.training.callbacks import ProgressCallback
from ecgtune.training.inference import choose_device
from ecgtune.training.loop import TrainingResult, count_steps, train
from ecgtune.training.precision import check_precision, resolved_precision
from ecgtune.training.processes import Processes
from ecgtune.training.run_folder import RESULT_FORMAT, RunFolder, begin_run, check_run
from ecgtune.training.schemas import EncoderFacts
from ecgtune.utils.csv_cells import csv_text
from ecgtune.utils.files import check_space, replace_folder, write_json, write_text
from ecgtune.utils.formatting import counted
from ecgtune.utils.locks import exclusive
from ecgtune.utils.progress import ProgressBar
from ecgtune.utils.stored import read_json
from ecgtune.workflows.environment import command_line, machine, now

DEFAULTS = PretrainSettings()
FLOAT16 = "float16"
MOST_NAMED = 8  # files of recordings that metrics.json names one by one


def pretrain(
    recordings: str | Path,
    recipe: Pretraining | str | Path | None = None,
    settings: PretrainSettings = DEFAULTS,
    *,
    out: str | Path,
    seed: int = 0,
    resume: bool = False,
    wait: bool = False,
) -> Path:
    """Pretrain an encoder on `recordings`, and return the folder that `load_model` takes.

    recordings: a file or folder in a layout of `io.recordings`. recipe: a name, a TOML file or a `Pretraining`;
    "pretrain-tiny", or with `settings.model` the recipe of the weights' own objective, when not given. settings: the
    weights to continue from, whose licence and terms stay those of the result; how recordings are read. out: the run
    folder; `resume` continues the run in it, on the same bits. seed: of weights, crops, masks and the order of an
    epoch. A finished run gets a report and a model card; an edited card is never overwritten. wait: while another
    process uses the folder, instead of an error. Under torchrun, all processes train one encoder.

    Raises DataError, SettingError or RunError, one line each; RunError also when the objective collapses.
    """
    check_settings(settings, PretrainSettings)
    recipe = pretraining_recipe(recipe, settings)
    folder = RunFolder(Path(out), title=recipe.name)
    check_seed(seed)
    check_precision(choose_device(recipe.trainer.device), recipe.trainer.precision)
    processes = Processes(recipe.trainer.device)
    with (
        exclusive(folder.path, command_line(), result="recipe.toml", wait=wait) if processes.is_main else nullcontext()
    ):
        weights = start_checkpoint(recipe.start)
        rate, resampling = recording_input(recipe, weights)
        data = processes.main_process_first(
            lambda: read_recordings(recordings, sampling_rate=rate, resampling=resampling, options=_options(settings))
        )
        left_out = held_out_records(Path(settings.leave_out)) if settings.leave_out else frozenset()
        crop = window_shape(recipe, weights, data.leads).samples * OBJECTIVES[recipe.objective.name].segments
        selection = select(data, left_out, crop, recipe.crops)
        fingerprint = _fingerprint(data, left_out, seed, settings, weights)
        fingerprint |= resolved_precision(choose_device(recipe.trainer.device), recipe.trainer.precision)
        origin = {"objective": str(recipe.objective), "recipe": recipe.name, "seed": seed, "data": data.source.sha256}
        objective = processes.main_process_first(
            lambda: make_objective(data, selection, recipe, seed=seed, origin=origin, start=weights)
        )
        work = count_steps(objective.items, recipe.optimisation) * recipe.optimisation.batch_size

        def begin() -> None:
            if resume and not folder.recipe.is_file():
                raise RunError(f"{folder.path} holds no run to continue; leave --resume out to start one")
            check_run(folder, recipe, fingerprint, resume=resume)
            if not folder.finished:
                # The state holds the weights and Adam's two moments, beside the old one; then best/ beside the old one.
                check_space(folder.path, 8 * sum(tensor.nbytes for tensor in objective.tensors().values()))
            begin_run(folder, recipe, fingerprint)

        processes.on_main_process(begin)
        with ProgressBar(shown=processes.is_main) as progress:
            progress.note(f"{folder.title}: {selection.sentence()}; {counted(objective.items, 'crop')} an epoch")
            progress.describe(folder.title)
            progress.expect(work)
            if not folder.finished:
                processes.on_main_process(lambda: write_text(folder.recordings, _recordings_text(data, selection)))
                shown = ProgressCallback(progress, folder.title, recipe.optimisation.batch_size)
                trained = train(
                    objective, recipe.optimisation, recipe.trainer, seed=seed, folder=folder, callbacks=[shown]
                )
                processes.on_main_process(lambda: _finish(folder, recipe, objective, data, selection, trained, seed))
        processes.on_main_process(lambda: _present(folder, objective, settings.export_float16, progress))
    return folder.best


def _options(settings: PretrainSettings) -> ReadOptions:
    leads = None if settings.leads is None else tuple(map(lead_argument, settings.leads))
    require(leads is None or len(set(leads)) == len(leads), f"leads has {', '.join(leads or ())}; name each lead once")
    return replace(ReadOptions.of(settings), leads=leads)


def pretraining_recipe(recipe: Pretraining | str | Path | None, settings: PretrainSettings) -> Pretraining:
    """The recipe of a name or file, with the weights to continue from; arguments and defaults as of `pretrain`."""
    weights = StartWeights(*(None if each is None else str(each) for each in (settings.model, settings.checkpoint)))
    if recipe is None:
        recipe = "pretrain-tiny" if weights.name is None else continuing_recipe(weights)
    found = recipe if isinstance(recipe, Pretraining) else load_pretraining_recipe(str(recipe))
    return found if weights == StartWeights() else replace(found, start=weights)


def _finish(
    folder: RunFolder,
    recipe: Pretraining,
    objective: PretrainingObjective,
    data: Recordings,
    selection: Selection,
    trained: TrainingResult,
    seed: int,
) -> None:
    hours = float(data.length[selection.train].sum() / data.sampling_rate / 3600)
    metrics = {
        "format": RESULT_FORMAT,
        "kind": "pretraining",
        "name": recipe.name,
        "seed": seed,
        "objective": str(recipe.objective),
        "weights": f"pretrained (sha256 {read_json(folder.best / 'model.json', EncoderFacts)['sha256'][:8]}...)",
        **objective.started_from,
        "parameters": sum(parameter.numel() for parameter in objective.encoder.parameters()),
        "data": {
            "path": data.source.path,
            "sha256": data.source.sha256,
            "files": _files(data),
            "recordings": selection.counts,
            "training_hours": hours,
            "crops_per_epoch": objective.items,
        },
        "training": {
            **trained.facts,
            "steps": count_steps(objective.items, recipe.optimisation) // recipe.optimisation.epochs * trained.epochs,
            "batch_size": recipe.optimisation.batch_size,
        },
        "last": trained.log[-1],
    }
    write_json(folder.metrics, metrics)


def _present(
    folder: RunFolder,
    objective: PretrainingObjective,
    export_float16: bool,
    progress: ProgressBar,
) -> None:
    """float16/ when it is asked for and not there, report and card when one is missing or new.

    A card that was edited is kept.
    """
    folder.discard_state()  # also that of a process that was killed behind its results
    report = folder.path / "report.html"
    export = export_float16 and not (folder.path / FLOAT16).is_dir()
    if report.is_file() and (folder.path / CARD).is_file() and not export:
        return
    edited = card_is_edited(folder.path)
    if export:
        report.unlink(missing_ok=True)  # first: whoever stops this must find it missing when going on
        objective.load(folder.best)
        replace_folder(folder.path / FLOAT16, lambda part: objective.export(part, torch.float16))
    write_pretraining(folder.path, card=not edited)
    if edited:
        progress.note(f"{folder.path / 'README.md'} was edited and is not replaced; remove it for a new one")


def _files(data: Recordings) -> list[dict[str, str]]:
    """Name and sha256 of each file of an archive; empty for a folder of many files."""
    named = data.files if len(data.files) <= MOST_NAMED else ()
    return [{"name": name, "sha256": sha256} for name, sha256 in named]


def _recordings_text(data: Recordings, selection: Selection) -> str:
    """recordings.csv: what each recording was used for, or why it was not."""
    rows = zip(data.record.tolist(), selection.use.tolist(), strict=True)
    return csv_text([("record", "use"), *rows])


def _fingerprint(
    data: Recordings, left_out: frozenset[str], seed: int, settings: PretrainSettings, start: Checkpoint | None
) -> dict[str, Any]:
    options = asdict(_options(settings))
    reading = {name: value for name, value in options.items() if value != asdict(ReadOptions())[name]}
    reading.pop("sampling_rate", None)
    names = hashlib.sha256(utf8("\n".join(sorted(left_out)))).hexdigest()
    return {
        "created": now(),
        "command": command_line(),
        "seed": seed,
        "data": data.source.sha256,
        "recorded_at": settings.sampling_rate,
        **({"reading": reading} if reading else {}),
        "weights": f"random (seed {seed})" if start is None else start.weights.describe(),
        "left_out": f"{counted(len(left_out), 'name')} (sha256 {names[:8]}...)" if left_out else "none",
        **machine("neurokit2"),
    }
