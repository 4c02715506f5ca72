"""Optuna studies of a sweep: the next settings of every method and the results of its trials, in one sqlite file."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecgtune.errors import EcgtuneError, SettingError
from ecgtune.recipes.recipe import Recipe
from ecgtune.recipes.space import Space, own_value, with_settings
from ecgtune.workflows.sweep.database import INDEX, check_structure, check_study, distributions, reading, storage_error
from ecgtune.workflows.sweep.runner import TrialResult

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

#: First trials of a method, which are drawn at random (TPE's n_startup_trials).
STARTUP = 8


@dataclass(frozen=True)
class Variant:
    """One method of a sweep: recipe and search space."""

    recipe: Recipe
    space: Space


@dataclass(frozen=True)
class Job:
    """A started trial: its index among those of the variant (from 0), its settings, and the resulting recipe."""

    variant: str
    index: int
    values: dict[str, Any]
    recipe: Recipe

    @property
    def title(self) -> str:
        return f"{self.variant} trial {self.index}"


class Studies:
    """Equal numbers of trials for all variants, which alternate: one study per variant in one sqlite file.

    The settings of a trial are a function of `seed`, variant, index and the trials finished before it, so a resumed
    sweep tries the same settings as an uninterrupted one. Index 0 has the settings of the recipe. Opening marks trials
    of a killed process as failed; failed trials do not count and are repeated. `spaces`: of all studies, including
    those of earlier variants of which only rows are read. Raises RunError for a damaged file and for a full disk,
    SettingError without optuna.
    """

    def __init__(
        self, file: Path, variants: Mapping[str, Variant], *, spaces: Mapping[str, Space], trials: int, seed: int
    ) -> None:
        optuna = load_optuna()
        self._optuna, self._variants, self._trials, self._seed = optuna, dict(variants), trials, seed
        self._file = file
        self._open: dict[tuple[str, int], Trial] = {}
        with reading(file), self._storage_errors():
            with closing(optuna.storages.RDBStorage("sqlite://").engine.raw_connection()) as made:
                check_structure(file, made.driver_connection, trials * len(spaces))
            storage = optuna.storages.RDBStorage(f"sqlite:///{file}")
            self._studies = {
                name: optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
                for name in spaces
            }
            for name, study in self._studies.items():
                own = _own(variants[name]) if name in variants else None
                check_study(file, study, spaces[name], own, trials)
            for study in self._studies.values():
                for trial in study.get_trials(deepcopy=False):
                    if trial.state == optuna.trial.TrialState.RUNNING:
                        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            self._begun = {name: {trial.user_attrs[INDEX] for trial in self.counted(name)} for name in variants}

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        """Raise RunError where the storage cannot be read or written."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except EcgtuneError:  # a RuntimeError too
            raise
        except (SQLAlchemyError, self._optuna.exceptions.StorageInternalError, RuntimeError) as error:
            raise storage_error(self._file, error) from None

    @property
    def left(self) -> dict[str, int]:
        """Number of trials to start, by variant."""
        return {name: max(0, self._trials - len(begun)) for name, begun in self._begun.items()}

    def counted(self, name: str) -> list[FrozenTrial]:
        """Return the finished and diverged trials of a variant in order of their index."""
        state = self._optuna.trial.TrialState
        with self._storage_errors():
            trials = self._studies[name].get_trials(deepcopy=False, states=(state.COMPLETE, state.PRUNED))
        return sorted(trials, key=lambda trial: trial.user_attrs[INDEX])

    def next(self) -> Job | None:
        """Start the next trial, of the variant with the fewest started ones; None if all are started."""
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
        with self._storage_errors():
            if index == 0 and not study.get_trials(deepcopy=False, states=waiting):
                study.enqueue_trial(_own(variant))
            trial = study.ask(distributions(variant.space))
            trial.set_user_attr(INDEX, index)
        self._begun[name].add(index)
        self._open[name, index] = trial
        return Job(name, index, dict(trial.params), with_settings(variant.recipe, trial.params))

    def tell(self, job: Job, result: TrialResult) -> None:
        """Record the result of a trial. A diverged one counts, and the sampler avoids its settings."""
        trial = self._open.pop((job.variant, job.index))
        with self._storage_errors():
            for key, value in asdict(result).items():
                trial.set_user_attr(key, value)
            if result.state == "diverged":
                self._studies[job.variant].tell(trial, state=self._optuna.trial.TrialState.PRUNED)
            else:
                self._studies[job.variant].tell(trial, result.val_auroc)

    def mark_failed(self, job: Job) -> None:
        """Mark a trial as failed: it does not count, and `next` repeats its index."""
        with self._storage_errors():
            self._studies[job.variant].tell(
                self._open.pop((job.variant, job.index)), state=self._optuna.trial.TrialState.FAIL
            )
        self._begun[job.variant].discard(job.index)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Return one row per counted trial of a variant: `method, trial` (from 0), every setting, and the result."""
        rows = []
        for trial in self.counted(name):
            result = {key: value for key, value in trial.user_attrs.items() if key != INDEX}
            rows.append({"method": name, "trial": trial.user_attrs[INDEX], **trial.params, **result})
        return rows


def load_optuna() -> Any:
    """Import optuna. Raises SettingError if it is not installed."""
    try:
        import optuna
    except ImportError:
        raise SettingError("a sweep needs optuna; install it with: pip install 'ecgtune[sweep]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # progress bar and table have the information
    return optuna


def _own(variant: Variant) -> dict[str, Any]:
    return {setting: own_value(variant.recipe, setting) for setting in variant.space}
