"""Options that commands share: their groups in the help, and flags made from the settings dataclasses."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import textwrap
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, get_args, get_origin, get_type_hints

from cyclopts import Group, Parameter

from ecgtune.config.augmentation import Augmentation
from ecgtune.config.commands import CompareSettings
from ecgtune.config.data import DataSettings
from ecgtune.config.evaluation import Evaluation
from ecgtune.config.model import ModelSettings
from ecgtune.config.optimisation import Optimisation
from ecgtune.config.reading import ReadSettings
from ecgtune.config.trainer import TrainerSettings
from ecgtune.errors import SettingError

if TYPE_CHECKING:
    from ecgtune.recipes.recipe import Recipe

#: Groups in the order in which the help shows them.
MOST_USED, DATA, RECORDINGS, SPLIT, MODEL, OPTIMISATION, AUGMENTATION, EVALUATION, MACHINE = (
    Group(name, sort_key=position)
    for position, name in enumerate(
        ("Most used", "Data", "Recordings", "Split", "Model", "Optimisation", "Augmentation", "Evaluation", "Machine")
    )
)
#: Settings whose flag has another name.
_FLAGS = {"start": "--from", "stop": "--to"}
_NEGATIVE = {"baselines": "--no-baselines"}
#: Settings that are not in the group of their dataclass.
_GROUPS = {
    **dict.fromkeys(("model", "epochs", "learning_rate", "device", "seeds", "trials", "sampling_rate"), MOST_USED),
    "normalisation": DATA,
}

DataFile: TypeAlias = Annotated[
    Path,
    Parameter(
        group=MOST_USED,
        help="CSV (signal_0 ... signal_599,label) or NPZ file of windows; with --records the table of labels; with"
        " --labels-from-headers the folder of recordings.",
    ),
]
Members: TypeAlias = Annotated[
    tuple[Path, ...],
    Parameter(
        group=MOST_USED,
        help="Folders of further runs on the same windows and classes; probabilities are averaged.",
        consume_multiple=True,
        show_default=False,
    ),
]
MethodNames: TypeAlias = Annotated[
    str,
    Parameter(
        group=MOST_USED,
        help="Names of methods and recipes, or TOML files, joined by commas; see `ecgtune methods`.",
    ),
]
ModelNames: TypeAlias = Annotated[
    str | None,
    Parameter(
        group=MODEL,
        help="Encoders joined by commas: each with every method on the same windows, at its own rate, leads and preset."
        " NAME=FILE names the published file of a model.",
        show_default=False,
    ),
]
Out: TypeAlias = Annotated[Path, Parameter(group=MOST_USED, help="Output folder.")]
Seed: TypeAlias = Annotated[
    int,
    Parameter(group=MACHINE, help="Seed of new weights, dropout and the order of an epoch."),
]
Wait: TypeAlias = Annotated[
    bool,
    Parameter(group=MACHINE, help="Wait while another command uses the output folder.", show_default=False),
]


def optional(
    cls: type,
    name: str,
    group: Group,
    *,
    recipe: bool = True,
    skip: Collection[str] = (),
    renamed: Mapping[str, str] | None = None,
    flags: Mapping[str, str] = _FLAGS,
) -> Any:
    """A dataclass of flags with the fields of `cls`, each None unless the user gives it.

    Help texts are the docstrings under the fields of `cls`; the default shown is that of `cls`, where `recipe` says so
    only for recipes that have none of their own. `skip` names fields without a flag, `renamed` gives a field another
    flag; flags: settings of reading whose flag is not their name.
    """
    hints, texts = get_type_hints(cls), _field_docstrings(cls)
    fields = []
    for item in dataclasses.fields(cls):
        if item.name in skip:
            continue
        flag_name = (renamed or {}).get(item.name, item.name)
        defaults = [f"{item.default}"] if item.default not in (None, ()) else []
        defaults = ["the recipe's", *defaults] if recipe else defaults
        help_text = texts[item.name] + (f" [default: {', else '.join(defaults)}]" if defaults else "")
        kind = hints[item.name] if type(None) in get_args(hints[item.name]) else hints[item.name] | None
        # A setting of several values is typed as one flag with all of them behind it.
        many = any(get_origin(part) is tuple for part in get_args(kind)) and str not in get_args(kind)
        parameter = Parameter(
            name=flags.get(flag_name) if issubclass(cls, ReadSettings) else None,
            help=help_text,
            show_default=False,
            negative=_NEGATIVE.get(flag_name, ()),
            consume_multiple=many,
            group=_GROUPS.get(flag_name, group),
        )
        fields.append((flag_name, Annotated[kind, parameter], None))
    made = dataclasses.make_dataclass(name, fields, frozen=True)
    made.__module__ = __name__  # cyclopts takes classes of the module `types`, make_dataclass's default, for built-ins
    return Parameter(name="*")(made)


def given(flags: Any) -> dict[str, Any]:
    """The flags that the user gave, by field name."""
    values = {item.name: getattr(flags, item.name) for item in dataclasses.fields(flags)}
    return {name: value for name, value in values.items() if value is not None}


def _field_docstrings(cls: type) -> dict[str, str]:
    texts: dict[str, str] = {}
    for base in reversed([each for each in cls.__mro__ if dataclasses.is_dataclass(each)]):
        texts |= _own_docstrings(base)
    return texts


def _own_docstrings(cls: type) -> dict[str, str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body  # type: ignore[attr-defined]
    texts = {}
    for item, text in itertools.pairwise(body):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and isinstance(text, ast.Expr):
            texts[item.target.id] = ast.literal_eval(text.value)
    return texts


if TYPE_CHECKING:
    OptimisationFlags = Optimisation
    TrainerFlags = TrainerSettings
    AugmentationFlags = Augmentation
    EvaluationFlags = Evaluation
    DataFlags = DataSettings
    ReadFlags = ReadSettings
    CompareFlags = CompareSettings

    class ModelFlags(ModelSettings):
        """Flags of a model."""
else:
    OptimisationFlags = optional(Optimisation, "OptimisationFlags", OPTIMISATION)
    TrainerFlags = optional(TrainerSettings, "TrainerFlags", MACHINE)
    AugmentationFlags = optional(Augmentation, "AugmentationFlags", AUGMENTATION)
    EvaluationFlags = optional(Evaluation, "EvaluationFlags", EVALUATION)
    DataFlags = optional(DataSettings, "DataFlags", SPLIT)
    ReadFlags = optional(ReadSettings, "ReadFlags", DATA, recipe=False)
    CompareFlags = optional(CompareSettings, "CompareFlags", EVALUATION, recipe=False)
    ModelFlags = optional(ModelSettings, "ModelFlags", MODEL, renamed={"name": "model"})


@Parameter(name="*")
@dataclass(frozen=True)
class RecipeFlags:
    """All of a recipe but its method."""

    data: DataFlags = field(default_factory=DataFlags)
    model: ModelFlags = field(default_factory=ModelFlags)
    optimisation: OptimisationFlags = field(default_factory=OptimisationFlags)
    augmentation: AugmentationFlags = field(default_factory=AugmentationFlags)
    evaluation: EvaluationFlags = field(default_factory=EvaluationFlags)
    trainer: TrainerFlags = field(default_factory=TrainerFlags)

    def recipes(self, methods: str, *, models: str | None = None) -> list[Recipe]:
        """The recipes of names or files joined by commas, with the settings that were given in place of their own.

        models: encoders joined by commas, each with every recipe.
        """
        from ecgtune.recipes.comparison import with_models
        from ecgtune.recipes.lookup import changed
        from ecgtune.recipes.recipe import list_recipes, load_recipes

        names = [name.strip() for name in methods.split(",") if name.strip()]
        if not names:
            raise SettingError(
                f"--methods {methods!r} names none; allowed: {', '.join(list_recipes())}, joined by commas"
            )
        tables = (self.data, self.model, self.optimisation, self.augmentation, self.evaluation, self.trainer)
        settings = {name: value for table in tables for name, value in given(table).items()}
        recipes = [changed(recipe, settings) for name in names for recipe in load_recipes(name)]
        if models is None:
            return recipes
        if given(self.model).keys() & {"model", "checkpoint"}:
            raise SettingError(
                "--models and --model (or --checkpoint) are both given; give --models alone, NAME=FILE for a file"
            )
        return with_models(recipes, [name.strip() for name in models.split(",") if name.strip()])

    @property
    def typed(self) -> list[str]:
        """The settings of optimisation, model and augmentation that were given, as "table.name"."""
        tables = ("optimisation", "model", "augmentation")
        return [f"{table}.{name}" for table in tables for name in given(getattr(self, table))]


@Parameter(name="*")
@dataclass(frozen=True)
class VariantFlags:
    """Variants of a comparison, and how they are compared."""

    methods: MethodNames = "full,adapter,lora,probe"
    models: ModelNames = None
    compared: CompareFlags = field(default_factory=CompareFlags)

    def settings(self) -> CompareSettings:
        return CompareSettings(**given(self.compared))


@Parameter(name="*", group=MACHINE)
@dataclass(frozen=True)
class RunFlags:
    """A run folder: how it begins, and what its random numbers are."""

    resume: Annotated[bool, Parameter(group=MOST_USED, show_default=False)] = False
    """Resume the run in the output folder."""
    seed: Seed = 0
    wait: Wait = False
