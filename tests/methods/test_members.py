"""Several members over one frozen encoder, before any training: what they share, what they answer, what is kept."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from ecgtune.config.model import ModelSettings
from ecgtune.config.training import Training
from ecgtune.deployment.int8 import int8_copy
from ecgtune.errors import AuditError, SettingError
from ecgtune.methods.added_settings import SideTuning
from ecgtune.methods.attach import attach, attached_prefixes, base_encoder, encoders_of
from ecgtune.methods.audits import TrainingAudit, count_parameters
from ecgtune.methods.base import Method
from ecgtune.methods.low_rank_settings import LoRA
from ecgtune.methods.members import unwrapped
from ecgtune.methods.multiplicative_settings import IA3, OFT
from ecgtune.methods.own_weights_settings import Full, LinearProbe, NormBias
from ecgtune.models.classifier import Head
from ecgtune.recipe.recipe import Recipe
from ecgtune.training.weights import load_weights, save_weights
from helpers.methods import METHODS, ROUNDED, SEVERAL, THROUGH_PEFT
from helpers.models import tiny_classifier


def signal(windows: int = 6, seed: int = 1) -> torch.Tensor:
    return torch.randn(windows, 1, 200, generator=torch.Generator().manual_seed(seed))


def moved(method: Method, members: int = 3, head: Head | None = None, seed: int = 0):
    """A model of which no two members answer alike."""
    model = attach(tiny_classifier(head=head), method, seed=seed, members=members)
    with torch.no_grad():
        for number, weight in enumerate(p for p in model.parameters() if p.requires_grad):
            weight += 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(number))
    return model.eval()


@pytest.mark.parametrize("method", SEVERAL, ids=str)
def test_they_start_as_the_identity_but_from_draws_of_their_own(method):
    model = attach(tiny_classifier(), method, members=3).eval()
    with torch.no_grad():
        torch.testing.assert_close(
            model(signal()), tiny_classifier().eval()(signal()), rtol=0, atol=2e-6 if method in ROUNDED else 1e-7
        )
    first, second = (dict(encoder.named_parameters()) for encoder in encoders_of(model)[:2])
    differ = any(not torch.equal(weight, second[name]) for name, weight in first.items() if weight.requires_grad)
    # VeRA's random pair is frozen, and different all the same.
    differ |= any(not torch.equal(*pair) for pair in zip(*(e.buffers() for e in encoders_of(model)[:2]), strict=True))
    assert differ == (not isinstance(method, (IA3, OFT)))  # which start from ones and zeros


@pytest.mark.parametrize("method", SEVERAL, ids=str)
def test_what_is_frozen_is_there_once_and_the_rest_is_counted(method):
    one = count_parameters(attach(tiny_classifier(), method), method)
    model = attach(tiny_classifier(), method, members=3)
    three = count_parameters(model, method)
    assert (three.encoder, three.method, three.head) == (0, 3 * one.method, 3 * one.head)
    assert three.total - three.trainable == one.total - one.trainable
    encoders = [unwrapped(encoder) for encoder in encoders_of(model)]
    assert base_encoder(model) is encoders[0]
    added = attached_prefixes(model)
    for name, weight in encoders[0].named_parameters():
        own = any(part in f".{name}" for part in added)
        assert all((weight is other.get_parameter(name)) != own for other in encoders[1:]), name


@pytest.mark.parametrize("method", SEVERAL, ids=str)
def test_the_answer_is_the_mean_of_their_logits(method):
    model = moved(method)
    with torch.no_grad():
        tokens = [encoder(signal())[0] for encoder in encoders_of(model)]
        alone = [head(part.mean(dim=1)) for head, part in zip(model.head.heads, tokens, strict=True)]
        torch.testing.assert_close(model(signal()), torch.stack(alone).mean(dim=0), rtol=0, atol=1e-5)
    assert not torch.allclose(alone[0], alone[1], atol=1e-3)


def test_padding_reaches_every_member():
    model = moved(LoRA(rank=2))
    mask = torch.zeros(2, 200, dtype=torch.bool)
    mask[1, 120:] = True
    with torch.no_grad():
        alone = [
            head(model.pool(*encoder(signal(2), mask)))
            for head, encoder in zip(model.head.heads, encoders_of(model), strict=True)
        ]
        torch.testing.assert_close(model(signal(2), mask), torch.stack(alone).mean(dim=0), rtol=0, atol=1e-6)


def test_a_method_before_the_layers_is_of_each_member():
    model = moved(LoRA(rank=2, targets=("projection",)))
    assert base_encoder(model).settled_layers is None
    with torch.no_grad():
        alone = [head(e(signal())[0].mean(dim=1)) for head, e in zip(model.head.heads, encoders_of(model), strict=True)]
        torch.testing.assert_close(model(signal()), torch.stack(alone).mean(dim=0), rtol=0, atol=1e-6)


def test_in_training_each_has_its_part_of_the_batch_and_its_own_answers():
    model = moved(SideTuning(width=8)).train()
    with torch.no_grad():
        logits = model(signal(6))
        parts = signal(6).chunk(3)
        alone = [
            head(encoder(part)[0].mean(dim=1))
            for head, encoder, part in zip(model.head.heads, encoders_of(model), parts, strict=True)
        ]
    assert logits.shape == (6, 2)
    torch.testing.assert_close(logits, torch.cat(alone), rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", SEVERAL, ids=str)
@pytest.mark.parametrize("pooling", ["statistics", "attention"])
def test_save_and_reload_is_exact(method, pooling, tmp_path):
    head = Head(pooling=pooling)
    model = moved(method, head=head, seed=3)
    save_weights(model, method, tmp_path)
    again = attach(tiny_classifier(head=head), method, seed=4, members=3)
    load_weights(again, method, tmp_path)
    again.requires_grad_(False)  # as a loaded run is
    with torch.no_grad():
        assert torch.equal(again.eval()(signal()), model(signal()))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["head.safetensors", "member-1", "member-2", "member-3"]


@pytest.mark.parametrize("method", [method for method in SEVERAL if method in THROUGH_PEFT], ids=str)
def test_peft_itself_reads_the_files_of_each(method, tmp_path):
    from peft import PeftModel

    model = moved(method)
    save_weights(model, method, tmp_path)
    for number, member in enumerate(encoders_of(model), 1):
        alone = PeftModel.from_pretrained(tiny_classifier().encoder, str(tmp_path / f"member-{number}")).eval()
        with torch.no_grad():
            torch.testing.assert_close(alone(signal())[0], member(signal())[0])


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        *[
            (lambda method=method: attach(tiny_classifier(), method, members=2), ["members is 2", method.title])
            for method in METHODS
            if not method.takes_members
        ],
        (lambda: Recipe("full", Full(), model=ModelSettings(members=3)), ["members is 3", "Full fine-tuning"]),
        (lambda: Recipe("probe", LinearProbe(), model=ModelSettings(members=2)), ["members is 2", "probe"]),
        (lambda: Recipe("norms", NormBias(), model=ModelSettings(members=2)), ["members is 2", "Norms"]),
        (lambda: Recipe("lora", model=ModelSettings(members=0)), ["members", "0", "1 or more"]),
        (lambda: attach(tiny_classifier(), LoRA(), members=0), ["members", "0", "1 or more"]),
        (
            lambda: Recipe("lora", model=ModelSettings(members=2), training=Training(head_epochs=1)),
            ["2 members", "head_epochs"],
        ),
    ],
)
def test_what_takes_no_members_says_so(make, parts):
    with pytest.raises(SettingError) as error:
        make()
    assert all(part in str(error.value) for part in parts), str(error.value)
    assert "\n" not in str(error.value)


def test_a_refusal_leaves_the_model_as_it_was():
    model = tiny_classifier()
    with pytest.raises(SettingError):
        attach(model, Full(), members=2)
    assert all(weight.requires_grad for weight in model.parameters())


def test_the_mean_is_not_rounded_to_the_format_of_the_products():
    model = moved(LoRA(rank=2))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert model(signal()).dtype == torch.float32


def test_a_member_that_stands_still_is_found():
    model = attach(tiny_classifier(), LoRA(rank=2), members=2)
    audit = TrainingAudit(model, LoRA(rank=2))
    audit.before_step(signal())
    cross_entropy(model.train()(signal()), torch.tensor([0, 1, 0, 1, 1, 0])).backward()
    audit.after_backward()
    with torch.no_grad():
        for weight in encoders_of(model)[0].parameters():
            if weight.requires_grad:
                weight += 0.1
    with pytest.raises(AuditError, match="tokens of member 2"):
        audit.after_step()


def test_there_is_no_int8_copy_of_several(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: True)
    monkeypatch.setattr("ecgtune.deployment.int8.ENGINE", torch.backends.quantized.supported_engines[0])
    with pytest.raises(SettingError, match="several members"):
        int8_copy(moved(LoRA(rank=2)))


def test_a_title_tells_of_them():
    assert Recipe("lora", LoRA(rank=1), model=ModelSettings(members=3)).label == "LoRA r1, all linear layers × 3"
