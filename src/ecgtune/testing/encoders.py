"""`check_encoder`: the contract of `ecgtune.models.base.Encoder`, check by check."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ecgtune.config.targets import ROLES, TARGETS
from ecgtune.data.leads import STANDARD_LEADS
from ecgtune.errors import DataError, SettingError
from ecgtune.methods.storage import one_thread
from ecgtune.models.architectures import ARCHITECTURES, find_architecture
from ecgtune.models.base import Encoder
from ecgtune.models.checkpoint import load_checkpoint, save_encoder
from ecgtune.models.masked_signal import depth_tokens, token_places
from ecgtune.models.names import unknown_model
from ecgtune.models.registry import find_model
from ecgtune.testing.checks import expect, expect_close, failed_checks, raise_failures
from ecgtune.training.precision import autocast
from ecgtune.utils.files import temporary_folder
from ecgtune.utils.formatting import counted


def check_encoder(encoder: str | type[Encoder] | Encoder) -> None:
    """Check that an encoder keeps the contract that methods, training and export rely on.

    encoder: a name of `list_models()` or a registered class (both with random weights, nothing is downloaded), or an
    encoder. Raises ConformanceError with one line per failed check.
    """
    first = example_encoder(encoder)
    with one_thread():
        found = failed_checks(ENCODER_CHECKS, lambda: copy.deepcopy(first))
    name = first.architecture or type(first).__name__
    raise_failures(name, {name: found})


def example_encoder(encoder: str | type[Encoder] | Encoder) -> Encoder:
    """The encoder itself, or one with random weights that depend on nothing but its sizes."""
    if isinstance(encoder, Encoder):
        return copy.deepcopy(encoder).eval()
    if isinstance(encoder, str):
        found = find_model(encoder)
        if found is None:
            raise unknown_model(encoder)
        architecture, weights = found
        config = weights.config(architecture)
    else:
        architecture, config = find_architecture(encoder.architecture), encoder.config_type()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return architecture(config).eval()


def example_signal(encoder: Encoder, windows: int = 2, seed: int = 0) -> Tensor:
    """Normalised noise (windows, leads, samples) of a length that the encoder takes."""
    spec = encoder.input_spec
    samples = spec.samples
    if samples is None:
        # One second where any length is taken, so that there are several tokens.
        wanted = spec.minimum_samples * 6 if spec.minimum_samples > 1 else round(spec.sampling_rate)
        wanted = max(wanted, spec.multiple_of)
        samples = -(-wanted // spec.multiple_of) * spec.multiple_of
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(windows, len(spec.leads), samples, generator=generator)


def _specification(encoder: Encoder) -> None:
    ARCHITECTURES.check(encoder, encoder.architecture)
    spec, modules = encoder.input_spec, dict(encoder.named_modules())
    unknown = [lead for lead in spec.leads if lead not in STANDARD_LEADS]
    expect(spec.leads and not unknown, f"leads {spec.leads}; allowed: one or more of {', '.join(STANDARD_LEADS)}")
    expect(spec.sampling_rate > 0, f"sampling_rate {spec.sampling_rate}; allowed: above 0 Hz")
    expect(spec.leads == encoder.config.leads, f"input_spec has leads {spec.leads}, config has {encoder.config.leads}")
    other = sorted(set(encoder.roles) - set(ROLES))
    expect(not other, f"roles has {', '.join(other)}; allowed: {', '.join(ROLES)}")
    for role, patterns in encoder.roles.items():
        expect(encoder.modules_of(role), f"role {role}: no module matches {patterns}")
    if encoder.lead_weight is not None:
        expect(encoder.lead_weight in encoder.state_dict(), f"lead_weight {encoder.lead_weight!r} is no parameter")
    for name, block in encoder.blocks.items():
        expect(modules.get(name) is block, f"blocks: {name!r} is not the name of that module")
    expect(len(encoder.block_widths) == len(encoder.blocks) + 1, "block_widths needs one width more than blocks")
    expect(encoder.block_widths[-1] == encoder.head_width, "the last of block_widths is not head_width")


def _shapes(encoder: Encoder) -> None:
    signal = example_signal(encoder)
    tokens, mask = encoder(signal)
    expect(tokens.dim() == 3, f"tokens have shape {tuple(tokens.shape)}; allowed: (batch, tokens, width)")
    expect(tokens.shape[::2] == (2, encoder.head_width), f"tokens {tuple(tokens.shape)}, width {encoder.head_width}")
    expect(mask.dtype == torch.bool and mask.shape == tokens.shape[:2], f"mask {mask.dtype} {tuple(mask.shape)}")
    expect(bool(mask.all()), "without padding the mask is not all True")
    expect(bool(torch.isfinite(tokens).all()), "tokens are not finite")
    if encoder.pooling == "none":
        expect(tokens.shape[1] == 1, f"pooling 'none' with {tokens.shape[1]} tokens; allowed: one token")
    short = max(encoder.input_spec.minimum_samples - 1, 0)
    for wrong in (signal[:, :0], signal.repeat(1, 2, 1), signal[..., :short]):
        _expect_refusal(lambda wrong=wrong: encoder(wrong), DataError, f"a signal of shape {tuple(wrong.shape)}")


def _padding(encoder: Encoder) -> None:
    signal = example_signal(encoder)
    padding = torch.zeros(len(signal), signal.shape[2], dtype=torch.bool)
    padding[1, signal.shape[2] // 2 :] = True
    tokens, mask = encoder(signal, padding)
    expect(bool(mask[0].all()), "a record without padding has invalid tokens")
    if tokens.shape[1] > 1:
        expect(0 < int(mask[1].sum()) < tokens.shape[1], "half a record of padding does not show in the mask")
    expect(bool(torch.isfinite(tokens[mask]).all()), "valid tokens of a padded batch are not finite")


def _batch_independence(encoder: Encoder) -> None:
    signal = example_signal(encoder, 3)
    together = encoder(signal)[0]
    apart = torch.cat([encoder(window[None])[0] for window in signal])
    expect_close(apart, together, "windows one by one and in a batch", 1e-4)


def _determinism(encoder: Encoder) -> None:
    signal = example_signal(encoder)
    expect(torch.equal(encoder(signal)[0], encoder(signal)[0]), "two evaluations of one signal differ")


def _prefix_equals_whole(encoder: Encoder) -> None:
    signal = example_signal(encoder)
    tokens, mask = encoder(signal)
    states, last_mask = encoder.forward_intermediates(signal)
    expect(
        len(states) == len(encoder.blocks) + 1,
        f"{len(states)} intermediates of {counted(len(encoder.blocks), 'block')}",
    )
    widths = tuple(state.shape[-1] for state in states)
    expect(
        widths == encoder.block_widths,
        f"intermediates have widths {widths}, override block_widths, {encoder.block_widths}",
    )
    expect_close(states[-1], tokens, "the last intermediate and the tokens", 0.0)
    expect(torch.equal(mask, last_mask), "the mask of the intermediates differs")
    finished = encoder.finish_pooled(tokens)
    expect(finished.shape == tokens.shape, f"finish_pooled makes {tuple(finished.shape)} of {tuple(tokens.shape)}")
    last = len(encoder.blocks)
    (alone,), _ = encoder.forward_intermediates(signal, [last])
    expect_close(alone, tokens, "forward_intermediates at one depth", 0.0)
    for depth in range(last + 1):
        features, axis = encoder.features_before(depth, signal), encoder.channel_axis
        width = encoder.block_widths[depth]
        expect(
            features.shape[axis] == width,
            f"features_before({depth}) are {tuple(features.shape)} with {width} channels, not on channel_axis {axis}",
        )
        found = encoder.forward_from(depth, features)
        expect_close(found, tokens, f"features_before({depth}) and forward_from({depth})")


def _token_rows(encoder: Encoder) -> None:
    signal, rows = example_signal(encoder), encoder.token_rows
    tokens = depth_tokens(encoder, signal)[0]
    places = tokens.shape[1] // rows if rows else 0
    if places < 2:  # 0 rows: tokens are no equal parts of the window
        return
    changed = signal.clone()
    changed[..., : signal.shape[2] // 2] = 0
    change = (depth_tokens(encoder, changed)[0] - tokens).detach().norm(dim=-1).mean(dim=0)
    first = token_places(len(change), rows, places) < places / 2
    expect(
        float(change[first].mean()) > float(change[~first].mean()),
        f"token_rows is {rows}, but a change of the first half of the window changes tokens of the second half more; "
        "override it with the number of rows of tokens, or 0",
    )


def _frozen_prefix(encoder: Encoder) -> None:
    encoder.requires_grad_(False)
    frozen = encoder.frozen_depth()
    expect(frozen is not None, "a frozen encoder has no frozen prefix")
    blocks = list(encoder.blocks.values())
    if blocks and frozen == len(blocks):
        blocks[-1].requires_grad_(True)
        expect(encoder.frozen_depth() == len(blocks) - 1, "a trainable last block is inside the frozen prefix")
    encoder.requires_grad_(True)
    expect(encoder.frozen_depth() is None, "a trainable encoder has a frozen prefix")


def _fixed_prefix(encoder: Encoder) -> None:
    encoder.requires_grad_(False).train()
    for module in encoder.modules():  # a batch norm with frozen weights stays in evaluation mode in a training
        if isinstance(module, _BatchNorm):
            module.eval()
    signal, depth = example_signal(encoder), encoder.frozen_depth()
    if depth is None:
        return
    drawn = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        drawn.append(encoder.features_before(depth, signal))
    message = f"features_before({depth}) of a frozen encoder in training mode depend on random draws; use nn.Dropout"
    expect(torch.equal(*drawn), f"{message}, or keep the rate in an attribute `dropout` of the block")


def _target_modules(encoder: Encoder) -> None:
    for kind in (*TARGETS, "all"):
        try:
            names = encoder.target_modules(kind)
        except SettingError:
            continue
        for name in names:
            module = encoder.get_submodule(name)
            expect(isinstance(module, (nn.Linear, nn.Conv1d)), f"target {name} is a {type(module).__name__}")
    _expect_refusal(lambda: encoder.target_modules("nonsense"), SettingError, "unknown targets")
    called: set[str] = set()
    for role in encoder.roles:
        for name in encoder.modules_of(role):
            module = encoder.get_submodule(name)
            module.register_forward_hook(lambda *_, name=name: called.add(name))
    with torch.no_grad():  # fused kernels of inference must not bypass modules that a method wraps
        encoder.eval()(example_signal(encoder))
    silent = sorted({name for role in encoder.roles for name in encoder.modules_of(role)} - called)
    expect(not silent, f"modules with a role are not called in evaluation mode: {', '.join(silent[:3])}")


def _gradients(encoder: Encoder) -> None:
    encoder.train().requires_grad_(True)
    signal = example_signal(encoder, 4)
    finished = encoder.finish_pooled(encoder(signal)[0])
    (finished * torch.randn_like(finished)).sum().backward()
    largest = max(float(p.grad.abs().max()) for p in encoder.parameters() if p.grad is not None)
    for name, parameter in encoder.named_parameters():
        expect(parameter.grad is not None, f"{name} gets no gradient")
        assert parameter.grad is not None
        size = float(parameter.grad.abs().max())
        if name.endswith(encoder.zero_gradient_parameters):
            expect(
                size <= 1e-4 * largest, f"{name} is listed in zero_gradient_parameters, but has a gradient {size:.2g}"
            )
        else:
            expect(
                size > 0, f"{name} has a gradient of zeros; list it in zero_gradient_parameters if it is always zero"
            )


def _after_blocks(encoder: Encoder) -> None:
    depth = len(encoder.blocks)
    with torch.no_grad():
        features = encoder.features_before(depth, example_signal(encoder))
    finished = encoder.finish_pooled(encoder.forward_from(depth, features))
    if not finished.requires_grad:
        return
    finished.square().sum().backward()
    behind = [name for name, p in encoder.named_parameters() if p.grad is not None]
    missing = [name for name in behind if not name.startswith(encoder.after_blocks)]
    expect(not missing, f"{', '.join(missing)} act behind the last block; after_blocks has to begin their names")


def _gradient_checkpointing(encoder: Encoder) -> None:
    if not encoder.blocks:
        return
    results = []
    for on in (False, True):
        copied = copy.deepcopy(encoder).train().requires_grad_(True)
        copied.set_gradient_checkpointing(on)
        torch.manual_seed(1)
        tokens, _ = copied(example_signal(encoder))
        tokens.square().sum().backward()
        gradients = {n: p.grad for n, p in copied.named_parameters() if p.grad is not None}
        results.append(gradients | dict(copied.named_buffers()))
    for name, tensor in results[0].items():
        expect_close(results[1][name], tensor, f"{name} with gradient checkpointing", 1e-4)


def _drop_path(encoder: Encoder) -> None:
    signal = example_signal(encoder)
    tokens = encoder(signal)[0]
    try:
        encoder.set_drop_path(0.5)
    except SettingError:
        return
    expect_close(encoder(signal)[0], tokens, "tokens in evaluation mode with drop_path", 0.0)
    encoder.set_drop_path(0.0)


def _saving(encoder: Encoder) -> None:
    signal = example_signal(encoder)
    with temporary_folder() as place:
        save_encoder(encoder, Path(place) / "encoder")
        loaded = load_checkpoint(Path(place) / "encoder").encoder
    expect(type(loaded) is type(encoder), f"a saved {type(encoder).__name__} is loaded as {type(loaded).__name__}")
    expect(loaded.config == encoder.config, "the sizes of a saved encoder differ after loading")
    expect(
        torch.equal(loaded.eval()(signal)[0], encoder(signal)[0]), "a saved encoder gives other tokens after loading"
    )


def _leads(encoder: Encoder) -> None:
    available = encoder.input_spec.leads
    signal = example_signal(encoder)
    if encoder.readable_leads:
        again = available[::-1]
        turned = encoder.adapt_leads(again).eval()
        expect(turned.input_spec.leads == again, f"adapt_leads({again}) takes {turned.input_spec.leads}")
        expect_close(turned(signal.flip(1))[0], encoder(signal)[0], "tokens of the leads in another order")
        one = encoder.adapt_leads(encoder.readable_leads[:1]).eval()
        expect(bool(torch.isfinite(one(signal[:, :1])[0]).all()), "tokens of one lead are not finite")
        _expect_refusal(lambda: encoder.adapt_leads(("none",)), SettingError, "an unknown lead")
        return
    if encoder.lead_weight is None:
        _expect_refusal(lambda: encoder.adapt_leads(("V2", "I")), SettingError, "other leads")
        return
    kept = available[: max(1, len(available) // 2)][::-1]
    columns = [available.index(lead) for lead in kept]
    silenced = torch.zeros_like(signal)
    silenced[:, columns] = signal[:, columns]
    few = encoder.adapt_leads(kept).eval()
    expect(few.input_spec.leads == kept, f"adapt_leads({kept}) takes {few.input_spec.leads}")
    expect_close(few(signal[:, columns])[0], encoder(silenced)[0], f"adapt_leads({kept}) and zeros in the other leads")
    if len(available) > 1:
        _expect_refusal(lambda: encoder.adapt_leads(("none",)), SettingError, "an unknown lead")
    matrix = torch.randn(len(available), 2)
    folded = encoder.fold_leads(matrix, ("I", "V1")).eval()
    pair = signal[:, :1].repeat(1, 2, 1) * torch.tensor([1.0, -0.5])[:, None]
    expect_close(folded(pair)[0], encoder(matrix @ pair)[0], "fold_leads and the mixed signal", 1e-4)


def _number_formats(encoder: Encoder) -> None:
    signal = example_signal(encoder)
    tokens = encoder(signal)[0]
    with autocast(torch.device("cpu"), "bf16"):
        half = encoder(signal)[0]
    expect(bool(torch.isfinite(half).all()), "tokens in bfloat16 are not finite")
    double = copy.deepcopy(encoder).double()(signal.double())[0]
    expect_close(double, tokens, "tokens in float64 and float32", 1e-3)
    for device in ("cuda",) if torch.cuda.is_available() else ():
        moved = copy.deepcopy(encoder).to(device)(signal.to(device))[0]
        expect_close(moved.cpu(), tokens, f"tokens on {device}", 1e-2)


def _export(encoder: Encoder) -> None:
    if encoder.no_graph:
        return
    signal = example_signal(encoder)
    expected = encoder(signal)[0]
    program = torch.export.export(encoder, (signal,), strict=False)
    expect_close(program.module()(signal)[0], expected, "tokens of the exported graph")


def _expect_refusal(act: Callable[[], object], error: type[Exception], what: str) -> None:
    try:
        act()
    except error:
        return
    expect(False, f"{what} is accepted; a {error.__name__} is expected")


#: All checks, each takes an encoder in evaluation mode that it may change.
ENCODER_CHECKS = (
    _specification,
    _shapes,
    _padding,
    _batch_independence,
    _determinism,
    _prefix_equals_whole,
    _token_rows,
    _frozen_prefix,
    _fixed_prefix,
    _target_modules,
    _gradients,
    _after_blocks,
    _gradient_checkpointing,
    _drop_path,
    _saving,
    _leads,
    _number_formats,
    _export,
)
