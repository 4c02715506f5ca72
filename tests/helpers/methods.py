"""The table of methods that the tests put through every behaviour."""

import pytest

from ecgtune.methods.adalora.settings import AdaLoRA
from ecgtune.methods.adapter.settings import Adapter
from ecgtune.methods.base import Method
from ecgtune.methods.ia3.settings import IA3
from ecgtune.methods.lora.settings import LoRA
from ecgtune.methods.oft.settings import OFT
from ecgtune.methods.own_weights.settings import Full, NormBias, TopLayers
from ecgtune.methods.probe.settings import LinearProbe
from ecgtune.methods.side.settings import SideTuning
from ecgtune.methods.vera.settings import VeRA

#: One of every kind, small enough for the tiny encoder.
METHODS: list[Method] = [
    Full(),
    LinearProbe(),
    LinearProbe(layers="mix"),
    LoRA(rank=2, dropout=0.2),
    LoRA(rank=2, rslora=True),
    LoRA(rank=2, dora=True, dropout=0.2),
    LoRA(rank=2, init="pissa"),
    LoRA(rank=2, lora_plus_ratio=8.0),
    Adapter(width=2, dropout=0.2),
    SideTuning(width=8, block="transformer", dropout=0.2),
    TopLayers(layers=1),
    NormBias(),
    IA3(),
    VeRA(rank=8, dropout=0.2),
    AdaLoRA(rank=1, start_rank=3, dropout=0.2),
    OFT(block=8, dropout=0.2),
]


def slow(*cases):
    """Cases of a table, tuples of several arguments, that `make test-all` alone runs."""
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow) for case in cases]


_FIRST = list({type(method): method for method in reversed(METHODS)}.values())[::-1]
#: The methods as a table of which the fast tests run the first of each family.
FAMILIES = [*_FIRST, *slow(*(method for method in METHODS if method not in _FIRST))]

#: More settings of them.
VARIANTS: list[Method] = [
    LoRA(rank=4, targets="attention"),
    LoRA(rank=4, alpha=8, dropout=0.1, targets="qkv"),
    LoRA(rank=4, rslora=True, dora=True),
    LoRA(rank=4, targets=("fc1",)),
    LoRA(rank=4, alpha=3.0, init="pissa", rslora=True, lora_plus_ratio=4.0),
    Adapter(width=4, placement="feed-forward"),
    Adapter(width=4, placement="parallel", dropout=0.1),
    SideTuning(width=5, block="mlp", expansion=3),
    TopLayers(layers=2),
    NormBias(norms=False),
    NormBias(biases=False),
    IA3(targets="all"),
    VeRA(rank=4, targets="qkv", start=1.0),
    AdaLoRA(rank=1, start_rank=2, orthogonality=0.0, targets=("fc2",)),
    OFT(block=4, targets="attention"),
]

#: Starts from the mean of all layers, where every other method starts from the encoder's tokens.
MIXED = LinearProbe(layers="mix")
#: Methods that are identities at the start but for rounding: they take weights apart and put them together again.
ROUNDED = [m for m in [*METHODS, *VARIANTS] if isinstance(m, LoRA) and (m.dora or m.init == "pissa")]
#: Methods whose weights peft keeps.
THROUGH_PEFT = [m for m in [*METHODS, *VARIANTS] if isinstance(m, (LoRA, Adapter, IA3, VeRA, AdaLoRA, OFT))]
#: Methods that can be multiplied into the encoder's weights.
MERGEABLE = [m for m in THROUGH_PEFT if not isinstance(m, Adapter)]
