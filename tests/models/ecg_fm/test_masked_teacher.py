"""The masked teacher: its targets, what the student may see, and how the teacher moves."""

import pytest
import torch
from torch.nn import functional as F

from ecgtune.models.ecg_fm.masked_teacher import MaskedTeacher
from ecgtune.models.ecg_fm.network import EcgFM
from ecgtune.models.rhythm import RhythmHead
from helpers.models import TINY


def tiny(seed: int = 0, rhythm: bool = False) -> MaskedTeacher:
    torch.manual_seed(seed)
    head = RhythmHead(TINY.width, (3, 2), 2) if rhythm else None
    return MaskedTeacher(EcgFM(TINY), layers=2, width=32, kernel=3, groups=4, rhythm=head)


SIGNAL = torch.randn(3, 1, 160, generator=torch.Generator().manual_seed(1))
VISIBLE = torch.rand(3, 2, 20, generator=torch.Generator().manual_seed(2)).argsort(-1)[..., :6].sort(-1).values
NOTHING_HIDDEN = torch.zeros(3, 0, 6, dtype=torch.int64)
RHYTHM = (
    torch.randn(3, 5, generator=torch.Generator().manual_seed(3)),
    torch.randn(3, 20, 2, generator=torch.Generator().manual_seed(4)),
)


def stem_tokens(model: MaskedTeacher, signal: torch.Tensor) -> torch.Tensor:
    encoder = model.encoder
    return encoder.projection(encoder.stem_norm(encoder.stem_features(signal)))


def silent(model: MaskedTeacher) -> set[str]:
    """What trains but got no gradient; the bias of keys never has one."""
    return {
        name for name, parameter in model.named_parameters()
        if parameter.requires_grad and not (parameter.grad is not None and parameter.grad.any())
        and not name.endswith("k_proj.bias")
    }  # fmt: skip


def test_teacher_is_the_moving_average_of_the_student():
    model = tiny()
    before = {name: tensor.clone() for name, tensor in model.teacher.state_dict().items()}
    assert all(torch.equal(before[name], tensor) for name, tensor in model.encoder.state_dict().items())
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.add_(torch.randn_like(parameter))
    model.update_teacher(0.9)
    student = model.encoder.state_dict()
    for name, tensor in model.teacher.state_dict().items():
        torch.testing.assert_close(tensor, 0.9 * before[name] + 0.1 * student[name], msg=name)


def test_only_student_and_decoder_get_a_gradient():
    model = tiny().train()
    assert not model.teacher.training
    model(SIGNAL, VISIBLE).masked.sum().backward()
    assert all(parameter.grad is None for parameter in model.teacher.parameters())
    assert not silent(model)


def test_targets_are_the_mean_of_normalised_blocks():
    model = tiny()
    outputs = []
    hooks = [layer.register_forward_hook(lambda *a: outputs.append(a[-1])) for layer in model.teacher.layers]
    model.teacher(SIGNAL)
    for hook in hooks:
        hook.remove()
    normed = [(o - o.mean(1, keepdim=True)) / (o.var(1, keepdim=True, correction=0) + 1e-5).sqrt() for o in outputs]
    target, spread = model.targets(SIGNAL)
    torch.testing.assert_close(target, sum(normed) / len(normed), rtol=1e-4, atol=1e-5)
    assert not target.requires_grad
    mean = sum(outputs) / len(outputs)
    torch.testing.assert_close(spread, mean.reshape(-1, 32).var(0, correction=0).mean())


def test_loss_is_the_squared_error_at_hidden_places_only():
    model = tiny().eval()
    output = model(SIGNAL, VISIBLE)
    prediction, hidden_places = model.predict(stem_tokens(model, SIGNAL), VISIBLE)
    target, _ = model.targets(SIGNAL)
    for crop in range(3):
        errors = []
        for mask in range(2):
            hidden = [place for place in range(20) if place not in VISIBLE[crop, mask].tolist()]
            assert torch.equal(hidden_places[2 * crop + mask], torch.isin(torch.arange(20), torch.tensor(hidden)))
            errors.append(F.mse_loss(prediction[2 * crop + mask, hidden], target[crop, hidden]))
        torch.testing.assert_close(output.masked[crop], sum(errors) / 2)
    chosen = prediction.view(3, 2, 20, 32)[:, 0][hidden_places.view(3, 2, 20)[:, 0]]
    torch.testing.assert_close(output.prediction_variance, chosen.var(0, correction=0).mean())


def test_hidden_tokens_do_not_reach_the_student():
    """With the stem's norm over time out of the way, what is hidden may be anything."""
    model = tiny().eval()
    model.encoder.stem[0].norm = None
    other = SIGNAL.clone()
    for crop in range(3):
        for place in set(range(20)) - set(VISIBLE[crop, 0].tolist()):
            other[crop, :, 8 * place : 8 * place + 8] = torch.randn(8)
    moved = SIGNAL.clone()
    moved[0, :, 8 * int(VISIBLE[0, 0, 0])] += 1
    first, second, third = (
        model.predict(stem_tokens(model, signal), VISIBLE[:, :1])[0] for signal in (SIGNAL, other, moved)
    )
    torch.testing.assert_close(second, first)
    assert not torch.allclose(third[0], first[0])


def test_everything_visible_is_what_the_encoder_itself_computes():
    model = tiny().eval()
    encoded = []
    model.decoder.register_forward_pre_hook(lambda module, inputs: encoded.append(inputs[0]))
    model.predict(stem_tokens(model, SIGNAL), torch.arange(20).expand(3, 1, 20))
    torch.testing.assert_close(encoded[0], model.encoder(SIGNAL)[0])


def test_a_teacher_that_says_the_same_to_everything_has_no_variance():
    model = tiny()
    with torch.no_grad():
        for layer in model.teacher.layers:
            layer.final_norm.weight.zero_()
    output = model(SIGNAL, VISIBLE)
    assert output.target_variance.item() < 1e-6
    assert torch.isfinite(output.masked).all()


def test_the_rhythm_head_reads_the_students_tokens_of_the_whole_crop():
    model = tiny(rhythm=True).eval()
    output = model(SIGNAL, VISIBLE, RHYTHM)
    crop, token = model.rhythm(model.encoder(SIGNAL)[0], *RHYTHM)
    torch.testing.assert_close(output.crop, crop)
    torch.testing.assert_close(output.token, token)
    torch.testing.assert_close(output.masked, model(SIGNAL, VISIBLE).masked)


@pytest.mark.parametrize("rhythm", [None, RHYTHM], ids=["no targets", "targets"])
def test_without_a_head_or_targets_there_is_no_rhythm_loss(rhythm):
    output = tiny(rhythm=rhythm is None).eval()(SIGNAL, VISIBLE, rhythm)
    assert not output.crop.any()
    assert not output.token.any()
    assert output.masked.all()


def test_without_masks_there_is_rhythm_alone_and_the_teacher_is_not_asked(monkeypatch):
    model = tiny(rhythm=True).train()
    with_masks = model(SIGNAL, VISIBLE, RHYTHM)
    monkeypatch.setattr(model, "targets", None)
    output = model(SIGNAL, NOTHING_HIDDEN, RHYTHM)
    torch.testing.assert_close((output.crop, output.token), (with_masks.crop, with_masks.token))
    assert not output.masked.any()
    (output.crop + output.token).sum().backward()
    unused = {"hidden_token", "gap_token", *(f"decoder.{name}" for name, _ in model.decoder.named_parameters())}
    assert silent(model) == unused
