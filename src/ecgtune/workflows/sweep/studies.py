"""The trials of every method in one sqlite file: which settings come next, and what came of those before."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecgtune.config.space import Choice, Range
from ecgtune.errors import RunError, SettingError
from ecgtune.recipes.recipe import Recipe
from ecgtune.recipes.space import Space, own_value, with_settings
from ecgtune.workflows.sweep.runner import Outcome

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial

#: Trials of a method, its own settings among them, before the sampler learns from what it has seen.
STARTUP = 8
INDEX = "index"


@dataclass(frozen=True)
class Variant:
    """One method of a sweep: its recipe, and what may be tried in it."""

    recipe: Recipe
    space: Space


@dataclass(frozen=True)
class Job:
    """A trial that has begun: which of its variant's (from 0), what is tried in it, and the recipe that this makes."""

    variant: str
    index: int
    values: dict[str, Any]
    recipe: Recipe

    @property
    def title(self) -> str:
        return f"{self.variant} trial {self.index}"


class Studies:
    """As many trials for every variant, in turn: one study per variant in one sqlite file that this process writes.

    The settings of a trial are a function of `seed`, the variant, its index and the trials that finished before it, so
    a resumed sweep tries the same as one that was never stopped. Index 0 is the recipe as it is. Opening marks trials
    that a killed process left running as failed; failed trials do not count and are run again. `names`: the variants,
    and those of which only rows are read. Raises RunError for a file that is none, SettingError without optuna.
    """

    def __init__(
        self, file: Path, variants: Mapping[str, Variant], *, names: Collection[str], trials: int, seed: int
    ) -> None:
        optuna = load_optuna()
        from sqlalchemy.exc import SQLAlchemyError

        self._optuna, self._variants, self._trials, self._seed = optuna, dict(variants), trials, seed
        self._open: dict[tuple[str, int], Trial] = {}
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{file}")
            self._studies = {
                name: optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
                for name in names
            }
            for study in self._studies.values():
                for trial in study.get_trials(deepcopy=False):
                    if trial.state == optuna.trial.TrialState.RUNNING:
                        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            self._begun = {name: {trial.user_attrs[INDEX] for trial in self.counted(name)} for name in variants}
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError, RuntimeError) as error:
            line = str(error).splitlines()[0]
            raise RunError(
                f"{file} cannot be read ({line}); remove it to begin again, or choose another --out"
            ) from None

    @property
    def left(self) -> dict[str, int]:
        """Trials that are still to begin, by variant."""
        return {name: max(0, self._trials - len(begun)) for name, begun in self._begun.items()}

    def counted(self, name: str) -> list[FrozenTrial]:
        """Trials of a variant that used up one of its number: finished or diverged, by index."""
        state = self._optuna.trial.TrialState
        trials = self._studies[name].get_trials(deepcopy=False, states=(state.COMPLETE, state.PRUNED))
        return sorted(trials, key=lambda trial: trial.user_attrs[INDEX])

    def next(self) -> Job | None:
        """Begin the next trial, of the variant that has begun the fewest; None when each has its number."""
        name = min(self._begun, key=lambda variant: len(self._begun[variant]))
        index = next(free for free in itertools.count() if free not in self._begun[name])
        if index >= self._trials:
            return None
        study, variant = self._studies[name], self._variants[name]
        entropy = [self._seed, zlib.crc32(name.encode()), index]
        study.sampler = self._optuna.samplers.TPESampler(
            n_startup_trials=STARTUP, seed=int(np.random.SeedSequence(entropy).generate_state(1)[0])
        )
        waiting = (self._optuna.trial.TrialState.WAITING,)
        if index == 0 and not study.get_trials(deepcopy=False, states=waiting):
            study.enqueue_trial({setting: own_value(variant.recipe, setting) for setting in variant.space})
        trial = study.ask({setting: _distribution(span) for setting, span in variant.space.items()})
        trial.set_user_attr(INDEX, index)
        self._begun[name].add(index)
        self._open[name, index] = trial
        return Job(name, index, dict(trial.params), with_settings(variant.recipe, trial.params))

    def tell(self, job: Job, outcome: Outcome) -> None:
        """Keep what came of a trial. One that diverged counts, and teaches the sampler to stay away."""
        trial = self._open.pop((job.variant, job.index))
        for key, value in asdict(outcome).items():
            trial.set_user_attr(key, value)
        if outcome.state == "diverged":
            self._studies[job.variant].tell(trial, state=self._optuna.trial.TrialState.PRUNED)
        else:
            self._studies[job.variant].tell(trial, outcome.val_auroc)

    def give_up(self, job: Job) -> None:
        """Mark a trial as failed: it does not count, and `next` begins its index again."""
        self._studies[job.variant].tell(
            self._open.pop((job.variant, job.index)), state=self._optuna.trial.TrialState.FAIL
        )
        self._begun[job.variant].discard(job.index)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """One row per counted trial of a variant: `method, trial` (from 0), every setting, and what came of it."""
        rows = []
        for trial in self.counted(name):
            told = {key: value for key, value in trial.user_attrs.items() if key != INDEX}
            rows.append({"method": name, "trial": trial.user_attrs[INDEX], **trial.params, **told})
        return rows


def load_optuna() -> Any:
    """The library. Raises SettingError, with what to install, when it is not there."""
    try:
        import optuna
    except ImportError:
        raise SettingError("a sweep needs optuna; install it with: pip install 'ecgtune[sweep]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # the bar and the table say it
    return optuna


def _distribution(span: Range | Choice) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(span, Choice):
        return CategoricalDistribution(span.values)
    if isinstance(span.low, int) and isinstance(span.high, int):
        return IntDistribution(span.low, span.high, log=span.log)
    return FloatDistribution(span.low, span.high, log=span.log)
