"""Parallel trials of a sweep on a Ray cluster.

Only this process uses the studies and writes the folder. The other machines receive the windows through Ray; they need
the same version of ecgtune and, if the encoder is a file, that file at the same path.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any

import torch

from ecgtune.errors import RunError, SettingError
from ecgtune.recipes.recipe import Recipe
from ecgtune.utils.files import temporary_folder
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.run import work
from ecgtune.workflows.sweep.runner import TrialResult, TrialRunner
from ecgtune.workflows.sweep.studies import Job, Studies

_RESULTS = tuple(field.name for field in fields(TrialResult))


def load_ray() -> tuple[Any, Any]:
    """Import Ray and Ray Tune, whose usage statistics stay off. Raises SettingError if they are not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray sends them by default
    try:
        import ray  # pyright: ignore[reportMissingImports]
        from ray import tune  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise SettingError("--backend ray needs Ray; install it with: pip install 'ecgtune[ray]'") from None
    return ray, tune


def run_on_ray(
    studies: Studies, runner: TrialRunner, seed: int, progress: ProgressBar, save: Callable[[], object]
) -> None:
    """Run all remaining trials with Ray Tune and call `save` after each.

    Uses the cluster of this machine or of RAY_ADDRESS; without one, Ray starts one on this machine. The settings of a
    trial depend on those of the finished ones, so parallel sweeps are not reproducible. Raises SettingError if Ray is
    not installed, RunError if a trial fails on a machine.
    """
    ray, tune = load_ray()
    left = sum(studies.left.values())
    if left == 0:
        return

    def on_result(job: Job, result: TrialResult) -> None:
        save()
        progress.advance(work(job.recipe, runner.split))
        progress.note(f"{job.title}: {result.sentence()}")

    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    try:
        with temporary_folder() as place:
            resources = {"cpu": torch.get_num_threads(), "gpu": int(torch.cuda.is_available())}
            trial = tune.with_parameters(_trial, runner=runner, seed=seed, threads=torch.get_num_threads())
            tuner = tune.Tuner(
                tune.with_resources(trial, resources),
                tune_config=tune.TuneConfig(
                    search_alg=_searcher(on_result, studies), num_samples=left, metric="val_auroc", mode="max"
                ),
                run_config=tune.RunConfig(
                    storage_path=place, name="sweep", verbose=0, failure_config=tune.FailureConfig(fail_fast=True)
                ),
            )
            with contextlib.redirect_stdout(io.StringIO()):  # Tune prints a banner even with verbose=0
                failed = tuner.fit().errors
    finally:
        if started:
            ray.shutdown()
    if failed:
        line = str(failed[0]).strip().splitlines()[-1]
        raise RunError(f"a trial failed on a machine of the Ray cluster: {line}; rerun the command to resume")


def _trial(config: Mapping[str, Any], *, runner: TrialRunner, seed: int, threads: int) -> None:
    """Run one trial on a machine of the cluster."""
    from ray import tune  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(threads)
    recipe: Recipe = config["recipe"]
    with ProgressBar(shown=False) as progress:
        tune.report(asdict(runner.run(recipe, seed, progress, recipe.name)))


def _searcher(on_result: Callable[[Job, TrialResult], object], studies: Studies) -> Any:
    """Return a searcher of Ray Tune that suggests the jobs of `studies` and passes results to them and `on_result`."""
    from ray.tune.search import Searcher  # pyright: ignore[reportMissingImports]

    class Jobs(Searcher):
        # Tune pickles its searcher for a resume. A sweep resumes from its own file, so the pickled state is empty; the
        # arguments of `begin` cannot be pickled.
        def __init__(self) -> None:
            super().__init__(metric="val_auroc", mode="max")
            self._jobs: dict[str, Job] = {}

        def begin(self, studies: Studies, on_result: Callable[[Job, TrialResult], object]) -> None:
            self._studies, self._on_result = studies, on_result

        def __getstate__(self) -> dict[str, Any]:
            return {}

        def save(self, checkpoint_path: str) -> None:
            """Save nothing, see above."""

        def suggest(self, trial_id: str) -> Any:
            job = self._studies.next()
            if job is None:
                return self.FINISHED
            self._jobs[trial_id] = job
            return {"recipe": job.recipe}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            job = self._jobs.pop(trial_id)
            if error or not result or "state" not in result:
                self._studies.mark_failed(job)
                return
            found = TrialResult(**{name: result[name] for name in _RESULTS})
            self._studies.tell(job, found)
            self._on_result(job, found)

    searcher = Jobs()
    searcher.begin(studies, on_result)
    return searcher
