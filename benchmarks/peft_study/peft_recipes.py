"""What the sweep found becomes what ecgtune does unless told otherwise: the recipes of its methods."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit
from peft_rows import read_rows
from peft_settings import Study, tuned

from ecgtune.methods.attach import attach
from ecgtune.methods.audits import count_parameters
from ecgtune.models.classifier import Head
from ecgtune.models.loading import load_model
from ecgtune.recipe.recipe import Recipe
from ecgtune.recipe.space import space_of
from ecgtune.utils.files import write_text

TABLES = ("method", "model", "training", "augmentation")
#: What a recipe says beside a setting that people would ask about.
NOTES = {"rate_width": "the encoder that learning_rate was found on; a wider one takes less"}
#: Right for the hand-held recorders of the study's windows, which may be held upside down, and wrong where leads stand
#: still: left to those who ask for it.
NOT_FOR_ALL = ("augmentation.polarity_flip",)


def write_recipes(study: Study, results: Path, folder: Path) -> list[str]:
    """Put the settings of every tuned method into its recipe in `folder`; names of the recipes that changed.

    None before all methods have had their trials: recipes that are tuned beside some that are not compare nothing.
    """
    tried = {row["method"] for row in read_rows(results / "trials.csv")}
    if not tried.issuperset(study.methods):
        return []
    changed = []
    found = tuned(results)
    settings = {name: won(study, name, best) for name, best in found.items()}
    ensembles = study.ensembled(found)
    settings |= {name: settings[study.ensembles[name][0]] | study.ensembles[name][1] for name in ensembles}
    for name, best in (found | ensembles).items():
        file = folder / f"{name}.toml"
        before = file.read_text(encoding="utf-8")
        after = with_share(recipe_with(before, settings[name]), study, best)
        if after != before:
            write_text(file, after)
            changed.append(name)
    return changed


def won(study: Study, name: str, best: Recipe) -> dict[str, Any]:
    """By name ("optimisation.learning_rate") what the sweep chose, and what was the same for all of its trials.

    Numbers have three digits: more say nothing, and people read recipes. The width of the encoder stands beside the
    rate that was found on it.
    """
    names = [*space_of(study.swept(name), study.space), *study.care_of(name), "model.pooling"]
    found = {}
    for setting in (setting for setting in names if setting not in NOT_FOR_ALL):
        table, _, key = setting.partition(".")
        value = getattr(getattr(best, table), key)
        if value is not None:
            found[setting] = float(f"{value:.3g}") if isinstance(value, float) else value
        if setting == "optimisation.learning_rate":
            found["optimisation.rate_width"] = load_model(study.model).encoder.head_width
    return found


def with_share(text: str, study: Study, best: Recipe) -> str:
    """`text` with the share of the weights that its method trains, where it quotes one."""
    head = Head(best.model.head_hidden, pooling=best.model.pooling)
    model = attach(load_model(study.model, head=head), best.method, members=best.model.members)
    share = 100 * count_parameters(model, best.method).fraction
    return re.sub(rf"[\d.]+ % of {re.escape(study.model)}", f"{share:.2f} % of {study.model}", text)


def recipe_with(text: str, settings: Mapping[str, Any]) -> str:
    """The recipe in `text` with `settings`, and everything else in it, comments too, as it was."""
    document = tomlkit.parse(text)
    for table in TABLES:
        own = {
            setting.partition(".")[2]: value for setting, value in settings.items() if setting.startswith(f"{table}.")
        }
        if own and table not in document:
            document.add(tomlkit.nl())
            document.add(table, tomlkit.table())
        for key, value in own.items():
            new = key not in document[table]  # type: ignore[operator]
            document[table][key] = value  # type: ignore[index]
            if new and key in NOTES:
                document[table][key].comment(NOTES[key])  # type: ignore[index]
    return tomlkit.dumps(document)
