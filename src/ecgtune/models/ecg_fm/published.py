"""Reader of the published ECG-FM checkpoints.

A fine-tuned file has the tensors of a pretrained encoder with the prefix `encoder.`, and `proj.*`. Sizes are taken from
the tensors, because the settings in a file may not describe them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ecgtune.data.leads import STANDARD_LEADS
from ecgtune.errors import AuditError, CheckpointError
from ecgtune.models.base import Checkpoint, EncoderConfig
from ecgtune.models.ecg_fm.network import KERNEL, EcgFM, EcgFmConfig
from ecgtune.models.layers import without_values
from ecgtune.models.tensors import check_tensors, to_float32
from ecgtune.models.torch_files import UnreadTensor
from ecgtune.models.weights import Weights
from ecgtune.utils.files import file_sha256

PUBLISHED_WIDTH, PUBLISHED_HEADS = 768, 12
SHOWN, MOST_LETTERS = 3, 100  # tensor names in an error, and letters of each

_LAYER_NAMES = {
    "self_attn.q_proj": "attention.q_proj",
    "self_attn.k_proj": "attention.k_proj",
    "self_attn.v_proj": "attention.v_proj",
    "self_attn.out_proj": "attention.out_proj",
    "self_attn_layer_norm": "attention_norm",
    "fc1": "feed_forward.fc1",
    "fc2": "feed_forward.fc2",
    "final_layer_norm": "final_norm",
}
_POSITIONAL = "conv_pos.pos_conv.0"
_GAIN, _DIRECTION = "parametrizations.weight.original0", "parametrizations.weight.original1"
_PRETRAINING_ONLY = ("mask_emb", "quantizer.", "project_q.", "final_proj.")
_PRETRAINING_REASON = "used only by the pretraining objective"


@dataclass(frozen=True)
class OfficialWeights:
    """Tensors of a published file under the names of this package.

    `encoder` is the state dict of `EcgFM(config)`, `objective` holds the tensors of the pretraining objective. `head`
    has `weight` (labels, width) and `bias`, or is None for a pretrained file. `used` are the published names of the
    tensors in encoder and head; `left_out` pairs each other published name with the reason.
    """

    config: EcgFmConfig
    encoder: dict[str, Tensor]
    head: dict[str, Tensor] | None
    objective: dict[str, Tensor]
    used: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]


def official_names(config: EcgFmConfig) -> dict[str, str]:
    """Return the published name and the name in `EcgFM` of every tensor of the encoder."""
    names = {
        "layer_norm": "stem_norm",
        "post_extract_proj": "projection",
        "encoder.layer_norm": "input_norm",
        "feature_extractor.conv_layers.0.2": "stem.0.norm",
    }
    for layer in range(config.depth):
        names |= {f"encoder.layers.{layer}.{theirs}": f"layers.{layer}.{ours}" for theirs, ours in _LAYER_NAMES.items()}
    tensors = {f"{theirs}.{kind}": f"{ours}.{kind}" for theirs, ours in names.items() for kind in ("weight", "bias")}
    tensors |= {
        f"feature_extractor.conv_layers.{i}.0.weight": f"stem.{i}.conv.weight" for i in range(config.conv_layers)
    }
    tensors |= {f"{_POSITIONAL}.{part}": f"positional.conv.{part}" for part in ("bias", _GAIN, _DIRECTION)}
    return tensors


def read_official(
    tensors: Mapping[str, Tensor], settings: Mapping[str, Any] | None, source: str, heads: int | None = None
) -> OfficialWeights:
    """Assign the tensors of a published file to encoder and head, with the weights audit.

    Parameters
    ----------
    tensors : entry `model` of the file.
    settings : entry `cfg["model"]` of the file or None; only the number of heads is read, and only if its width and
        depth are those of the tensors.
    source : name of the file in errors.
    heads : number of attention heads, needed for sizes other than the published one.

    Raises AuditError when a tensor is missing, unexpected, mis-shaped or not finite, CheckpointError when the file is
    not an ECG-FM or the number of heads is unknown.
    """
    tensors = check_tensors(tensors, source)
    finetuned = any(name.startswith("encoder.feature_extractor.") for name in tensors) or "proj.weight" in tensors
    prefix = "encoder." if finetuned else ""
    originals: dict[str, str] = {}  # current name -> name in the file
    for name in tensors:
        originals[_current_name(name)] = name
    if len(originals) != len(tensors):
        raise AuditError(f"{source} names the positional convolution's weights twice (old and new weight norm)")
    found = {name: tensors[original] for name, original in originals.items()}

    config = _sizes(found, prefix, source)
    wanted = {prefix + theirs: ours for theirs, ours in official_names(config).items()}
    head = ("weight", "bias") if finetuned else ()
    left_out = {name: _PRETRAINING_REASON for name in found if not finetuned and name.startswith(_PRETRAINING_ONLY)}
    used = {name: tensor for name, tensor in found.items() if name not in left_out}
    expected_names = dict.fromkeys([*wanted, *(f"proj.{part}" for part in head)])
    problems = {
        "missing": [name for name in expected_names if name not in used],
        "unexpected": [name for name in used if name not in expected_names],
    }
    _refuse(problems, source)  # before modules are built, which take longer than names
    shapes = _shapes(config)
    expected = {theirs: shapes[ours] for theirs, ours in wanted.items()}
    if finetuned:
        labels = len(used["proj.bias"]) if used["proj.bias"].dim() else 0
        expected |= {"proj.weight": (labels, config.width), "proj.bias": (labels,)}
    _refuse({"mis-shaped": _mis_shaped(used, expected)}, source)
    copies = {name: to_float32(tensor, name, source, copy=True) for name, tensor in found.items()}

    return OfficialWeights(
        config=replace(config, heads=_heads(config, settings, source, heads)),
        encoder={ours: copies[theirs] for theirs, ours in wanted.items()},
        head={part: copies[f"proj.{part}"] for part in head} or None,
        objective={name: copies[name] for name in left_out},
        used=tuple(originals[name] for name in expected),
        left_out=tuple((originals[name], reason) for name, reason in left_out.items()),
    )


class PublishedEcgFM:
    """Reader of the published `.pt` files; see `ecgtune.models.base.PublishedFormat`."""

    def matches(self, content: Any) -> bool:
        tensors = content.get("model") if isinstance(content, Mapping) else None
        return isinstance(tensors, Mapping) and any("post_extract_proj" in str(name) for name in tensors)

    def read(self, content: Any, path: Path, *, heads: int | None, sizes: EncoderConfig | None) -> Checkpoint:
        tensors = content.get("model") if isinstance(content, Mapping) else None
        if not isinstance(tensors, Mapping) or not any(
            isinstance(value, (Tensor, UnreadTensor)) for value in tensors.values()
        ):
            raise CheckpointError(f"{path}: not a published ECG-FM checkpoint: it has no entry 'model' with tensors")
        cfg = content.get("cfg")
        model = cfg.get("model") if isinstance(cfg, Mapping) else None
        official = read_official(tensors, model if isinstance(model, Mapping) else None, str(path), heads)
        if isinstance(sizes, EcgFmConfig):
            found, wanted = _shapes(official.config), _shapes(sizes)
            other = next((name for name in {**wanted, **found} if found.get(name) != wanted.get(name)), None)
            if other is not None:
                raise AuditError(
                    f"weights audit: {path} does not fit: its tensor for {other} has shape {found.get(other)} instead "
                    f"of {wanted.get(other)}"
                )
        weights = Weights("pretrained", str(path), file_sha256(path), used=official.used, left_out=official.left_out)
        encoder = EcgFM.from_weights(official.config, official.encoder)
        return Checkpoint(encoder, weights, official.head, objective_tensors=official.objective)


def _current_name(name: str) -> str:
    """Replace the older names of weight norm parameters by the current ones."""
    for old, new in ((".weight_g", f".{_GAIN}"), (".weight_v", f".{_DIRECTION}")):
        if name.endswith(_POSITIONAL + old):
            return name.removesuffix(old) + new
    return name


def _shapes(config: EcgFmConfig) -> dict[str, tuple[int, ...]]:
    with without_values():
        return {name: tuple(tensor.shape) for name, tensor in EcgFM(config).state_dict().items()}


def _sizes(found: Mapping[str, Tensor], prefix: str, source: str) -> EcgFmConfig:
    """Return the sizes by the shapes of the tensors, which do not determine the number of heads."""
    if not any(name.startswith(prefix + "feature_extractor.conv_layers.") for name in found):
        raise CheckpointError(
            f"{source} is not an ECG-FM checkpoint: it has no tensor 'feature_extractor.conv_layers...'"
        )

    def shape(name: str, rank: int) -> tuple[int, ...]:
        tensor = found.get(prefix + name)
        if tensor is None:
            raise AuditError(f"weights audit: {source} lacks {prefix + name!r}; use the published file unchanged")
        if tensor.dim() != rank:
            raise AuditError(
                f"weights audit: {source}: {prefix + name!r} has shape {tuple(tensor.shape)}, not rank {rank}"
            )
        return tuple(tensor.shape)

    width, conv_channels = shape("post_extract_proj.weight", 2)
    _, inputs, kernel = shape("feature_extractor.conv_layers.0.0.weight", 3)
    _, group_width, taps = shape(f"{_POSITIONAL}.{_DIRECTION}", 3)
    if inputs != len(STANDARD_LEADS) or kernel != KERNEL or group_width == 0 or width % group_width:
        raise AuditError(
            f"weights audit: {source} has unknown sizes for an ECG-FM: {inputs} leads, kernel {kernel}, "
            f"{group_width} channels per positional group (allowed: 12 leads, kernel 2, a divisor of {width})"
        )
    return EcgFmConfig(
        width=width,
        depth=_count(found, prefix + "encoder.layers."),
        heads=1,
        feed_forward=shape("encoder.layers.0.fc1.weight", 2)[0],
        conv_channels=conv_channels,
        conv_layers=_count(found, prefix + "feature_extractor.conv_layers."),
        pos_taps=taps,
        pos_groups=width // group_width,
    )


def _count(found: Mapping[str, Tensor], prefix: str) -> int:
    """Count the layers. The largest index is not used, because a renamed tensor could then create a huge model."""
    return len({name.removeprefix(prefix).split(".")[0] for name in found if name.startswith(prefix)})


def _heads(config: EcgFmConfig, settings: Mapping[str, Any] | None, source: str, heads: int | None) -> int:
    width = config.width
    if heads is None and settings is not None:
        stored = settings.get("encoder_attention_heads")
        agrees = settings.get("encoder_embed_dim") == width and settings.get("encoder_layers") == config.depth
        if agrees and isinstance(stored, int):
            heads = stored
    if heads is None and width == PUBLISHED_WIDTH:
        heads = PUBLISHED_HEADS
    if heads is None:
        raise CheckpointError(
            f"{source} does not state its number of attention heads (width {width}); give it with heads=..., or run"
            " ecgtune convert in.pt out/ --heads N"
        )
    if heads < 1 or width % heads:
        raise CheckpointError(f"{source}: {heads} heads do not divide its width {width}; give a divisor as heads=...")
    return heads


def _mis_shaped(found: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]) -> list[str]:
    return [
        f"{name} {tuple(found[name].shape)} instead of {shape}"
        for name, shape in expected.items()
        if tuple(found[name].shape) != shape
    ]


def _refuse(problems: Mapping[str, list[str]], source: str) -> None:
    phrases = [f"{len(names)} {problem}: {_abbreviate(names)}" for problem, names in problems.items() if names]
    if phrases:
        raise AuditError(f"weights audit: {source} does not fit ECG-FM; {'; '.join(phrases)}")


def _abbreviate(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(repr(name)[1:-1][:MOST_LETTERS] for name in names[:SHOWN]) + more
