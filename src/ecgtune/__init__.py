"""ecgtune: fine-tune pretrained ECG encoders with a few percent of their weights, and prove that it worked.

Public names are loaded on first use, so that `import ecgtune` costs milliseconds and not the seconds of torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Dataset": "data",
    "Preprocessing": "data",
    "ReadOptions": "data",
    "RecordSettings": "data",
    "TableColumns": "data",
    "k_folds": "data",
    "leave_one_site_out": "data",
    "read_dataset": "data",
    "read_records": "data",
    "simulate": "data",
    "split_dataset": "data",
    "Evaluation": "recipe",
    "Head": "models",
    "Input": "recipe",
    "Pretraining": "recipe",
    "Recipe": "recipe",
    "load_pretraining_recipe": "recipe",
    "load_recipes": "recipe",
    "list_models": "models",
    "load_model": "models",
    "Adapter": "recipe",
    "Augmentation": "recipe",
    "Full": "recipe",
    "LinearProbe": "recipe",
    "LoRA": "recipe",
    "AdaLoRA": "recipe",
    "IA3": "recipe",
    "NormBias": "recipe",
    "OFT": "recipe",
    "SideTuning": "recipe",
    "TopLayers": "recipe",
    "VeRA": "recipe",
    "Training": "recipe",
    "load_run": "deployment",
    "compare": "workflows",
    "convert": "models",
    "cross_validate": "workflows",
    "fine_tune": "workflows",
    "plan": "workflows",
    "predict": "workflows",
    "pretrain": "workflows",
    "sweep": "workflows",
}
__all__ = ["__version__", *sorted(_HOME)]  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:
    from ecgtune.data import Dataset as Dataset
    from ecgtune.data import Preprocessing as Preprocessing
    from ecgtune.data import ReadOptions as ReadOptions
    from ecgtune.data import RecordSettings as RecordSettings
    from ecgtune.data import TableColumns as TableColumns
    from ecgtune.data import k_folds as k_folds
    from ecgtune.data import leave_one_site_out as leave_one_site_out
    from ecgtune.data import read_dataset as read_dataset
    from ecgtune.data import read_records as read_records
    from ecgtune.data import simulate as simulate
    from ecgtune.data import split_dataset as split_dataset
    from ecgtune.deployment import load_run as load_run
    from ecgtune.models import Head as Head
    from ecgtune.models import convert as convert
    from ecgtune.models import list_models as list_models
    from ecgtune.models import load_model as load_model
    from ecgtune.recipe import IA3 as IA3
    from ecgtune.recipe import OFT as OFT
    from ecgtune.recipe import AdaLoRA as AdaLoRA
    from ecgtune.recipe import Adapter as Adapter
    from ecgtune.recipe import Augmentation as Augmentation
    from ecgtune.recipe import Evaluation as Evaluation
    from ecgtune.recipe import Full as Full
    from ecgtune.recipe import Input as Input
    from ecgtune.recipe import LinearProbe as LinearProbe
    from ecgtune.recipe import LoRA as LoRA
    from ecgtune.recipe import NormBias as NormBias
    from ecgtune.recipe import Pretraining as Pretraining
    from ecgtune.recipe import Recipe as Recipe
    from ecgtune.recipe import SideTuning as SideTuning
    from ecgtune.recipe import TopLayers as TopLayers
    from ecgtune.recipe import Training as Training
    from ecgtune.recipe import VeRA as VeRA
    from ecgtune.recipe import load_pretraining_recipe as load_pretraining_recipe
    from ecgtune.recipe import load_recipes as load_recipes
    from ecgtune.workflows import compare as compare
    from ecgtune.workflows import cross_validate as cross_validate
    from ecgtune.workflows import fine_tune as fine_tune
    from ecgtune.workflows import plan as plan
    from ecgtune.workflows import predict as predict
    from ecgtune.workflows import pretrain as pretrain
    from ecgtune.workflows import sweep as sweep


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"ecgtune.{_HOME[name]}"), name)
    raise AttributeError(f"module 'ecgtune' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
