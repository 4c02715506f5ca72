"""A model as plain values for a JSON file, and back: what a run folder keeps to rebuild its model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ecgtune.config.base import from_table, to_table
from ecgtune.data.dataset import check_rate
from ecgtune.errors import CheckpointError
from ecgtune.models.architectures import architecture_of, config_of
from ecgtune.models.classifier import Classifier, Head, LoadedFrom
from ecgtune.models.leads import LeadMixer
from ecgtune.models.loading import load_model
from ecgtune.models.weights import Weights

FORMAT = 1


def describe_model(classifier: Classifier) -> dict[str, Any]:
    """Everything but tensors: name, architecture and sizes, classes, leads, head, origin of the weights.

    `lead_adapter`, the leads that a lead mixer takes, and `checkpoint`, the file of a named model, are there only with
    one. `build_model` is the inverse.
    """
    encoder, mixer, loaded = classifier.base_encoder, classifier.lead_mixer, classifier.loaded
    return {
        "format": FORMAT,
        "name": loaded.name,
        **({} if loaded.checkpoint is None else {"checkpoint": loaded.checkpoint}),
        "architecture": encoder.architecture,
        "version": encoder.version,
        "config": to_table(encoder.config),
        "classes": list(classifier.classes),
        "lead_mode": loaded.lead_mode if mixer is None else "place",
        **({} if mixer is None else {"lead_adapter": list(mixer.leads)}),
        "head": to_table(classifier.head_spec),
        "weights": classifier.weights.to_json(),
    }


def build_model(description: Mapping[str, Any], *, load_base: bool = True) -> Classifier:
    """The classifier that `describe_model` described. Its head and lead mixer are new: the caller loads the saved ones.

    With `load_base` the encoder is loaded again from its name or file, which must still be there and the same file:
    otherwise CheckpointError. Without, the encoder only has the right sizes, and the caller loads all of its weights.
    """
    if description.get("format") != FORMAT:
        raise CheckpointError(f"the model's description has format {description.get('format')!r}; allowed: {FORMAT}")
    architecture = architecture_of(description, "the model's description")
    config = config_of(architecture, description["config"], "the model's description")
    head = from_table(Head, description["head"], "the model's description")
    weights = Weights.from_json(description["weights"])
    classes, mixed = tuple(description["classes"]), tuple(description.get("lead_adapter", ()))
    loaded = LoadedFrom(
        description["name"], description.get("checkpoint"), "adapter" if mixed else description["lead_mode"]
    )
    if not load_base:
        with torch.random.fork_rng(devices=[]):  # the draws are replaced at once, and nobody else should see them
            encoder = architecture(config)
        check_rate(encoder.input_spec.sampling_rate, "the model's description: an encoder with the sampling rate")
        mixer = LeadMixer(mixed, config.leads) if mixed else None
        return Classifier(encoder, head, classes, weights, loaded, lead_mixer=mixer)
    file = loaded.checkpoint or loaded.name
    if Path(file).is_absolute() and not Path(file).exists():
        raise CheckpointError(
            f"the run holds only the weights of its method, and the encoder that they belong to is gone: put it back"
            f" at {file} (sha256 {weights.sha256})"
        )
    base = load_model(
        loaded.name,
        checkpoint=loaded.checkpoint,
        classes=classes,
        leads=mixed or config.leads,
        lead_mode=loaded.lead_mode,
        head=head,
        seed=weights.seed or 0,
    )
    if architecture.as_published and getattr(config, architecture.as_published):
        base.like_published()
    if base.base_encoder.config != config:
        raise CheckpointError(f"{file} has other sizes than the model's description states: {base.base_encoder.config}")
    found = base.weights
    if (found.kind, found.sha256, found.seed) != (weights.kind, weights.sha256, weights.seed):
        raise CheckpointError(
            f"{file} has changed since this run: its weights were {weights.describe()} and are {found.describe()}; "
            "put the earlier file back"
        )
    return base
