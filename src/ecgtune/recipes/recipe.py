"""A recipe: everything that decides a run, as one frozen dataclass and one TOML file.

A file in `recipes/` is known by its name; any other by its path. A file with `[[variant]]` tables holds several recipes
that differ in what the variants say.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import tomli_w

from ecgtune.config.augmentation import Augmentation
from ecgtune.config.base import from_tables, require, suggest, to_table
from ecgtune.config.data import DataSettings
from ecgtune.config.evaluation import Evaluation
from ecgtune.config.model import ModelSettings
from ecgtune.config.optimisation import Optimisation
from ecgtune.config.trainer import TrainerSettings
from ecgtune.errors import SettingError
from ecgtune.methods.base import Method
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.registry import find_method, method_from_table, method_names, method_to_table
from ecgtune.utils.files import toml_value


@dataclass(frozen=True)
class Recipe:
    """One variant of a comparison; `name` is its folder and its key in every result, by default that of the method."""

    name: str = ""
    method: Method = field(default_factory=LoRA)
    data: DataSettings = field(default_factory=DataSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    optimisation: Optimisation = field(default_factory=Optimisation)
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    augmentation: Augmentation = field(default_factory=Augmentation)
    evaluation: Evaluation = field(default_factory=Evaluation)
    title: str | None = None

    def __post_init__(self) -> None:
        if self.name == "":
            object.__setattr__(self, "name", self.method.name)
        named = isinstance(self.name, str) and re.fullmatch(r"[\w-][\w.-]*", self.name)
        require(bool(named), f"name {self.name!r} of a recipe; allowed: letters, digits, - _ and . (it names a folder)")
        titled = self.title is None or isinstance(self.title, str)
        require(titled, f"title {self.title!r} of {self.name}; a text is needed")
        self.trainer.check_batch(self.optimisation.batch_size)

    @property
    def copies(self) -> int:
        """How many copies of its training windows a training passes through what is computed once."""
        copies = self.augmentation.augmented_copies
        return min(copies, self.optimisation.epochs) if copies else 1

    @property
    def label(self) -> str:
        """What tables and figures call it."""
        return self.title or self.method.title + (" + lead adapter" if self.model.lead_mode == "adapter" else "")


#: Table of a recipe -> its settings.
TABLES: dict[str, Any] = {
    "data": DataSettings,
    "model": ModelSettings,
    "optimisation": Optimisation,
    "trainer": TrainerSettings,
    "augmentation": Augmentation,
    "evaluation": Evaluation,
}
#: The recipes that `demo` compares: the plain methods that most will want to know about.
METHOD_RECIPES = ("full", "lora", "adapter", "probe")


def recipe_folder() -> Path:
    """The folder of recipes: inside an installed package, or beside `src/` in a checkout."""
    packaged = Path(str(files("ecgtune.recipes") / "files"))
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[3] / "recipes"


def list_recipes() -> list[str]:
    """Names of the bundled fine-tuning recipes, and of registered methods, which need none."""
    return sorted({*bundled_recipes(), *method_names()})


def bundled_recipes() -> list[str]:
    """Names of the bundled fine-tuning recipes."""
    return list(_names(pretraining=False))


def list_pretrainings() -> list[str]:
    """Names of the bundled pretraining recipes."""
    return list(_names(pretraining=True))


def is_pretraining(tables: Mapping[str, Any]) -> bool:
    """Whether parsed TOML is a pretraining: it has an objective where a fine-tuning has a method."""
    return "objective" in tables


def load_recipes(name_or_path: str) -> list[Recipe]:
    """The recipe, or the variants, of a name or a TOML file. Raises SettingError with file and setting.

    A method without a bundled recipe, such as one of the user's own, has its defaults.
    """
    if name_or_path in method_names() and name_or_path not in bundled_recipes():
        return [Recipe(method=find_method(name_or_path)())]
    path, tables = read_tables(name_or_path, list_recipes(), "method or recipe")
    variants = tables.pop("variant", None)
    if variants is None:
        return [recipe_from_tables(tables, path.name, path.stem)]
    tabled = (
        isinstance(variants, list) and len(variants) > 0 and all(isinstance(variant, Mapping) for variant in variants)
    )
    require(tabled, f"{path.name}: variant must be a list of tables, written [[variant]]")
    recipes = [
        recipe_from_tables(_merge(tables, variant), path.name, f"{path.stem}-{n}")
        for n, variant in enumerate(variants, 1)
    ]
    names = [recipe.name for recipe in recipes]
    require(len(set(names)) == len(names), f"{path.name}: two variants have the same name; give each its own")
    return recipes


def read_tables(name_or_path: str, names: list[str], what: str) -> tuple[Path, dict[str, Any]]:
    """The file of a name or path and its parsed TOML; `names` are those that may be meant. Raises SettingError."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = recipe_folder() / f"{name_or_path}.toml"
        if not path.is_file():
            raise SettingError(f"no {what} is called {name_or_path!r}; {suggest(name_or_path, names)}, or a .toml file")
    try:
        return path, toml_value(path)
    except FileNotFoundError:
        raise SettingError(f"{path}: no such recipe; give a name ({', '.join(names)}) or a .toml file") from None
    except (OSError, ValueError) as error:
        raise SettingError(f"{path} is no readable TOML: {error}") from None


def recipe_from_tables(tables: Mapping[str, Any], where: str, name: str) -> Recipe:
    """A recipe from parsed TOML. `where` names the file in errors, `name` is used when the file gives none."""
    require(not is_pretraining(tables), f"{where} is a pretraining; run it with `ecgtune pretrain --recipe`")
    require(isinstance(tables.get("method", {}), Mapping), f"method in {where} must be a table, written [method]")
    parts = from_tables(TABLES, tables, where, other=("name", "title", "about", "method"))
    method = method_from_table(tables.get("method", {}), f"[method] of {where}")
    name = tables.get("name", name)
    require(name != "", f"name '' in {where}; allowed: letters, digits, - _ and . (it names a folder)")
    return Recipe(name=name, title=tables.get("title"), method=method, **parts)


def stored_tables(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Parsed TOML that a run wrote; of runs before lead modes had one name, with that name."""
    model = tables.get("model")
    if not isinstance(model, Mapping) or "lead_adapter" not in model:
        return dict(tables)
    kept = {name: value for name, value in model.items() if name != "lead_adapter"}
    return {**tables, "model": {**kept, "lead_mode": "adapter"} if model["lead_adapter"] is True else kept}


def recipe_text(recipe: Recipe) -> str:
    """The recipe as TOML with every setting that is not None; reads back as an equal recipe."""
    tables: dict[str, Any] = {"name": recipe.name}
    if recipe.title:
        tables["title"] = recipe.title
    tables["method"] = method_to_table(recipe.method)
    for key in TABLES:
        tables[key] = to_table(getattr(recipe, key))
    return tomli_w.dumps(tables)


def differences(stored: Recipe, asked: Recipe) -> list[str]:
    """The differences, a phrase each ("optimisation.epochs was 3, now 5"), for refusing to resume another run."""
    found = []
    if stored.method != asked.method:
        found.append(f"method was {stored.method}, now {asked.method}")
    for key in TABLES:
        found += field_differences(key, getattr(stored, key), getattr(asked, key))
    return found


def field_differences(key: str, old: Any, new: Any) -> list[str]:
    """Fields in which two dataclasses of one type differ ("optimisation.epochs was 3, now 5"); `key` names them."""
    names = [item.name for item in dataclasses.fields(old)]
    return [
        f"{key}.{name} was {getattr(old, name)}, now {getattr(new, name)}"
        for name in names
        if getattr(old, name) != getattr(new, name)
    ]


@cache
def _names(pretraining: bool) -> tuple[str, ...]:
    files = recipe_folder().glob("*.toml")
    return tuple(
        sorted(f.stem for f in files if is_pretraining(tomllib.loads(f.read_text(encoding="utf-8"))) == pretraining)
    )


def _merge(shared: Mapping[str, Any], variant: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(shared)
    for key, value in variant.items():
        both = isinstance(value, Mapping) and isinstance(shared.get(key, {}), Mapping)
        merged[key] = {**shared.get(key, {}), **value} if both else value
    return merged
