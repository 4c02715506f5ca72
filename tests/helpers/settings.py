"""Settings of a training by the names of their fields, in whichever dataclass those are."""

from dataclasses import fields, replace
from typing import NamedTuple, TypeVar

from ecgtune.config.evaluation import Evaluation
from ecgtune.config.optimisation import Optimisation
from ecgtune.config.trainer import TrainerSettings
from ecgtune.recipes.pretraining import Pretraining
from ecgtune.recipes.recipe import Recipe

TABLES = {"optimisation": Optimisation, "trainer": TrainerSettings, "evaluation": Evaluation}
R = TypeVar("R", Recipe, Pretraining)


class Loop(NamedTuple):
    """What the loop takes."""

    optimisation: Optimisation
    trainer: TrainerSettings

    def __getattr__(self, name):
        """A setting of either, by its name alone."""
        return getattr(self.optimisation if hasattr(self.optimisation, name) else self.trainer, name)


def changed(recipe: R, **settings) -> R:
    """The recipe with settings of its optimisation, trainer and evaluation."""
    return replace(recipe, **{table: replace(getattr(recipe, table), **own) for table, own in _sorted(settings)})


def loop(base: Loop = Loop(Optimisation(), TrainerSettings()), **settings) -> Loop:  # noqa: B008
    """`base` with settings of optimisation and trainer."""
    return base._replace(**{table: replace(getattr(base, table), **own) for table, own in _sorted(settings)})


def _sorted(settings):
    homes = {field.name: table for table, cls in TABLES.items() for field in fields(cls)}
    tables = {table: {} for table in TABLES}
    for name, value in settings.items():
        tables[homes[name]][name] = value
    return [(table, own) for table, own in tables.items() if own]
