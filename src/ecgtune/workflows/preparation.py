"""A dataset as an encoder takes it: split, resampled and normalised."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from ecgtune.config.base import choose
from ecgtune.config.data import DataSettings
from ecgtune.data.dataset import Dataset
from ecgtune.data.preprocessing import Preprocessing
from ecgtune.data.signal.steps import Middle, Resample, Step
from ecgtune.data.splits import Split
from ecgtune.errors import DataError, SettingError
from ecgtune.models.classifier import Classifier, Head
from ecgtune.models.input_spec import InputSpec
from ecgtune.models.loading import input_spec_of, leads_problem, load_model
from ecgtune.recipes.recipe import Recipe
from ecgtune.training.batches import Windows
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.overlap import pretraining_warnings

#: Bytes of prepared windows up to which all are made at once and kept in memory; beyond, a memory map stays on disk.
KEPT_BYTES = 512 << 20
#: A window may be so many times shorter or longer than those of the pretraining without a warning.
USUAL_FACTOR = 4
#: Windows of one lead that are so many times longer may be leads in a row.
FEWEST_IN_A_ROW = 8
#: An encoder reads at least this fraction of a window, else shorter windows have to be cut.
MIDDLE_FRACTION = 0.75


class LazyWindows:
    """Windows of a memory map, prepared as they are asked for; indexed like an array (windows, leads, samples).

    Preparation works on each window by itself, so what comes out does not depend on when, or with which others.
    """

    def __init__(self, dataset: Dataset, preprocessing: Preprocessing, rows: np.ndarray, samples: int) -> None:
        self.signal = dataset.signal
        self.rows = rows
        self.shape = (len(rows), len(dataset.leads), samples)
        self._preprocessing, self._rate = preprocessing, dataset.sampling_rate

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int | slice | np.ndarray) -> np.ndarray:
        """Prepared windows, copied into memory: one `(leads, samples)`, or `(windows, leads, samples)`."""
        rows = self.rows[index]
        prepared = self._preprocessing(np.array(self.signal[np.atleast_1d(rows)]), self._rate)
        return prepared if np.ndim(rows) else prepared[0]


class Prepared:
    """Windows split, resampled and normalised for one encoder; made once, used by every run of a comparison.

    Where the split leaves windows out, only those that are asked for are prepared, each time anew.

    A memory map whose prepared windows are larger than `KEPT_BYTES` stays where it is: batches are read and prepared
    when they are needed, with the same numbers.
    """

    def __init__(self, dataset: Dataset, split: Split, preprocessing: Preprocessing) -> None:
        self.dataset = dataset
        self.split = split
        self.preprocessing = preprocessing
        leads = len(dataset.leads)
        #: Samples of a window, at the rate of the encoder.
        self.samples: int = preprocessing(np.zeros((0, leads, dataset.samples)), dataset.sampling_rate).shape[-1]
        size = 4 * len(dataset) * leads * self.samples
        self.scaling = preprocessing.at_scaling(dataset.samples, dataset.sampling_rate)
        self._from_disk = size > KEPT_BYTES and on_disk(dataset.signal)
        self._uses_all = sum(map(len, split.by_name().values())) >= len(dataset)
        self._signal: np.ndarray | None = None
        if self._uses_all and not self._from_disk:
            self._signal = preprocessing(dataset.signal, dataset.sampling_rate)

    def windows(self, rows: np.ndarray) -> Windows:
        """Inputs `(rows, leads, samples)` and labels of `rows`."""
        inputs = LazyWindows(self.dataset, self.preprocessing, rows, self.samples)
        if self._signal is not None:
            return Windows(self._signal[rows], self.dataset.label[rows])
        return Windows(inputs if self._from_disk else inputs[:], self.dataset.label[rows])

    def unscaled(self, rows: np.ndarray) -> Windows:
        """As `windows`, before the amplitude is scaled: `Preprocessing.at_scaling`, which has the rest."""
        before, dataset = self.scaling[0], self.dataset
        none = np.zeros((0, len(dataset.leads), dataset.samples))
        samples = before(none, dataset.sampling_rate).shape[-1]
        inputs = LazyWindows(dataset, before, rows, samples)
        return Windows(inputs if self._from_disk else inputs[:], dataset.label[rows])

    def groups(self, rows: np.ndarray) -> np.ndarray | None:
        """The group of each of `rows`, None without groups."""
        return None if self.dataset.group is None else self.dataset.group[rows]


def on_disk(signal: np.ndarray) -> bool:
    """Whether the array is a memory map, or a view of one."""
    base: object = signal
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return True
        base = base.base
    return False


def check_dataset(dataset: Dataset, function: str) -> None:
    """Raise SettingError unless `dataset` is one; it is the first argument of every workflow."""
    if not isinstance(dataset, Dataset):
        raise SettingError(
            f"{function} got a {type(dataset).__name__} first; write {function}(dataset, recipe, ...) with a dataset "
            "from read_dataset, read_records or simulate"
        )


def note_conditions(progress: ProgressBar, dataset: Dataset, warnings: Iterable[str]) -> None:
    """Log the positive class of two, and the warnings, when all checks have passed and before the training."""
    if dataset.positive_sentence:
        progress.note(dataset.positive_sentence)
    for warning in warnings:
        progress.note(f"warning: {warning}")


def load_recipe_model(recipe: Recipe, dataset: Dataset, seed: int) -> Classifier:
    """The classifier that `recipe` names, for the classes and leads of `dataset`."""
    model = load_model(
        recipe.model.name,
        checkpoint=recipe.model.checkpoint,
        classes=dataset.classes,
        leads=_leads_for(recipe, dataset.leads),
        lead_mode=recipe.model.lead_mode,
        head=Head(recipe.model.head_hidden, recipe.model.head_dropout, pooling=recipe.model.pooling),
        seed=seed,
    )
    return model.like_published() if recipe.model.as_published else model


def _leads_for(recipe: Recipe, leads: tuple[str, ...]) -> tuple[str, ...]:
    """The leads of the windows that the recipe's encoder reads: all, or those that it has (`DataSettings.fit`)."""
    name = recipe.model.name
    if recipe.data.fit == "refuse" or recipe.model.lead_mode == "adapter" or not leads_problem(name, leads):
        return leads
    own = input_spec_of(name).leads
    found = tuple(lead for lead in leads if lead in own)
    if not found and len(own) == 1:  # a one-lead encoder takes any one lead
        found = ("II",) if "II" in leads else leads[:1]
    return found or leads


def prepare(model: Classifier, dataset: Dataset, split: Split, settings: DataSettings) -> Prepared:
    """Fit the preprocessing that the model's encoder wants on the training windows, and apply it to all.

    A length that is unusual for the encoder, leads and parts of windows that it does not read (`DataSettings.fit`), and
    test recordings that it was pretrained on, are further warnings of the split.

    Raises SettingError when model and data do not have the same classes, DataError for windows shorter than one token.
    """
    if model.classes != dataset.classes:
        raise SettingError(
            f"the model's classes are {', '.join(model.classes)}, the data's {', '.join(dataset.classes)}; "
            f"load the model with classes={dataset.classes}"
        )
    spec = model.base_encoder.input_spec
    fitted: list[str] = []
    if settings.fit == "encoder" and model.leads != dataset.leads:
        fitted.append(f"{model.name} reads lead {', '.join(model.leads)} of {', '.join(dataset.leads)}")
        dataset = dataset.with_leads(model.leads)
    samples = int(dataset.samples * spec.sampling_rate / dataset.sampling_rate)
    if samples < spec.minimum_samples:
        raise DataError(
            f"windows of {dataset.samples} samples at {dataset.sampling_rate:g} Hz are {samples} at the model's "
            f"{spec.sampling_rate:g} Hz; allowed: {spec.minimum_samples} or more"
        )
    steps, middle = preset_steps(model, settings), _middle(spec, dataset, settings)
    if middle:
        whole = f"{dataset.samples / dataset.sampling_rate:g} s"
        fitted.append(f"{model.name} reads the middle {middle[0].seconds:g} s of windows of {whole}")
    if steps:
        try:
            preprocessing = Preprocessing.preset(dataset, spec.sampling_rate, (*middle, *steps))
        except SettingError as error:
            raise SettingError(f"the preset of {model.name}: {error}; or leave it out with --preset none") from None
    else:
        preprocessing = Preprocessing.fit(
            dataset,
            split.train,
            sampling_rate=spec.sampling_rate,
            resampling=spec.resampling,
            normalisation=settings.normalisation,
        )
        if middle:
            preprocessing = replace(preprocessing, steps=(*middle, Resample(spec.sampling_rate, spec.resampling)))
    prepared = preprocessing(np.array(dataset.signal[:1]), dataset.sampling_rate).shape[2]
    try:
        spec.check_samples(prepared)
    except DataError as error:
        usual = spec.samples / spec.sampling_rate if spec.samples else spec.seconds
        needed = "another length, cut from recordings with --window"
        if usual is not None:
            needed = f"{usual:g} s, cut from recordings with --window {usual:g}"
        raise DataError(
            f"windows of {dataset.samples / dataset.sampling_rate:g} s do not fit {model.name}, at its "
            f"{spec.sampling_rate:g} Hz: {error}; take windows of {needed}{_in_a_row(dataset, usual)}"
        ) from None
    seen = pretraining_warnings(model, dataset, split.test)
    warnings = (*split.warnings, *fitted, *_unusual_length(dataset, spec.seconds), *seen)
    return Prepared(dataset, replace(split, warnings=warnings), preprocessing)


def _middle(spec: InputSpec, dataset: Dataset, settings: DataSettings) -> tuple[Middle, ...]:
    """The step that shortens windows which are a little too long for the encoder; none otherwise."""
    seconds, longest = dataset.samples / dataset.sampling_rate, spec.longest_seconds
    if settings.fit == "refuse" or longest is None or not longest < seconds <= longest / MIDDLE_FRACTION:
        return ()
    return (Middle(longest),)


def preset_steps(model: Classifier, settings: DataSettings) -> tuple[Step, ...]:
    """Steps of the preset that the settings name; none without a preset. Raises SettingError."""
    presets = model.base_encoder.input_spec.presets
    if settings.preset == "none" or (settings.preset == "auto" and not presets):
        return ()
    if settings.normalisation != DataSettings().normalisation:
        raise SettingError(
            f"normalisation is {settings.normalisation!r}, but the preset of {model.name} has its own; leave one out "
            "(--preset none)"
        )
    if settings.preset == "auto":
        return next(iter(presets.values()))
    choose(settings.preset, ("auto", "none", *presets), "preset")
    return presets[settings.preset]


def _unusual_length(dataset: Dataset, usual: float | None) -> list[str]:
    """A warning for windows much shorter or longer than the `usual` seconds of an encoder's pretraining."""
    seconds = dataset.samples / dataset.sampling_rate
    if usual is None or usual / USUAL_FACTOR <= seconds <= usual * USUAL_FACTOR:
        return []
    return [
        f"windows of {seconds:.3g} s, but the encoder was pretrained on about {usual:g} s: check the sampling rate, or "
        f"cut windows of such a length from recordings (--window){_in_a_row(dataset, usual)}"
    ]


def _in_a_row(dataset: Dataset, usual: float | None) -> str:
    """A hint for windows of one lead that are as long as several leads, one after the other."""
    if usual is None or len(dataset.leads) > 1 or dataset.samples / dataset.sampling_rate < FEWEST_IN_A_ROW * usual:
        return ""
    return "; leads in a row are read as one lead: give (windows, leads, samples)"


def summarise(dataset: Dataset, split: Split) -> dict[str, Any]:
    """The entries `data`, `split` and, of two classes, `positive` of metrics.json and results.json."""
    positive = {} if dataset.positive is None else {"class": dataset.positive, "reason": dataset.source.positive}
    windows, _, samples = dataset.signal.shape
    return {
        "data": {
            "path": dataset.source.path,
            "sha256": dataset.source.sha256,
            "windows": windows,
            "sampling_rate": dataset.sampling_rate,
            "samples": samples,
            "leads": list(dataset.leads),
            "signal_path": dataset.source.signal_path,
            "reading": dataset.source.reading,
        },
        "split": {
            "unit": split.unit,
            "origin": split.origin,
            "warnings": list(split.warnings),
            "duplicates": split.duplicates,
            "counts": split.counts(dataset),
        },
        **({"positive": positive} if positive else {}),
    }
