"""`ecgtune methods`."""

from __future__ import annotations

from ecgtune.cli.output import print_columns


def methods() -> None:
    """List methods and recipes.

    These are the names for --method and --methods. With --lead-mode adapter, each also trains a small linear
    mixer of the recorded leads in front of the encoder.
    """
    from ecgtune.recipes.recipe import list_recipes, load_recipes

    rows = [(name, recipe.label) for name in list_recipes() for recipe in load_recipes(name)]
    print_columns(("name", "method"), rows)
