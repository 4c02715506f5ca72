"""Every array of ../shared/reference (but preprocessing.npz) against this implementation.

Coverage is by construction: `compare` refuses a reference file with a key that nobody computed, and the last test
refuses a file that no test reads.
"""

import functools
import json
import runpy
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ecgtune.data.leads import STANDARD_LEADS
from ecgtune.models.checkpoint import load_checkpoint
from ecgtune.models.classifier import Classifier, Head, LoadedFrom
from ecgtune.models.contrastive import Draws
from ecgtune.models.ecg_fm.network import EcgFM, EcgFmConfig
from ecgtune.models.ecg_fm.pretraining import ContrastiveModel
from ecgtune.models.ecg_fm.published import official_names, read_official
from ecgtune.models.loading import load_model
from ecgtune.models.pooling import pool
from ecgtune.models.weights import Weights
from helpers.ecg_fm import attention_maps, load_pretraining

TOLERANCE = 1e-5  # the original differs from itself by 4e-7 (tiny) to 1e-6 (full size)
GRADIENT_TOLERANCE = 1e-4  # relative
INPUTS = ("x", "x_short", "x_pad", "x_lead2")
STEPS, LEARNING_RATE = 6, 1e-3
NOISE = "k_proj.bias"  # its gradient is zero by mathematics: the original's is rounding, and Adam turns it into steps

Arrays = Mapping[str, NDArray]


@pytest.fixture(scope="module")
def reference(shared: Path) -> Path:
    return shared / "reference"


@pytest.fixture(scope="module")
def inputs(reference: Path) -> Arrays:
    return np.load(reference / "inputs.npz")


def compare(expected: Arrays, computed: Mapping[str, object], tolerance: float = TOLERANCE) -> None:
    """Every key of `expected` was computed and is within `tolerance`."""
    assert set(expected) - set(computed) == set()
    for name in expected:
        got = computed[name]
        values = got.detach().numpy() if isinstance(got, Tensor) else np.asarray(got)
        assert values.shape == expected[name].shape, name
        np.testing.assert_allclose(values, expected[name], rtol=0, atol=tolerance, err_msg=name)


def stages(encoder: EcgFM, signal: Tensor, padding_mask: Tensor | None) -> dict[str, Tensor]:
    """What every stage gives for one input, named as in the reference."""
    modules: dict[str, nn.Module] = {f"conv{i}": block for i, block in enumerate(encoder.stem)}
    modules |= {"feat_ln": encoder.stem_norm, "post_extract_proj": encoder.projection}
    modules |= {"pos_conv": encoder.positional, "encoder_ln": encoder.input_norm}
    modules |= {f"layer{i}": layer for i, layer in enumerate(encoder.layers)}
    seen: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _module, _arguments, output, name=name: seen.update({name: output}))
        for name, module in modules.items()
    ]
    with torch.no_grad():
        tokens, mask = encoder(signal, padding_mask)
        seen |= {"encoder_out": tokens, "pooled": pool(tokens, mask), "token_mask": ~mask}
        for hook in hooks:
            hook.remove()
        seen["saliency"] = attention_maps(encoder, signal, padding_mask)
    return seen


def signal_and_padding(inputs: Arrays, name: str) -> tuple[Tensor, Tensor | None]:
    return torch.from_numpy(inputs[name]), torch.from_numpy(inputs["pad_mask"]) if name == "x_pad" else None


def full_classifier(path: Path) -> Classifier:
    return load_model(path, classes=None, leads=STANDARD_LEADS).eval()


@pytest.mark.parametrize("file", ["pretrained_tiny", "pretrained_tiny_oldkeys"])
def test_reference_pretrained_every_stage(reference: Path, inputs: Arrays, file: str) -> None:
    encoder = load_checkpoint(reference / f"{file}.pt").encoder.eval()
    assert isinstance(encoder, EcgFM)
    computed = {
        f"{name}/{stage}": values
        for name in INPUTS
        for stage, values in stages(encoder, *signal_and_padding(inputs, name)).items()
    }
    compare(np.load(reference / "pretrained_tiny.npz"), computed)


def test_reference_finetuned_every_stage(reference: Path, inputs: Arrays) -> None:
    model = full_classifier(reference / "finetuned_tiny.pt")
    assert isinstance(model.encoder, EcgFM)
    computed: dict[str, object] = {}
    for name in INPUTS:
        signal, padding = signal_and_padding(inputs, name)
        computed |= {f"{name}/{stage}": values for stage, values in stages(model.encoder, signal, padding).items()}
        computed[f"{name}/logits"] = model(signal, padding)
    computed["x/logits_noattn"] = computed["x/logits"]
    expected = np.load(reference / "finetuned_tiny.npz")
    computed["labels"] = expected["labels"]  # an input of the gradient and trajectory tests
    compare(expected, computed)


def test_reference_new_head_on_pretrained(reference: Path, inputs: Arrays) -> None:
    expected = np.load(reference / "from_pretrained_tiny.npz")
    model = load_model(reference / "pretrained_tiny.pt", classes=5, leads=STANDARD_LEADS).eval()
    set_head(model, expected["head_weight"], expected["head_bias"])
    computed: dict[str, object] = {
        f"{name}/logits": model(*signal_and_padding(inputs, name)) for name in ("x", "x_pad", "x_short")
    }
    compare(expected, computed | {"head_weight": model.head[0].weight, "head_bias": model.head[0].bias})


@pytest.mark.slow
def test_reference_full_size(reference: Path) -> None:
    expected = np.load(reference / "full_size_outputs.npz")
    shapes = {name: tuple(shape) for name, shape in published_shapes(reference, "full")["finetuned"]}
    recipe = runpy.run_path(str(reference / "weights_recipe.py"))
    weights = recipe["reference_weights"](shapes, int(expected["seed"]))
    tensors = {name: torch.from_numpy(values) for name, values in weights.items()}
    official = read_official(tensors, None, "full size")
    assert official.config == EcgFmConfig()
    assert official.head is not None
    encoder = EcgFM.from_weights(official.config, official.encoder)
    classes = tuple(str(label) for label in range(17))
    model = Classifier(encoder, Head(), classes, Weights("random", "recipe", seed=11), LoadedFrom("full size")).eval()
    model.head[0].load_state_dict(official.head)

    computed: dict[str, object] = {"seed": expected["seed"], "x_pad/valid_samples": expected["x_pad/valid_samples"]}
    with torch.no_grad():
        for name in ("x", "x_short", "x_pad"):
            source = torch.from_numpy(expected[f"{name}/source"])
            padding = None
            if name == "x_pad":
                padding = torch.arange(source.shape[2]) >= torch.from_numpy(expected["x_pad/valid_samples"])[:, None]
            tokens, mask = model.encode(source, padding)
            computed |= {
                f"{name}/source": source,
                f"{name}/encoder_out_tokens_0_9_18_27": tokens[:, [0, 9, 18, 27]],
                f"{name}/logits": model.head(model.pool(tokens, mask)),
            }
    compare(expected, computed)


@pytest.mark.parametrize("feature_grad_mult", ["0", "0.1", "1"])
def test_reference_gradients(reference: Path, inputs: Arrays, feature_grad_mult: str) -> None:
    expected = np.load(reference / f"finetuned_grads_fgm{feature_grad_mult}_tiny.npz")
    model = full_classifier(reference / "finetuned_tiny.pt")
    model.encoder.feature_grad_mult = float(feature_grad_mult)
    loss = loss_sum(model(torch.from_numpy(inputs["x"])), reference)
    (loss / labels(reference).numel()).backward()
    assert loss.item() == pytest.approx(float(expected["loss_sum"]), rel=1e-5)
    assert labels(reference).numel() == expected["sample_size"]
    parameters = dict(model.named_parameters())
    ours = classifier_names(model)
    assert {name.removeprefix("grad/") for name in expected} - {"loss_sum", "sample_size"} == set(ours)
    check_gradients(expected, {theirs: parameters[name] for theirs, name in ours.items()})


TRAJECTORIES = {  # of the original's settings: decoupled decay, and a head that trains alone for the first updates
    "official": {},
    "fgm0.1": {"feature_grad_mult": 0.1},
    "freeze3": {"head_only_steps": 3},
    "wd": {"weight_decay": 0.01},
}


@pytest.mark.parametrize("variant", TRAJECTORIES)
def test_reference_six_training_steps(reference: Path, inputs: Arrays, variant: str) -> None:
    expected = np.load(reference / f"finetune_trajectory_{variant}_tiny.npz")
    settings = TRAJECTORIES[variant]
    model = load_model(reference / "pretrained_tiny.pt", classes=5, leads=STANDARD_LEADS).train()
    set_head(model, expected["head_weight0"], expected["head_bias0"])
    model.encoder.feature_grad_mult = settings.get("feature_grad_mult", 0.0)
    before = {name: values.detach().clone() for name, values in model.named_parameters()}
    optimizer = torch.optim.AdamW(
        model.parameters(), LEARNING_RATE, betas=(0.9, 0.98), eps=1e-8, weight_decay=settings.get("weight_decay", 0.0)
    )
    signal = torch.from_numpy(inputs["x"])
    losses = []
    for step in range(STEPS):
        with torch.set_grad_enabled(step >= settings.get("head_only_steps", 0)):
            pooled = model.pool(*model.encode(signal))
        loss = loss_sum(model.head(pooled), reference) / labels(reference).numel()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    np.testing.assert_allclose(losses, expected["losses"], rtol=1e-5)
    ours = classifier_names(model)
    names = {name.removeprefix("delta/") for name in expected} - {"losses", "head_weight0", "head_bias0"}
    assert names == set(ours)
    after = dict(model.named_parameters())
    for name in names:
        now = after[ours[name]].detach()
        moved = now - before[ours[name]]
        got = [moved.norm().item(), now.norm().item(), moved.abs().max().item()]
        if name.endswith(NOISE):
            assert got[2] <= STEPS * LEARNING_RATE * 1.5, name
        else:
            np.testing.assert_allclose(got, expected[f"delta/{name}"], rtol=GRADIENT_TOLERANCE, err_msg=name)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_reference_pretraining_objective(reference: Path, mode: str) -> None:
    expected = np.load(reference / f"pretrain_objective_{mode}_tiny.npz")
    given = {name: torch.from_numpy(expected[name]) for name in expected if expected[name].ndim}
    model = load_pretraining(reference / "pretrained_tiny.pt")
    model.encoder.feature_grad_mult = 0.1
    draws = Draws(
        given["mask_indices"], given["neg_idxs"], kept_leads=given["lead_survivors"], gumbel=given.get("gumbel_noise")
    )
    output = model(given["source"], draws, given["patient_id"], given["segment"], temperature=float(expected["temp"]))
    (output.loss / output.sample_size).backward()

    summed = {
        "loss": output.loss,
        "loss_0_infonce": output.contrastive,
        "loss_1_diversity": output.diversity,
        "loss_2_featpen": output.feature_penalty,
        "loss_3_cmsc": output.segments,
        "features_pen": output.mean_square_feature,
        "prob_perplexity": output.probability_perplexity,
        "code_perplexity": output.code_perplexity,
    }
    for name, value in summed.items():
        assert value.item() == pytest.approx(float(expected[name]), rel=5e-6), name
    exact = {"sample_size": output.sample_size, "count": output.sample_size, "correct": output.correct}
    for name, value in exact.items():
        assert value == expected[name], name
    compare(
        {name: expected[name] for name in ("cmsc_feature", "w2v_logits_x")},
        {"cmsc_feature": output.features, "w2v_logits_x": output.logits},
    )
    gradients = {name.removeprefix("grad/") for name in expected if name.startswith("grad/")}
    parameters = dict(model.named_parameters())
    ours = pretraining_names(model)
    assert gradients == set(ours)
    check_gradients(expected, {name: parameters[ours[name]] for name in gradients})
    drawn = {"mask_indices", "neg_idxs", "lead_survivors", "gumbel_noise", "source", "patient_id", "segment", "temp"}
    compared = {*summed, *exact, "cmsc_feature", "w2v_logits_x", *(f"grad/{name}" for name in gradients)}
    assert set(expected) - drawn - compared == set()


@pytest.mark.parametrize("size", ["tiny", "full"])
@pytest.mark.parametrize("kind", ["pretrained", "finetuned"])
def test_reference_names_and_shapes(reference: Path, size: str, kind: str) -> None:
    shapes = {name: tuple(shape) for name, shape in published_shapes(reference, size)[kind]}
    with torch.device("meta"):
        tensors = {name: torch.empty(shape) for name, shape in shapes.items()}
        config = EcgFmConfig() if size == "full" else None
    if config is None:
        encoder = load_checkpoint(reference / f"{kind}_tiny.pt").encoder
        assert isinstance(encoder, EcgFM)
        config = encoder.config
    else:
        with torch.device("meta"):
            encoder = EcgFM(config)
        assert sum(parameter.numel() for parameter in encoder.parameters()) == 90_373_248
        if kind == "pretrained":
            assert sum(tensor.numel() for tensor in tensors.values()) == 90_883_072
    prefix = "encoder." if kind == "finetuned" else ""
    own = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
    ours = {prefix + theirs: own[name] for theirs, name in official_names(config).items()}
    assert ours.items() <= shapes.items()
    assert len(own) == len(ours)
    rest = set(shapes) - set(ours)
    heads = ("mask_emb", "quantizer", "project_q", "final_proj") if kind == "pretrained" else ("proj",)
    assert {name.split(".")[0] for name in rest} == set(heads)


def test_reference_every_file_is_read(reference: Path) -> None:
    read = {
        "inputs.npz",
        "pretrained_tiny.npz",
        "finetuned_tiny.npz",
        "from_pretrained_tiny.npz",
        "full_size_outputs.npz",
        *(f"finetuned_grads_fgm{mult}_tiny.npz" for mult in ("0", "0.1", "1")),
        *(f"finetune_trajectory_{variant}_tiny.npz" for variant in TRAJECTORIES),
        *(f"pretrain_objective_{mode}_tiny.npz" for mode in ("eval", "train")),
    }
    elsewhere = {"preprocessing.npz"}  # tests/data
    assert {path.name for path in reference.glob("*.npz")} == read | elsewhere
    assert set(np.load(reference / "inputs.npz")) == {*INPUTS, "pad_mask"}


def published_shapes(reference: Path, size: str) -> dict[str, list[tuple[str, list[int]]]]:
    return json.loads((reference / f"state_dict_keys_{size}.json").read_text(encoding="utf-8"))


@functools.cache
def labels(reference: Path) -> Tensor:
    return torch.from_numpy(np.load(reference / "finetuned_tiny.npz")["labels"])


@functools.cache
def label_weights(reference: Path) -> Tensor:
    content = torch.load(reference / "finetuned_tiny.pt", weights_only=True)
    return torch.tensor(content["cfg"]["criterion"]["pos_weight"])


def loss_sum(logits: Tensor, reference: Path) -> Tensor:
    """The original's loss, with the label weights that its fine-tuned file names."""
    weights = label_weights(reference)
    return F.binary_cross_entropy_with_logits(logits, labels(reference), pos_weight=weights, reduction="sum")


def set_head(model: Classifier, weight: NDArray, bias: NDArray) -> None:
    model.head[0].load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})


def classifier_names(model: Classifier) -> dict[str, str]:
    """Name in a fine-tuned file -> name in `Classifier`."""
    assert isinstance(model.encoder, EcgFM)
    names = {f"encoder.{theirs}": f"encoder.{ours}" for theirs, ours in official_names(model.encoder.config).items()}
    return names | {f"proj.{part}": f"head.0.{part}" for part in ("weight", "bias")}


def pretraining_names(model: ContrastiveModel) -> dict[str, str]:
    """Name in a pretrained file -> name in `ContrastiveModel`."""
    names = {theirs: f"encoder.{ours}" for theirs, ours in official_names(model.encoder.config).items()}
    return names | {name: name for name, _ in model.named_parameters() if not name.startswith("encoder.")}


def check_gradients(expected: Arrays, parameters: Mapping[str, nn.Parameter]) -> None:
    """L2 norm, mean and first four values of each gradient; NaN in the reference means that there is none."""
    for name, parameter in parameters.items():
        norm, mean, *first = expected[f"grad/{name}"]
        if np.isnan(norm):
            assert parameter.grad is None, name
            continue
        assert parameter.grad is not None, name
        gradient = parameter.grad.flatten()
        if name.endswith(NOISE):
            assert gradient.norm() < 1e-5, name
            continue
        assert gradient.norm().item() == pytest.approx(norm, rel=GRADIENT_TOLERANCE), name
        typical = norm / np.sqrt(len(gradient))  # single entries and the mean may cancel to nothing
        got = [gradient.mean().item(), *gradient[:4].tolist()]
        np.testing.assert_allclose(
            got, [mean, *first], rtol=GRADIENT_TOLERANCE, atol=GRADIENT_TOLERANCE * typical, err_msg=name
        )
