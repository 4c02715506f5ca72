"""Methods x seeds on one split, with two baselines, into one comparison folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ecgtune.config.commands import CompareSettings
from ecgtune.data.dataset import Dataset
from ecgtune.data.splits import Split, draw_split
from ecgtune.evaluation.comparison import RunRecord, compare_runs
from ecgtune.methods.audits import forward_cost
from ecgtune.recipes.comparison import MAJORITY, as_variants, check_variants, encoder_pairs
from ecgtune.recipes.lookup import RecipeLike, resolve_models
from ecgtune.recipes.recipe import Recipe
from ecgtune.reporting.recommendation import shown_run
from ecgtune.reporting.writing import write_comparison
from ecgtune.training.predictions import read_predictions
from ecgtune.training.run_folder import RESULT_FORMAT, RunFolder, read_result
from ecgtune.training.schemas import Results
from ecgtune.utils.files import check_space
from ecgtune.utils.locks import exclusive
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.baselines import MAJORITY_TITLE, variants_of, write_majority
from ecgtune.workflows.cases import add_cases
from ecgtune.workflows.dry_run import check_recipes
from ecgtune.workflows.environment import command_line, machine, now
from ecgtune.workflows.fit_memory import fit_memory
from ecgtune.workflows.preparation import check_dataset, note_conditions, summarise
from ecgtune.workflows.ready import ReadyRun, RunBuilder
from ecgtune.workflows.results import changed_notes, imported_files, shown_title, summarise_task
from ecgtune.workflows.run import run_recipe, space, work

DEFAULTS = CompareSettings()


def compare(
    dataset: Dataset,
    recipes: RecipeLike | Sequence[RecipeLike],
    settings: CompareSettings = DEFAULTS,
    *,
    model: str | Path | Sequence[str] | None = None,
    out: str | Path,
    wait: bool = False,
) -> dict[str, Any]:
    """Run every recipe with seeds 0 .. `settings.seeds` - 1 on one split and return the content of `results.json`.

    recipes: the variants, each with its own name: recipes, or names and files that `load_recipes` takes. settings:
    seeds, baselines and reference. Baselines are the majority class and a residual network from scratch, with several
    encoders an InceptionTime and an S4D too, trained for as many epochs as the first variant. model: name or path in
    place of the model of every recipe; or several encoders, every one with every recipe on the same windows, each at
    its own rate, leads and preset (`recipes.comparison.with_models`), whose differences are then among the results.
    out: the comparison folder; finished runs in it are kept, a stopped run resumes. wait: while another process uses
    the folder, instead of an error.

    Raises SettingError for variants that cannot be compared, RunError for a folder that holds another comparison, and
    what `fine_tune` raises.
    """
    check_dataset(dataset, "compare")
    variants = as_variants(recipes, model)
    reference = check_variants(variants, settings)
    resolve_models(variants)
    folder = Path(out)
    with exclusive(folder, command_line(), result="results.json", wait=wait):
        return _compare(dataset, variants, settings, reference, folder, wait)


def _compare(
    dataset: Dataset,
    variants: Sequence[Recipe],
    settings: CompareSettings,
    reference: str,
    folder: Path,
    wait: bool,
) -> dict[str, Any]:
    first, file = variants[0], folder / "results.json"
    earlier = read_result(file, Results) if file.is_file() else None
    split = draw_split(dataset, first.data)
    records = _run_all(dataset, split, variants_of(variants, settings.baselines), folder, settings.seeds, wait)
    if settings.baselines:
        majority = write_majority(
            dataset, split, first.data.normalisation, first.evaluation, folder / MAJORITY / "seed-0"
        )
        records.append(_record(majority, MAJORITY, MAJORITY_TITLE, "baseline", 0, folder))
    own = [record.metrics for record in records if record.kind == "method"]
    results = {
        "format": RESULT_FORMAT,
        "created": now(),
        "command": command_line(),
        "machine": machine(),
        **summarise(dataset, split),
        **summarise_task(dataset, first.evaluation),
        "model": ", ".join(dict.fromkeys(metrics["model"] for metrics in own)),
        "weights": ", ".join(dict.fromkeys(metrics["weights"] for metrics in own)),
        **({"imports": files} if (files := imported_files(own)) else {}),
        **compare_runs(records, reference=reference, pairs=encoder_pairs(variants)),
        "history": _history(earlier, [record.folder for record in records]),
    }
    add_cases(folder / shown_run(results), dataset, device=first.trainer.device)
    write_comparison(folder, results)
    return results


def _run_all(
    dataset: Dataset,
    split: Split,
    variants: Sequence[tuple[Recipe, str]],
    folder: Path,
    seeds: int,
    wait: bool,
) -> list[RunRecord]:
    builder = RunBuilder(dataset, split)

    def run_of(recipe: Recipe, seed: int) -> ReadyRun:
        return builder.ready(recipe, seed=seed, folder=folder / recipe.name / f"seed-{seed}")

    records = []
    with ProgressBar() as progress:
        if any(one.trainer.max_memory for one, _ in variants):  # which is measured, and takes a while
            check_recipes((one for one, _ in variants), dataset, split)
        variants = [
            (fit_memory(one, dataset, split, folder=folder / one.name / "seed-0", progress=progress), kind)
            for one, kind in variants
        ]
        # All are checked, and released, before the first one trains: a mistake in the last variant is reported at once.
        warnings: dict[str, None] = {}
        kept = beside = 0
        costs: dict[str, float] = {}
        for recipe, _ in variants:
            for seed in range(seeds):
                run = run_of(recipe, seed)
                warnings |= dict.fromkeys(run.prepared.split.warnings)
                kept, beside = kept + space(run)[0], max(beside, space(run)[1])
                if recipe.name not in costs:
                    costs[recipe.name] = forward_cost(run.model, run.prepared.samples)
                progress.expect(0 if run.folder.finished else work(recipe, split) * costs[recipe.name])
        check_space(folder, kept + beside)
        changed = changed_notes(recipe for recipe, kind in variants if kind == "method")
        note_conditions(progress, dataset, [*changed, *warnings])
        for number, (recipe, kind) in enumerate(variants):
            # The baseline's epochs follow the methods by intention.
            title = shown_title(recipe) if kind == "method" else recipe.label
            for seed in range(seeds):
                run = run_of(recipe, seed)
                if not run.folder.finished:
                    step = f"run {number * seeds + seed + 1} of {len(variants) * seeds}: {run.folder.title}"
                    progress.note(f"{step}, {title}{progress.left}")
                with exclusive(run.folder.path, command_line(), result="recipe.toml", wait=wait):
                    run_recipe(replace(run, pass_cost=costs[recipe.name]), progress)
                records.append(_record(run.folder, recipe.name, title, kind, seed, folder))
    return records


def _history(earlier: dict[str, Any] | None, runs: list[str]) -> list[int]:
    """Numbers of runs for which results were computed in this folder, the present ones last."""
    if earlier is None:
        return [len(runs)]
    before = [run for row in earlier["rows"] for run in row["runs"]]
    history = earlier.get("history", [len(before)])
    return history if set(before) == set(runs) else [*history, len(runs)]


def _record(run: RunFolder, name: str, title: str, kind: str, seed: int, folder: Path) -> RunRecord:
    metrics = run.read_metrics()
    test = read_predictions(run.predictions, metrics).of("test")
    return RunRecord(
        name=name,
        title=title,
        kind=kind,
        seed=seed,
        folder=run.path.relative_to(folder).as_posix(),
        metrics=metrics,
        label=test.label,
        probability=test.probability,
        group=test.group,
        row=test.row,
        recording=test.recording,
    )
