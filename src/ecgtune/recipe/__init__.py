"""What decides a run, as values: methods, settings of the loop, recipes. Light: nothing here needs torch."""

from ecgtune.recipe.methods import METHODS, Adapter, Full, LinearProbe, LoRA, Method, method_from_table, method_to_table
from ecgtune.recipe.recipe import (
    METHOD_RECIPES,
    Input,
    LeadMode,
    ModelSettings,
    Recipe,
    differences,
    list_recipes,
    load_recipes,
    recipe_folder,
    recipe_from_tables,
    recipe_text,
)
from ecgtune.recipe.training import Training

__all__ = [
    "METHODS",
    "METHOD_RECIPES",
    "Adapter",
    "Full",
    "Input",
    "LeadMode",
    "LinearProbe",
    "LoRA",
    "Method",
    "ModelSettings",
    "Recipe",
    "Training",
    "differences",
    "list_recipes",
    "load_recipes",
    "method_from_table",
    "method_to_table",
    "recipe_folder",
    "recipe_from_tables",
    "recipe_text",
]
