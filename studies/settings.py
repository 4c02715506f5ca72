"""Setting files of studies: variants, tasks, label fractions and seeds, resolved to one recipe per run."""

import csv
import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rows import Row, read_rows

from ecgtune.config.base import require
from ecgtune.config.reading import Unit
from ecgtune.config.trainer import TrainerSettings
from ecgtune.data.dataset import Dataset
from ecgtune.data.folds import k_folds
from ecgtune.io.windows import WindowSettings, read_dataset
from ecgtune.methods.registry import method_from_table
from ecgtune.recipes.recipe import Recipe, load_recipes
from ecgtune.recipes.space import with_settings

#: Value in a setting file that means None.
UNSET = "unset"
Values = Mapping[str, Any]


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested tables: {"optimisation": {"epochs": 3}} -> {"optimisation.epochs": 3}."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = None if value == UNSET else value
    return found


def by_fraction(table: Mapping[str, Any]) -> dict[float, dict[str, Any]]:
    """Return settings by label fraction, which is a string in TOML."""
    return {float(name): flat(values) for name, values in table.items()}


@dataclass(frozen=True)
class Task:
    """A file of windows with a split. positive: the label to predict against all others, for multi-label files.

    unit: of the samples, where the file does not state it.
    table: labels of a file of recordings of PTB-XL, of which `lead` is read and `positive` is the superclass that all
    other recordings are against. at: its label fractions, all if empty. folds: of a cross-validation by patient, in
    place of the split; the run with seed n tests fold n % folds.
    """

    name: str
    file: str
    title: str
    positive: str | None = None
    unit: Unit | None = None
    settings: Values = field(default_factory=dict)
    table: str | None = None
    lead: str = "II"
    at: tuple[float, ...] = ()
    folds: int = 0

    def read(self, folder: Path) -> Dataset:
        """Read the windows. Raises SettingError if the file has no split."""
        if self.table is not None:
            return ptbxl_windows(folder / self.file, folder / self.table, self.lead, str(self.positive))
        dataset = read_dataset(folder / self.file, settings=WindowSettings(unit=self.unit))
        require(dataset.split is not None, f"{self.file} has no split, which a study needs for equal test windows")
        if self.positive is None:
            return dataset
        label = (dataset.label == dataset.classes.index(self.positive)).astype(np.int64)
        return replace(dataset, label=label, classes=("other", self.positive))


#: Superclasses of PTB-XL, and the recordings with the same signal as one of another patient.
SUPERCLASSES, SAME_SIGNAL = ("NORM", "MI", "STTC", "CD", "HYP"), ("00145_hr", "00463_hr")
#: Published folds of PTB-XL that are the test split.
TEST_FOLDS = ("9", "10")


def ptbxl_windows(recordings: Path, table: Path, lead: str, negative: str) -> Dataset:
    """Read one lead of recordings of PTB-XL as windows, labelled by whether `negative` is not among the superclasses.

    Recordings without any superclass, and those with the same signal as one of another patient, are left out.
    """
    with table.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    kept = [
        number
        for number, row in enumerate(rows)
        if "1" in map(row.get, SUPERCLASSES) and not row["filename_hr"].endswith(SAME_SIGNAL)
    ]
    with np.load(recordings) as arrays, TemporaryDirectory() as place:
        signal = arrays["X"][kept, arrays["leads"].tolist().index(lead)]
        np.savez(
            file := Path(place) / f"{recordings.stem}-{lead}.npz",
            signal=signal,
            label=np.array([f"no {negative}" if rows[n][negative] == "0" else negative for n in kept]),
            patient=np.array([rows[number]["patient_id"] for number in kept]),
            split=np.where(np.isin([rows[n]["strat_fold"] for n in kept], TEST_FOLDS), "test", "train"),
            sampling_rate=500,
        )
        return read_dataset(file, lead=lead, settings=WindowSettings(positive=f"no {negative}", unit="uV"))


@dataclass(frozen=True)
class Variant:
    """A variant of a study: a base and changes of its settings.

    The base is `of` (another variant), `recipe` (of the package), `tuned` (best trial of a sweep) or `method` (a
    table); the groups in `apply` and then `settings` change it. reference: variants to compare with. only: its tasks
    and fractions, all if empty. seeds: their number, that of the study if None. archived: the reason why its rows
    cannot be reproduced. pretraining: changes to a pretraining recipe, in a study of pretrainings. each: one for every
    model of the study, or for these, named MODEL-VARIANT.
    """

    name: str
    title: str | None = None
    of: str | None = None
    recipe: str | None = None
    tuned: str | None = None
    method: Mapping[str, Any] | None = None
    apply: tuple[str, ...] = ()
    settings: Values = field(default_factory=dict)
    fractions: Mapping[float, Values] = field(default_factory=dict)
    reference: tuple[str, ...] = ()
    only: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    seeds: int | None = None
    archived: str | None = None
    pretraining: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Run:
    """A training of a study."""

    task: str
    fraction: float
    variant: str
    seed: int

    @property
    def place(self) -> Row:
        """Columns of its row that identify the run within the study."""
        return {"task": self.task, "fraction": f"{self.fraction:g}", "variant": self.variant, "seed": str(self.seed)}


class Study:
    """A parsed setting file; `extends` names another one, whose tasks, settings, groups and variants it includes.

    models: further ones for its variants of `each` model, with the path of a published file or None.
    """

    def __init__(self, file: Path, models: Mapping[str, str | None] | None = None) -> None:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
        self.file, self.name, self.folder = file, file.stem, file.parent
        parent = tables.get("extends")
        self.parent = Study(self.folder / parent) if parent else None
        inherited = self.parent.tables if self.parent else {}
        names = ("page", "tasks", "settings", "seeds", "resamples", "margin")
        self.tables = {name: inherited[name] for name in names if name in inherited} | tables
        self.kind, self.page = tables.get("kind", "train"), self.tables["page"]
        self.results = self.folder / "results"
        #: File of the predictions of its runs in the repository, or None.
        self.kept_predictions = (
            self.results / f"predictions-{self.name}.npz" if tables.get("keep_predictions") else None
        )
        self.models = {**dict.fromkeys(tables.get("models", ())), **(models or {})}
        self.tasks = {
            name: Task(name, **{**table, "settings": flat(table.get("settings", {})), "at": tuple(table.get("at", ()))})
            for name, table in self.tables["tasks"].items()
            if name in tables.get("only_tasks", self.tables["tasks"])
        }
        self.groups: dict[str, Any] = {**(self.parent.groups if self.parent else {}), **tables.get("groups", {})}
        own = by_fraction(tables.get("fractions", {}))
        self.fractions = {**(self.parent.fractions if self.parent else {}), **own}
        #: Label fractions of its runs.
        self.at = tuple(map(float, tables.get("at", own or self.fractions)))
        self.seeds: int = self.tables["seeds"]
        #: Fraction of the training recordings that replaces the test split of the file.
        self.held_out: float | None = tables.get("held_out")
        self.variants = {one.name: one for one in self._variants(tables.get("variants", {}))}

    def _variants(self, tables: Mapping[str, Any]) -> Iterator[Variant]:
        for name, table in tables.items():
            own = {**table, "settings": flat(table.get("settings", {}))}
            own["fractions"] = by_fraction(table.get("fractions", {}))
            own |= {key: tuple(own[key]) for key in ("apply", "reference") if key in own}
            if each := own.pop("each", None):
                for model in self.models if each == "models" else each:
                    path = self.models.get(model)
                    settings = {**own["settings"], "model.name": model, **({"model.checkpoint": path} if path else {})}
                    short = Path(model).name  # of a folder or a file in a repository
                    title = f"{short}, {own.get('title', name)}"
                    reference = tuple(f"{short}-{other}" for other in own.get("reference", ()))
                    changes = {"settings": settings, "title": title, "reference": reference}
                    yield Variant(f"{short}-{name}", **{**own, **changes})
            elif isinstance(own.get("of"), list):  # the same change of several variants
                for base in own.pop("of"):
                    title = f"{base} {table['title']}"
                    yield Variant(f"{base}+{name}", **{**own, "of": base, "title": title, "reference": (base,)})
            else:
                yield Variant(name, **own)

    def variant(self, name: str) -> Variant:
        """Return a variant of this study or of the one that it extends."""
        if name in self.variants:
            return self.variants[name]
        require(self.parent is not None, f"{self.file} has no variant {name!r}")
        return self.parent.variant(name)  # type: ignore[union-attr]

    def runs(self) -> Iterator[Run]:
        """Yield all runs; those of the same task, fraction and seed are adjacent."""
        seeds = {name: 0 if one.archived else one.seeds or self.seeds for name, one in self.variants.items()}
        for task, fraction, seed in product(self.tasks, self.at, range(max(seeds.values()))):
            for name, variant in self.variants.items():
                here = task in variant.only.get("tasks", self.tasks)
                here &= fraction in variant.only.get("fractions", self.at)
                here &= fraction in (self.tasks[task].at or self.at)
                if here and seed < seeds[name]:
                    yield Run(task, fraction, name, seed)

    def sweeps(self) -> Iterator[Run]:
        """Yield one run for each task, at its first label fraction, and variant of a sweep."""
        for name, task in self.tasks.items():
            for variant in self.variants:
                yield Run(name, (task.at or self.at)[0], variant, 0)

    def recipe(self, run: Run) -> Recipe:
        """Return the recipe of a run: the base, changed by the settings of study, fraction, task and variants."""
        chain = [self.variant(run.variant)]
        while chain[0].of:
            chain.insert(0, self.variant(chain[0].of))
        recipe = self._start(chain[0])
        # Rows are of uncalibrated probabilities, which earlier versions gave.
        values = {"evaluation": {"calibration": "none"}} | dict(self.tables.get("settings", {}))
        values = {**flat(values), **self.fractions[run.fraction], **self.tasks[run.task].settings}
        for variant in chain:
            for group in variant.apply:
                values |= flat(self.groups[group])
            values |= {**variant.settings, **variant.fractions.get(run.fraction, {})}
        recipe = with_settings(recipe, values)
        fraction = run.fraction if self.held_out is None else float(f"{run.fraction / (1 - self.held_out):.4g}")
        data = replace(recipe.data, split_seed=run.seed, label_fraction=fraction)
        return replace(recipe, name=run.variant.replace("+", "-"), title=self.variant(run.variant).title, data=data)

    def _start(self, variant: Variant) -> Recipe:
        if variant.tuned:
            return self._tuned[variant.tuned]
        if variant.recipe:
            return _packaged(variant.recipe)
        method = variant.method or self.tables.get("method")
        require(method is not None, f"{self.file}: {variant.name} needs of, recipe, tuned or method")
        return Recipe(variant.name, method=method_from_table(method, f"method of {variant.name}"))

    @cached_property
    def _tuned(self) -> dict[str, Recipe]:
        """Recipe of the best trial of each variant of sweep.toml."""
        sweep = Study(self.folder / "sweep.toml")
        place = next(iter(sweep.tasks)), sweep.at[0]
        return {
            name: with_settings(sweep.recipe(Run(*place, name, 0)), best_settings(sweep.trials, name))
            for name in sweep.variants
            if any(row["val_auroc"] for row in mean_trials(sweep.trials, name))
        }

    @cached_property
    def trials(self) -> list[Row]:
        """Rows of the trials of a sweep."""
        return read_rows(self.results / "trials.csv")

    def windows(self, task: str, folder: Path, fold: int = 0) -> Dataset:
        """Read the windows of a task with the split of this study; `fold` counts from 0."""
        dataset = self.tasks[task].read(folder)
        if folds := self.tasks[task].folds:
            return k_folds(dataset, folds)[fold]
        if self.held_out is None:
            return dataset
        training = dataset.select(np.flatnonzero(dataset.split == "train"))
        recordings = np.unique(training.group)
        test = np.random.default_rng(7).permutation(recordings)[: int(self.held_out * len(recordings))]
        return replace(training, split=np.where(np.isin(training.group, test), "test", "train"))


@cache
def _packaged(name: str) -> Recipe:
    return load_recipes(name)[0]


def mean_trials(trials: Sequence[Row], variant: str) -> list[Row]:
    """Return one row for each trial of `variant`: the mean validation AUROC over tasks, "" where it diverged in one."""
    own: dict[str, list[Row]] = {}
    for row in trials:
        if row["variant"] == variant:
            own.setdefault(row["trial"], []).append(row)
    scores = {trial: [row["val_auroc"] for row in rows] for trial, rows in own.items()}
    means = {trial: "" if "" in each else str(np.mean([float(one) for one in each])) for trial, each in scores.items()}
    return [rows[0] | {"val_auroc": means[trial]} for trial, rows in own.items()]


def best_settings(trials: Sequence[Row], variant: str) -> dict[str, Any]:
    """Return the settings of the trial of `variant` with the highest validation AUROC, mean over tasks."""
    own = [row for row in mean_trials(trials, variant) if row["val_auroc"]]
    best = max(own, key=lambda row: float(row["val_auroc"]))
    return {name: number(value) for name, value in best.items() if "." in name and value}


def number(text: str) -> Any:
    """Return `text` as a number if it is one, else unchanged."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


#: Defaults of methods at the time of the first rows, where today's differ: a digest must not depend on today's.
FIRST_DEFAULTS = {
    "AdaLoRA": {"rank": 2},
    "Adapter": {"width": 32},
    "Evaluation": {"calibration": "none"},
    "LoRA": {"rank": 16},
    "SideTuning": {"block": "transformer", "dropout": 0.0},
    "VeRA": {"rank": 128},
}


def digest(recipe: Any) -> str:
    """Return a hash of the settings that differ from the first defaults, without the device."""
    if isinstance(recipe, Recipe):
        trainer = replace(recipe.trainer, device=TrainerSettings().device)
        model = replace(recipe.model, checkpoint=None)  # the weights have a column of their own
        recipe = replace(recipe, trainer=trainer, model=model, title=None)
    return hashlib.sha256(json.dumps(_changed(recipe), sort_keys=True).encode()).hexdigest()[:12]


def _changed(value: Any) -> Any:
    if not is_dataclass(value):
        return value
    name = type(value).__name__
    changed: dict[str, Any] = {"": name}
    for one in fields(value):
        default = one.default if one.default_factory is MISSING else one.default_factory()
        default = FIRST_DEFAULTS.get(name, {}).get(one.name, default)
        given = getattr(value, one.name)
        inner = _changed(given)
        same = inner == {"": type(default).__name__} if is_dataclass(given) else given == default
        if not same:
            changed[one.name] = inner
    return changed
