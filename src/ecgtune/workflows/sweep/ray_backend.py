"""The trials of a sweep on a Ray cluster, as many at a time as it has room for.

This process alone asks the studies and writes the folder. The other machines share nothing with it but the cluster:
they get the windows through Ray, and need the same ecgtune and, when the encoder is a file, that file at the same path.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any

import torch

from ecgtune.errors import RunError, SettingError
from ecgtune.recipes.recipe import Recipe
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.run import work
from ecgtune.workflows.sweep.runner import Outcome, TrialRunner
from ecgtune.workflows.sweep.studies import Job, Studies

_RESULTS = tuple(field.name for field in fields(Outcome))


def load_ray() -> tuple[Any, Any]:
    """Ray and Ray Tune. Raises SettingError, with what to install, when they are not there."""
    try:
        import ray  # pyright: ignore[reportMissingImports]
        from ray import tune  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise SettingError("--backend ray needs Ray; install it with: pip install 'ecgtune[ray]'") from None
    return ray, tune


def run_on_ray(
    studies: Studies, runner: TrialRunner, seed: int, progress: ProgressBar, keep: Callable[[], object]
) -> None:
    """Run all trials that are left with Ray Tune; `keep` is called after each.

    A cluster that runs here, or the one that RAY_ADDRESS names, is used; without one Ray starts one on this machine.
    The settings that a trial tries depend on those that have finished by then, so with several at a time the later ones
    differ between two sweeps. Raises SettingError when Ray is not installed, RunError when a trial fails on a machine.
    """
    ray, tune = load_ray()
    left = sum(studies.left.values())
    if left == 0:
        return

    def told(job: Job, outcome: Outcome) -> None:
        keep()
        progress.advance(work(job.recipe, runner.split))
        progress.note(f"{job.title}: {outcome.sentence()}")

    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    try:
        with tempfile.TemporaryDirectory() as place:
            room = {"cpu": torch.get_num_threads(), "gpu": int(torch.cuda.is_available())}
            trial = tune.with_parameters(_trial, runner=runner, seed=seed, threads=torch.get_num_threads())
            tuner = tune.Tuner(
                tune.with_resources(trial, room),
                tune_config=tune.TuneConfig(
                    search_alg=_searcher(told, studies), num_samples=left, metric="val_auroc", mode="max"
                ),
                run_config=tune.RunConfig(
                    storage_path=place, name="sweep", verbose=0, failure_config=tune.FailureConfig(fail_fast=True)
                ),
            )
            with contextlib.redirect_stdout(io.StringIO()):  # Tune's banner, which verbose does not silence
                failed = tuner.fit().errors
    finally:
        if started:
            ray.shutdown()
    if failed:
        line = str(failed[0]).strip().splitlines()[-1]
        raise RunError(f"a trial failed on a machine of the Ray cluster: {line}; give the command again to go on")


def _trial(config: Mapping[str, Any], *, runner: TrialRunner, seed: int, threads: int) -> None:
    """What runs on a machine of the cluster."""
    from ray import tune  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(threads)
    recipe: Recipe = config["recipe"]
    with ProgressBar(quiet=True) as progress:
        tune.report(asdict(runner.run(recipe, seed, progress, recipe.name)))


def _searcher(told: Callable[[Job, Outcome], object], studies: Studies) -> Any:
    """Ray Tune's side of `Studies`: what it suggests is the next job, what completes is told, then `told` is called."""
    from ray.tune.search import Searcher  # pyright: ignore[reportMissingImports]

    class Jobs(Searcher):
        # Tune pickles its searcher to go on from. A sweep goes on from its own file, so the copy is empty; what is
        # passed to `begin` would not survive it.
        def __init__(self) -> None:
            super().__init__(metric="val_auroc", mode="max")
            self._jobs: dict[str, Job] = {}

        def begin(self, studies: Studies, told: Callable[[Job, Outcome], object]) -> None:
            self._studies, self._told = studies, told

        def __getstate__(self) -> dict[str, Any]:
            return {}

        def save(self, checkpoint_path: str) -> None:
            """Nothing: see above."""

        def suggest(self, trial_id: str) -> Any:
            job = self._studies.next()
            if job is None:
                return self.FINISHED
            self._jobs[trial_id] = job
            return {"recipe": job.recipe}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            job = self._jobs.pop(trial_id)
            if error or not result or "state" not in result:
                self._studies.give_up(job)
                return
            outcome = Outcome(**{name: result[name] for name in _RESULTS})
            self._studies.tell(job, outcome)
            self._told(job, outcome)

    searcher = Jobs()
    searcher.begin(studies, told)
    return searcher
