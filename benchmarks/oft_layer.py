"""OFT with the rotation in the weights beside peft's, which turns activations, in training steps of whole encoders.

    python benchmarks/oft_layer.py

times forward and backward of both, interleaved, in bf16 and float32, and writes medians and ratios to
benchmarks/results/oft_layer.json. `methods/rotated_weights.py` is there because of it.
"""

from pathlib import Path

from lora_layer import beside_peft
from peft.tuners import oft
from torch import nn

from ecgtune import load_model
from ecgtune.methods import rotated_weights
from ecgtune.methods.attach import attach
from ecgtune.methods.oft.rotated_weights import RotatedLinear
from ecgtune.methods.oft.settings import OFT
from ecgtune.models.classifier import Classifier, Head
from ecgtune.models.ecg_fm.network import EcgFM, EcgFmConfig
from ecgtune.models.weights import Weights
from ecgtune.utils.files import write_json
from ecgtune.workflows.environment import machine, now

RESULT = Path(__file__).parent / "results" / "oft_layer.json"
#: name -> encoder, block, signal (batch, leads, samples)
SIZES = {
    "ecg-fm-tiny, blocks of 16, 64 windows of 6 s": ("ecg-fm-tiny", 16, (64, 1, 600)),
    "ECG-FM, 4 of 12 layers, blocks of 32, 8 windows of 5 s": (EcgFmConfig(depth=4), 32, (8, 12, 2500)),
}


def encoders(model: str | EcgFmConfig, block: int) -> dict[str, nn.Module]:
    """The same OFT on the same kind of encoder, carried out by peft and by us."""
    made: dict[str, nn.Module] = {}
    for name in ("peft", "turned weights"):
        if isinstance(model, str):
            classifier = load_model(model)
        else:
            classifier = Classifier(EcgFM(model), Head(), ("0", "1"), Weights("random", "benchmark", seed=0), name="")
        made[name] = attach(classifier, OFT(block=block)).encoder
        for module in made[name].modules():
            if name == "peft" and isinstance(module, RotatedLinear):
                module.__class__ = oft.Linear
    return made


def main() -> None:
    rotated_weights._cheaper = lambda weight, x: True  # also where it turned out to cost time
    rows = beside_peft(SIZES, encoders, "turned weights")
    write_json(RESULT, {"command": "python benchmarks/oft_layer.py", "date": now(), "machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
