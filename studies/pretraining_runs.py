"""Pretrainings of a study."""

from dataclasses import replace
from pathlib import Path

from rows import Row
from settings import Study, Variant, digest

from ecgtune import PretrainSettings, pretrain
from ecgtune.recipes.pretraining import TASKS, Pretraining, load_pretraining_recipe
from ecgtune.utils.files import read_json


def pretraining_recipe(study: Study, variant: Variant) -> Pretraining:
    """Return the recipe of the study with the changes of a variant; `objective.name` selects another objective."""
    recipe = load_pretraining_recipe(study.tables["pretraining"]["recipe"])
    for changes in (study.tables["pretraining"]["settings"], variant.pretraining or {}):
        for table, values in changes.items():
            old = getattr(recipe, table)
            if "name" in values and values["name"] != old.name:
                new = TASKS[values["name"]](**{key: value for key, value in values.items() if key != "name"})
            else:
                new = replace(old, **values)
            recipe = replace(recipe, **{table: new})
    return replace(recipe, name=variant.name)


def pretrained(study: Study, variant: Variant, data: Path, work: Path) -> tuple[Path, Row]:
    """Return the encoder of a variant, which is trained in `work` unless it exists, and columns of its rows."""
    recipe, settings = pretraining_recipe(study, variant), study.tables["pretraining"]
    folder = work / f"{variant.name}-{digest(recipe)}"
    left_out = PretrainSettings(leave_out=data / next(iter(study.tasks.values())).file)
    best = pretrain(data / settings["file"], recipe, left_out, out=folder, resume=folder.exists())
    metrics, encoder = read_json(folder / "metrics.json"), recipe.encoder
    return best, {
        "parameters": str(metrics["parameters"]),
        "token_ms": f"{1000 * 2**encoder.conv_layers / encoder.sampling_rate:g}",
        "pretraining_seconds": f"{metrics['training']['seconds']:.0f}",
    }
