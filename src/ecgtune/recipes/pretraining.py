"""A pretraining as values: the encoder's sizes, the objective, the crops and the loop, in one TOML file."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import tomli_w

from ecgtune.config.base import check_fields, choose, from_table, from_tables, require, to_table
from ecgtune.config.optimisation import Optimisation
from ecgtune.config.trainer import TrainerSettings
from ecgtune.recipes.recipe import field_differences, is_pretraining, list_pretrainings, read_tables

#: Largest values of sizes that others multiply, and of the number of weights.
_LARGEST = {"depth": 1000, "conv_layers": 16, "masks": 1000, "decoder_layers": 100, "decoder_width": 8192}
_MOST_WEIGHTS, _MOST_CODES = 5e9, 1 << 28


@dataclass(frozen=True)
class EncoderSizes:
    """Architecture and sizes of an encoder that starts from random weights; the defaults are those of ecg-fm-tiny."""

    architecture: str = "ecg-fm"
    """Registered architecture that has a module for the objective."""

    sampling_rate: float = 100.0
    """Hz; recordings of another rate are resampled."""
    width: int = 192
    """Width of the tokens."""
    depth: int = 4
    """Transformer layers."""
    heads: int = 3
    """Attention heads."""
    feed_forward: int = 768
    """Inner width of the feed-forward blocks."""
    conv_channels: int = 192
    """Channels of the convolutional stem."""
    conv_layers: int = 3
    """Blocks of the stem; each halves the rate, so a token is 2^conv_layers samples."""
    pos_taps: int = 32
    """Tokens that the positional convolution sees."""
    pos_groups: int = 16
    """Groups of the positional convolution."""

    def __post_init__(self) -> None:
        check_fields(self)
        for item in dataclasses.fields(self)[1:]:
            value, most = getattr(self, item.name), _LARGEST.get(item.name, 65_536)
            require(1 <= value <= most, f"{item.name} of the encoder is {value}; allowed: 1 to {most}")
        weights = self.depth * self.width * (4 * self.width + 2 * self.feed_forward)
        weights += self.pos_taps * self.width**2 // self.pos_groups + self.conv_layers * self.conv_channels**2
        require(
            weights <= _MOST_WEIGHTS,
            f"width, depth, feed_forward, conv_channels and pos_taps make about {weights:.2g} weights; allowed: up to "
            f"{_MOST_WEIGHTS:.2g}",
        )

    @property
    def samples_per_token(self) -> int:
        """Samples of one token."""
        return 2**self.conv_layers


def _check_size(name: str, value: int) -> None:
    most = _LARGEST.get(name, 65_536)
    require(1 <= value <= most, f"{name} is {value}; allowed: 1 to {most}")


@dataclass(frozen=True)
class PretrainingTask:
    """Base of the settings of the objectives, which need no labels."""

    name: ClassVar[str]
    #: Used when the training settings give no learning rate.
    learning_rate: ClassVar[float]


@dataclass(frozen=True)
class ContrastiveTask(PretrainingTask):
    """Contrastive prediction of quantised masked tokens (wav2vec 2.0), and CMSC between adjacent segments.

    masked: fraction of tokens to predict, in spans of mask_span. negatives: distractors from the same record.
    lead_dropout: probability that a lead is set to zero (never with one lead). groups, codes, code_width: of the
    quantiser. final_width: of predictions and targets. feature_grad_mult: factor on the stem's gradient.
    """

    name: ClassVar[str] = "contrastive"
    learning_rate: ClassVar[float] = 5e-4
    #: Perplexity of a group of codes below which all its tokens have one code; training stops.
    least_perplexity: ClassVar[float] = 1.1
    masked: float = 0.49
    mask_span: int = 10
    negatives: int = 100
    lead_dropout: float = 0.5
    groups: int = 2
    codes: int = 320
    code_width: int = 256
    final_width: int = 256
    feature_grad_mult: float = 0.1

    def __post_init__(self) -> None:
        check_fields(self)
        require(0 < self.masked < 1, f"masked is {self.masked}; allowed: above 0 and below 1")
        require(0 <= self.lead_dropout < 1, f"lead_dropout is {self.lead_dropout}; allowed: 0 up to below 1")
        require(0 < self.feature_grad_mult <= 1, f"feature_grad_mult is {self.feature_grad_mult}; allowed: (0, 1]")
        for name in ("mask_span", "negatives", "groups", "codes", "code_width", "final_width"):
            _check_size(name, getattr(self, name))
        values = self.groups * self.codes * self.code_width
        require(
            values <= _MOST_CODES, f"groups, codes and code_width make {values} numbers; allowed: up to {_MOST_CODES}"
        )
        require(
            self.code_width % self.groups == 0,
            f"code_width is {self.code_width}; allowed: a multiple of groups ({self.groups})",
        )


@dataclass(frozen=True)
class MaskedTask(PretrainingTask):
    """Base of the objectives with masks.

    visible: fraction of the window that the encoder reads, in spans of visible_span tokens of a lead. masks: number of
    masks per window. decoder_layers, decoder_width, decoder_kernel, decoder_groups: of the convolutions that fill in
    the hidden positions.
    """

    visible: float = 0.3
    visible_span: int = 5
    masks: int = 4
    decoder_layers: int = 3
    decoder_width: int = 192
    decoder_kernel: int = 7
    decoder_groups: int = 16

    def __post_init__(self) -> None:
        check_fields(self)
        require(0 < self.visible < 1, f"visible is {self.visible}; allowed: above 0 and below 1")
        for name in ("visible_span", "decoder_layers", "decoder_width", "decoder_kernel", "decoder_groups"):
            _check_size(name, getattr(self, name))
        require(self.masks <= _LARGEST["masks"], f"masks is {self.masks}; allowed: at most {_LARGEST['masks']}")
        require(self.decoder_kernel % 2 == 1, f"decoder_kernel is {self.decoder_kernel}; allowed: odd numbers")
        require(
            self.decoder_width % self.decoder_groups == 0,
            f"decoder_width is {self.decoder_width}; allowed: a multiple of decoder_groups ({self.decoder_groups})",
        )

    @property
    def decoder(self) -> dict[str, int]:
        """Sizes of the decoder, as the modules take them."""
        return {name: getattr(self, f"decoder_{name}") for name in ("layers", "width", "kernel", "groups")}


@dataclass(frozen=True)
class MaskedTeacherTask(MaskedTask):
    """Masked prediction of the tokens of a teacher, a moving average of the encoder (data2vec 2.0).

    decay_start, decay_end: of the teacher's moving average, linear over the training. keep: the weights to save.
    rhythm: weight, relative to 1 for the masked prediction, of an auxiliary task: predict rhythm and beat shape of the
    crop and of its recording, as classical signal processing measures them, from the whole crop. masks = 0 leaves only
    this task.
    """

    name: ClassVar[str] = "data2vec"
    learning_rate: ClassVar[float] = 1e-3
    #: Variance of the teacher's tokens (about 0.7 with random weights) below which they are constant; training stops.
    least_variance: ClassVar[float] = 1e-3
    decay_start: float = 0.98
    decay_end: float = 0.999
    keep: Literal["student", "teacher"] = "student"
    rhythm: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.rhythm >= 0, f"rhythm is {self.rhythm}; allowed: 0 (off) or more")
        require(
            self.masks >= (0 if self.rhythm else 1),
            f"masks is {self.masks}; allowed: 1 or more, or 0 when rhythm is above 0",
        )
        require(
            0 <= self.decay_start <= self.decay_end < 1,
            f"decay goes from {self.decay_start} to {self.decay_end}; allowed: 0 or more, rising, below 1",
        )


@dataclass(frozen=True)
class MaskedSignalTask(MaskedTask):
    """Prediction of hidden samples from the others (masked autoencoders)."""

    name: ClassVar[str] = "masked"
    learning_rate: ClassVar[float] = 1e-4
    visible: float = 0.4
    masks: int = 2
    decoder_layers: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.masks >= 1, f"masks is {self.masks}; allowed: 1 or more")


#: Settings of `Optimisation` and `TrainerSettings` that need labels, a head or a frozen encoder.
FINE_TUNING_ONLY = frozenset(
    (
        *("class_weights", "loss", "focal_gamma", "pos_weight", "label_smoothing", "rate_width", "head_rate_factor"),
        *("head_epochs", "layer_decay", "drop_path", "layer_drop", "prefix_cache"),
        *("gradient_checkpointing", "max_memory"),
    )
)
TASKS: dict[str, type[PretrainingTask]] = {
    cls.name: cls for cls in (ContrastiveTask, MaskedTeacherTask, MaskedSignalTask)
}
#: Bundled recipe by which weights of an objective are trained further.
CONTINUING = {
    ContrastiveTask.name: "continue-contrastive",
    MaskedTeacherTask.name: "continue-masked-teacher",
    MaskedSignalTask.name: "continue-masked-signal",
}


@dataclass(frozen=True)
class StartWeights:
    """Weights that a pretraining continues from; random ones of the sizes in [encoder] without a name."""

    name: str | None = None
    """Name of a model, a checkpoint file, or the run folder of a pretraining."""
    checkpoint: str | None = None
    """Published file of the named model."""

    def __post_init__(self) -> None:
        check_fields(self)
        require(
            self.checkpoint is None or self.name is not None,
            f"checkpoint {self.checkpoint} is given without a model; give its name (--from NAME)",
        )


@dataclass(frozen=True)
class Crops:
    """Windows of the recordings, cut at new positions in each epoch, and their augmentation."""

    window_seconds: float = 6.0
    """Length of a window, or of each of the two adjacent segments of the contrastive objective."""
    val_fraction: float = 0.05
    """Fraction of recordings held out for the validation loss."""
    val_seed: int = 0
    """Seed of the choice of these recordings."""
    time_stretch: float = 0.0
    """Speed a crop up or down by up to this fraction; 0.1 is 90 to 110 %."""
    gain: float = 0.0
    """Vary the amplitude within a crop by up to this fraction; the z-score removes a constant gain."""
    wander: float = 0.0
    """Largest amplitude of a slow baseline wander, in standard deviations of the crop."""
    noise: float = 0.0
    """Largest standard deviation of white noise, in standard deviations of the crop."""

    def __post_init__(self) -> None:
        check_fields(self)
        require(0 < self.window_seconds <= 3600, f"window_seconds is {self.window_seconds:g}; allowed: above 0 to 3600")
        require(0 < self.val_fraction < 1, f"val_fraction is {self.val_fraction}; allowed: above 0 and below 1")
        for name in ("time_stretch", "gain"):
            require(0 <= getattr(self, name) < 1, f"{name} is {getattr(self, name)}; allowed: 0 (off) up to below 1")
        for name in ("wander", "noise"):
            require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; allowed: 0 (off) or more")


@dataclass(frozen=True)
class Pretraining:
    """All settings of a pretraining except recordings and seed.

    `optimisation.checkpoint_metric` is "last", or "loss" for the epoch with the lowest validation loss. The targets of
    a teacher change, so its losses of different epochs are not comparable.
    """

    name: str
    objective: PretrainingTask = field(default_factory=MaskedTeacherTask)
    start: StartWeights = field(default_factory=StartWeights)
    encoder: EncoderSizes = field(default_factory=EncoderSizes)
    crops: Crops = field(default_factory=Crops)
    optimisation: Optimisation = field(default_factory=lambda: Optimisation(checkpoint_metric="last"))
    trainer: TrainerSettings = field(default_factory=TrainerSettings)

    def __post_init__(self) -> None:
        named = isinstance(self.name, str) and re.fullmatch(r"[\w-][\w.-]*", self.name)
        require(bool(named), f"name {self.name!r} of a recipe; allowed: letters, digits, - _ and . (it names a folder)")
        require(
            self.start.name is None or self.encoder == EncoderSizes(),
            f"{self.name} has sizes in [encoder], but those of {self.start.name} are used; leave [encoder] out",
        )
        for settings in (self.optimisation, self.trainer):
            for item in dataclasses.fields(settings):
                value = getattr(settings, item.name)
                unused = item.name in FINE_TUNING_ONLY and value != item.default
                require(not unused, f"{item.name} is {value!r}, but it is for fine-tuning only; leave it out")
        metric = self.optimisation.checkpoint_metric
        require(
            metric != "auroc", f"checkpoint_metric is {metric!r}, but a pretraining has no labels; allowed: last, loss"
        )
        self.trainer.check_batch(self.optimisation.batch_size)
        written = self.objective.keep if isinstance(self.objective, MaskedTeacherTask) else "student"
        require(
            not self.optimisation.ema or written == "student",
            f"ema is {self.optimisation.ema}, but the teacher of keep is a moving average already; leave ema out",
        )


_TABLES: dict[str, Any] = {
    "start": StartWeights,
    "encoder": EncoderSizes,
    "crops": Crops,
    "optimisation": Optimisation,
    "trainer": TrainerSettings,
}


def load_pretraining_recipe(name_or_path: str) -> Pretraining:
    """The pretraining of a name or a TOML file. Raises SettingError with file and setting."""
    path, tables = read_tables(name_or_path, list_pretrainings(), "pretraining")
    require(
        is_pretraining(tables),
        f"{path.name} has no table 'objective', so it is not a pretraining; allowed: {', '.join(list_pretrainings())}, "
        "or a .toml file with one",
    )
    return pretraining_from_tables(tables, path.name, path.stem)


def pretraining_from_tables(tables: Mapping[str, Any], where: str, name: str) -> Pretraining:
    """A pretraining from parsed TOML; `where` and `name` as in `recipe_from_tables`."""
    require(isinstance(tables["objective"], Mapping), f"objective in {where} must be a table, written [objective]")
    loop = tables.get("optimisation", {})
    if isinstance(loop, Mapping):
        tables = {**tables, "optimisation": {"checkpoint_metric": "last", **loop}}
    parts = from_tables(_TABLES, tables, where, other=("name", "objective"))
    settings = dict(tables["objective"])
    require("name" in settings, f"[objective] of {where} has no name; allowed: {', '.join(TASKS)}")
    task = choose(str(settings.pop("name")), TASKS, f"objective of {where}:")
    objective = from_table(TASKS[task], settings, f"[objective] of {where}")
    return Pretraining(name=tables.get("name", name), objective=objective, **parts)


def pretraining_text(recipe: Pretraining) -> str:
    """The pretraining as TOML with every setting that is not None; reads back as an equal one."""
    tables: dict[str, Any] = {"name": recipe.name}
    tables["objective"] = {"name": recipe.objective.name, **to_table(recipe.objective)}
    for key in _TABLES:
        table = to_table(getattr(recipe, key))
        if table:
            tables[key] = table
    return tomli_w.dumps(tables)


def pretraining_differences(stored: Pretraining, asked: Pretraining) -> list[str]:
    """The differences as phrases ("encoder.width was 192, now 256")."""
    found = []
    if type(stored.objective) is not type(asked.objective):
        found.append(f"objective was {stored.objective.name}, now {asked.objective.name}")
    else:
        found += field_differences("objective", stored.objective, asked.objective)
    for key in _TABLES:
        found += field_differences(key, getattr(stored, key), getattr(asked, key))
    return found
