"""Flags that stand in the place of what a recipe says, the same for every command that trains with labels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from cyclopts import Parameter

from ecgtune.cli.flags import given, optional
from ecgtune.cli.inputs import COPY, Reading
from ecgtune.config.augmentation import Augmentation
from ecgtune.config.data import Input
from ecgtune.config.evaluation import Evaluation
from ecgtune.config.training import Training
from ecgtune.errors import SettingError
from ecgtune.recipe.recipe import Recipe, list_recipes, load_recipes

if TYPE_CHECKING:
    TrainingFlags = Training
    AugmentationFlags = Augmentation
    EvaluationFlags = Evaluation
    InputFlags = Input
else:
    TrainingFlags = optional(Training, "TrainingFlags")
    AugmentationFlags = optional(Augmentation, "AugmentationFlags")
    EvaluationFlags = optional(Evaluation, "EvaluationFlags")
    InputFlags = optional(Input, "InputFlags")


@Parameter(name="*")
@dataclass(frozen=True)
class ModelFlags:
    """The encoder and its head; what is not given is the recipe's."""

    model: str | None = None
    """A name from `ecgtune models`, a checkpoint or a converted folder."""
    lead_adapter: bool | None = None
    """Train a small mixer of the recorded leads in front of the encoder: any leads into any encoder."""
    pooling: Literal["mean", "statistics", "attention"] | None = None
    """What the head reads: the mean of the tokens; mean, standard deviation and maximum; or a learned weighted mean."""
    head_hidden: int | None = None
    """Width of a hidden layer in the head."""
    head_dropout: float | None = None
    """Dropout inside the head."""


@Parameter(name="*")
@dataclass(frozen=True)
class RecipeFlags:
    """All of a recipe but its method."""

    model: ModelFlags = field(default_factory=ModelFlags)
    input: InputFlags = field(default_factory=InputFlags)
    training: TrainingFlags = field(default_factory=TrainingFlags)
    augmentation: AugmentationFlags = field(default_factory=AugmentationFlags)
    evaluation: EvaluationFlags = field(default_factory=EvaluationFlags)

    def recipes(self, methods: str, reading: Reading) -> list[Recipe]:
        """The recipes of names or files joined by commas, with what was typed in the place of their own."""
        names = [name.strip() for name in methods.split(",") if name.strip()]
        if not names:
            raise SettingError(
                f"--methods {methods!r} names none; allowed: {', '.join(list_recipes())}, joined by commas"
            )
        return [self._over(recipe, reading) for name in names for recipe in load_recipes(name)]

    @property
    def typed(self) -> list[str]:
        """The settings of training, model and augmentation that were given, as "table.name"."""
        tables = ("training", "model", "augmentation")
        return [f"{table}.{name}" for table in tables for name in given(getattr(self, table))]

    def _over(self, recipe: Recipe, reading: Reading) -> Recipe:
        asked = given(self.model)
        if reading.lead == COPY:
            asked["lead_mode"] = "copy"
        if "model" in asked:
            asked["name"] = asked.pop("model")
        training = given(self.training)
        if "learning_rate" in training:
            # A typed rate is meant as it is, whatever encoder the recipe's own was found on.
            training.setdefault("rate_width", None)
        augmentation = given(self.augmentation)
        if augmentation and not replace(recipe.augmentation, **{**augmentation, "views": None}).acting:
            augmentation.setdefault("views", None)  # who switches all of it off needs no copies of it
        return replace(
            recipe,
            model=replace(recipe.model, **asked),
            input=replace(recipe.input, **given(self.input)),
            training=replace(recipe.training, **training),
            augmentation=replace(recipe.augmentation, **augmentation),
            evaluation=replace(recipe.evaluation, **given(self.evaluation)),
        )
