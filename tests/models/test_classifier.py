"""Heads, and the pooling that they read."""

import pytest

from ecgtune.errors import SettingError
from ecgtune.models.classifier import Head
from ecgtune.models.loading import load_model


@pytest.mark.parametrize(
    ("head", "layers", "count"),
    [
        (None, ["Linear"], 192 * 2 + 2),
        (Head(hidden=8), ["Linear", "GELU", "Linear"], 192 * 8 + 8 + 8 * 2 + 2),
        (Head(hidden=8, activation="relu"), ["Linear", "ReLU", "Linear"], 192 * 8 + 8 + 8 * 2 + 2),
        (Head(hidden=8, dropout=0.1), ["Dropout", "Linear", "GELU", "Dropout", "Linear"], 192 * 8 + 8 + 8 * 2 + 2),
    ],
)
def test_heads(head: Head | None, layers: list[str], count: int) -> None:
    model = load_model("ecg-fm-tiny", head=head)
    assert [type(layer).__name__ for layer in model.head] == layers
    assert sum(parameter.numel() for parameter in model.head.parameters()) == count


@pytest.mark.parametrize("values", [{"hidden": 0}, {"dropout": 1.0}, {"activation": "tanh"}])
def test_wrong_heads(values: dict[str, object]) -> None:
    with pytest.raises(SettingError):
        Head(**values)  # type: ignore[arg-type]
