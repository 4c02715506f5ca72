"""Settings of `ecgtune auto`: its flags, and the tables of plan.toml."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ecgtune.config.base import check_fields, choose, require
from ecgtune.config.data import DataSettings
from ecgtune.config.evaluation import Evaluation
from ecgtune.config.model import LeadMode
from ecgtune.config.optimisation import Optimisation
from ecgtune.config.trainer import TrainerSettings

STEPS = ("look", "decide", "do", "choose", "hand-over")
Step = Literal["look", "decide", "do", "choose", "hand-over"]
#: Budgets with a name, in seconds.
NAMED_BUDGETS = {"gpu-night": 8 * 3600.0}
DEFAULT_SECONDS = 1800.0
LONGEST = 1e8  # seconds, three years
MOST_FOLDS, MOST_NAMES, MOST_JOBS = 50, 100, 1024
_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}


def budget_seconds(text: str) -> float:
    """Return a budget such as 30min, 2h, 90s or gpu-night in seconds. Raises SettingError for other text."""
    if text in NAMED_BUDGETS:
        return NAMED_BUDGETS[text]
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|min|h)", text)
    amount = float(found[1]) * _UNITS[found[2]] if found else 0.0
    require(
        0 < amount <= LONGEST,
        f"budget is {text[:40]!r}; allowed: a time up to {LONGEST:g} s, such as 90s, 30min or 2h, or "
        f"{', '.join(NAMED_BUDGETS)}",
    )
    return amount


def _check_folds(folds: int) -> None:
    require(folds == 1 or 3 <= folds <= MOST_FOLDS, f"folds is {folds}; allowed: 1, or 3 to {MOST_FOLDS}")


def _check_names(names: tuple[str, ...], what: str) -> None:
    require(0 < len(names) <= MOST_NAMES, f"{what} has {len(names)} names; allowed: 1 to {MOST_NAMES}")
    require(len(set(names)) == len(names), f"{what} {', '.join(names)} has a name twice; give each once")


@dataclass(frozen=True)
class AutoSettings:
    """Decisions that the user makes for auto. Raises SettingError for a value outside its range."""

    budget: str | None = None
    """Time for everything: 90s, 30min, 2h, or gpu-night (8 h); 30min when not given. A rerun counts the time that was
    spent before."""
    jobs: int = 1
    """Trainings at a time, each in a process with its part of the cores."""
    until: Step = "hand-over"
    """Last step to run: look, decide, do, choose or hand-over. After decide, plan.toml can be edited."""
    encoders: tuple[str, ...] | None = None
    """Encoders to consider, by name or file; those whose weights are here when not given."""
    methods: tuple[str, ...] | None = None
    """Methods to consider beside the probe; lora, full and scratch when not given, more with longer budgets."""
    batch_size: int | None = None
    """Windows per optimizer step; from the number of windows when not given."""
    epochs: int | None = None
    """Largest number of epochs; 20 when not given. The budget may allow fewer."""
    threshold: str | None = None
    """Decision threshold: fixed, f1, youden or sensitivity:0.95; by the frequency of the classes when not given."""
    folds: int | None = None
    """Folds of the development data, 3 or more; 1 for one validation split. By the number of patients when not
    given."""
    max_memory: str | None = None
    """Peak memory of a training, such as 4GB; only set for large encoders when not given."""
    split_seed: int | None = None
    """Seed of a split that is drawn."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device to compute on; auto selects CUDA, then MPS, then the CPU."""
    repeat: str | Path | None = None
    """Folder of a finished auto of the same files: take its decisions, and train what it trained, whatever time that
    takes."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("encoders", "methods"):  # joined by commas, as in other commands, or one by one
            if (given := getattr(self, name)) is not None:
                parts = (part.strip() for each in given for part in each.split(","))
                object.__setattr__(self, name, tuple(part for part in parts if part))
        _ = self.seconds
        choose(self.until, STEPS, "until")
        choose(self.device, ("auto", "cpu", "cuda", "mps"), "device")
        require(1 <= self.jobs <= MOST_JOBS, f"jobs is {self.jobs}; allowed: 1 to {MOST_JOBS}")
        if self.folds is not None:
            _check_folds(self.folds)
        for name in ("encoders", "methods"):
            require(getattr(self, name) != (), f"{name} is empty; name one or more, or leave it out")
        if self.repeat is not None:
            kept = ("repeat", "jobs", "until")
            for item in dataclasses.fields(self):
                given = item.name not in kept and getattr(self, item.name) != item.default
                flag = f"--{item.name.replace('_', '-')}"
                require(not given, f"--repeat takes all decisions of {self.repeat}; leave out {flag}")

    @property
    def seconds(self) -> float:
        """The budget in seconds."""
        return DEFAULT_SECONDS if self.budget is None else budget_seconds(self.budget)


@dataclass(frozen=True)
class PlannedData:
    """[data] of plan.toml: how recordings become windows; None keeps what the files have."""

    window: float | None = None
    step: float | None = None
    sampling_rate: float | None = None
    leads: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("window", "step", "sampling_rate"):
            value = getattr(self, name)
            require(value is None or 0 < value <= LONGEST, f"{name} is {value}; allowed: above 0, up to {LONGEST:g}")
        if self.leads is not None:
            _check_names(self.leads, "leads")


@dataclass(frozen=True)
class PlannedSplit:
    """[split] of plan.toml. folds: of the development data; 1 is one validation split."""

    folds: int = 1
    seed: int = 0
    train_fraction: float = 0.70
    val_fraction: float = 0.15

    def __post_init__(self) -> None:
        check_fields(self)
        _check_folds(self.folds)
        DataSettings(split_seed=self.seed, train_fraction=self.train_fraction, val_fraction=self.val_fraction)


@dataclass(frozen=True)
class PlannedModel:
    """[model] of plan.toml. encoders: candidates, the first one is probed first."""

    encoders: tuple[str, ...] = ("ecg-fm-tiny",)
    lead_mode: LeadMode = "place"

    def __post_init__(self) -> None:
        check_fields(self)
        _check_names(self.encoders, "encoders")


@dataclass(frozen=True)
class PlannedTraining:
    """[training] of plan.toml. methods: beside the probe; "scratch" is a small network without pretrained weights."""

    methods: tuple[str, ...] = ("lora", "full", "scratch")
    batch_size: int = 64
    epochs: int = 20
    class_weights: Literal["none", "balanced"] = "none"
    pos_weight: str | None = None
    threshold: str = "fixed"
    max_memory: str | None = None
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    augmentation: bool = True

    def __post_init__(self) -> None:
        check_fields(self)
        Optimisation(
            epochs=self.epochs,
            batch_size=self.batch_size,
            class_weights=self.class_weights,
            pos_weight=self.pos_weight,
        )
        Evaluation(threshold=self.threshold)
        TrainerSettings(device=self.device, max_memory=self.max_memory)
        require(self.batch_size >= 2, f"batch_size is {self.batch_size}; allowed: 2 or more")
        _check_names(self.methods, "methods")
        for name in ("full", "scratch"):
            require(name in self.methods, f"methods {', '.join(self.methods)} lack {name}, which is always compared")


@dataclass(frozen=True)
class PlannedBudget:
    """[budget] of plan.toml: seconds, and the fractions of them for the probe, each round of methods, and the rest.

    rounds: of successive halving, each for all methods of the round together. The last one, of the best method or of
    two that are level, has all that is left but the time for the choice, the test and the files.
    """

    seconds: float = DEFAULT_SECONDS
    probe: float = 0.10
    rounds: tuple[float, ...] = (0.20, 0.50)

    def __post_init__(self) -> None:
        check_fields(self)
        require(0 < self.seconds <= LONGEST, f"seconds is {self.seconds}; allowed: above 0, up to {LONGEST:g}")
        fractions = (self.probe, *self.rounds)
        require(1 < len(fractions) <= 10, f"rounds has {len(self.rounds)} entries; allowed: 1 to 9")
        require(
            min(fractions) >= 0.001 and self.used < 0.95,
            f"probe {self.probe:g} and rounds {', '.join(f'{each:g}' for each in self.rounds)} take {self.used:g} of "
            "the time; allowed: 0.001 or more each, and together below 0.95",
        )

    @property
    def used(self) -> float:
        """Fraction of the time for the probe and all rounds."""
        return self.probe + sum(self.rounds)
