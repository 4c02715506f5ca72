"""Flags that stand in the place of what a recipe says, the same for every command that trains with labels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from cyclopts import Parameter

from ecgtune.cli.flags import given, optional
from ecgtune.cli.inputs import COPY, Reading
from ecgtune.config.augmentation import Augmentation
from ecgtune.config.data import DataSettings
from ecgtune.config.evaluation import Evaluation
from ecgtune.config.optimisation import Optimisation
from ecgtune.config.trainer import TrainerSettings
from ecgtune.errors import SettingError
from ecgtune.recipe.recipe import Recipe, list_recipes, load_recipes

if TYPE_CHECKING:
    OptimisationFlags = Optimisation
    TrainerFlags = TrainerSettings
    AugmentationFlags = Augmentation
    EvaluationFlags = Evaluation
    DataFlags = DataSettings
else:
    OptimisationFlags = optional(Optimisation, "OptimisationFlags")
    TrainerFlags = optional(TrainerSettings, "TrainerFlags")
    AugmentationFlags = optional(Augmentation, "AugmentationFlags")
    EvaluationFlags = optional(Evaluation, "EvaluationFlags")
    DataFlags = optional(DataSettings, "DataFlags")


@Parameter(name="*")
@dataclass(frozen=True)
class ModelFlags:
    """The encoder and its head; what is not given is the recipe's."""

    model: str | None = None
    """A name from `ecgtune models`, a checkpoint or a converted folder."""
    lead_adapter: bool | None = None
    """Train a small mixer of the recorded leads in front of the encoder: any leads into any encoder."""
    pooling: Literal["auto", "mean", "class_token", "none", "statistics", "attention"] | None = None
    """Pooling of the tokens for the head: as the encoder's weights expect (auto); their mean; the class token; the only
    token (none); mean, standard deviation and maximum (statistics); or a learned weighted mean (attention)."""
    head_hidden: int | None = None
    """Width of a hidden layer in the head."""
    head_dropout: float | None = None
    """Dropout inside the head."""


@Parameter(name="*")
@dataclass(frozen=True)
class RecipeFlags:
    """All of a recipe but its method."""

    model: ModelFlags = field(default_factory=ModelFlags)
    data: DataFlags = field(default_factory=DataFlags)
    optimisation: OptimisationFlags = field(default_factory=OptimisationFlags)
    trainer: TrainerFlags = field(default_factory=TrainerFlags)
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
        """The settings of optimisation, model and augmentation that were given, as "table.name"."""
        tables = ("optimisation", "model", "augmentation")
        return [f"{table}.{name}" for table in tables for name in given(getattr(self, table))]

    def _over(self, recipe: Recipe, reading: Reading) -> Recipe:
        asked = given(self.model)
        if reading.lead == COPY:
            asked["lead_mode"] = "copy"
        if "model" in asked:
            asked["name"] = asked.pop("model")
        optimisation = given(self.optimisation)
        if "learning_rate" in optimisation:
            # A typed rate is meant as it is, whatever encoder the recipe's own was found on.
            optimisation.setdefault("rate_width", None)
        augmentation = given(self.augmentation)
        if augmentation and not replace(recipe.augmentation, **{**augmentation, "augmented_copies": None}).acting:
            augmentation.setdefault("augmented_copies", None)  # who switches all of it off needs no copies of it
        return replace(
            recipe,
            model=replace(recipe.model, **asked),
            data=replace(recipe.data, **given(self.data)),
            optimisation=replace(recipe.optimisation, **optimisation),
            trainer=replace(recipe.trainer, **given(self.trainer)),
            augmentation=replace(recipe.augmentation, **augmentation),
            evaluation=replace(recipe.evaluation, **given(self.evaluation)),
        )
