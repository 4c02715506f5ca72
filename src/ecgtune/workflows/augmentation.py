"""The augmentation that a recipe asks for, held against its method, model and windows."""

from __future__ import annotations

from ecgtune.config.base import require
from ecgtune.data.augmentation import WindowAugmentation, cropped_samples
from ecgtune.methods.split import reads_features
from ecgtune.models.classifier import Classifier
from ecgtune.recipe.recipe import Recipe
from ecgtune.workflows.preparation import Prepared


def make_augmentation(recipe: Recipe, model: Classifier, prepared: Prepared) -> WindowAugmentation | None:
    """What is done to the training windows; None for nothing.

    Raises SettingError where it could not act: on features that are computed once, on the only lead, or with crops that
    are too short for the encoder.
    """
    settings = recipe.augmentation
    if not settings.acting:
        return None
    named = ", ".join(f"{name} {getattr(settings, name):g}" for name in settings.acting)
    require(
        recipe.trainer.prefix_cache == "off"
        or bool(settings.augmented_copies)
        or not reads_features(model, recipe.method),
        f"{recipe.name} trains on features that are computed once, which augmentation ({named}) cannot reach; "
        f"leave out the augmentation or {recipe.name}, give augmentation in recipe files of the other methods, "
        f"or compute them for some augmented_copies, or anew at every step with prefix_cache off",
    )
    encoder = model.base_encoder
    samples = cropped_samples(settings, prepared.samples)
    least = encoder.input_spec.minimum_samples
    require(
        samples >= least,
        f"crop {settings.crop:g} leaves {samples} of {prepared.samples} samples of a window, less than a token of the "
        f"encoder; allowed: {least / prepared.samples:.3g} or more",
    )
    return WindowAugmentation(
        settings,
        windows=len(prepared.split.train),
        leads=len(model.leads),
        sampling_rate=encoder.input_spec.sampling_rate,
        normalise=recipe.data.normalisation == "zscore",
    )
