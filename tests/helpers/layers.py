"""A model of two layers for the tests of single layers, and what a step of it gives."""

import torch
from torch import Tensor, nn


class Two(nn.Module):
    """Two layers, so that the second has an input with a gradient and the first has none."""

    def __init__(self, inputs: int = 6) -> None:
        super().__init__()
        self.one = nn.Linear(inputs, 8)
        self.two = nn.Linear(8, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.tanh(self.one(x)))


def answer_and_gradients(model: nn.Module, x: Tensor, autocast: bool = False) -> dict[str, Tensor]:
    model.zero_grad()
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        answer = model(x)
    answer.float().square().sum().backward()
    found = {"answer": answer.detach().float(), "input": x.grad}
    return found | {name: p.grad for name, p in model.named_parameters() if p.grad is not None}  # type: ignore[dict-item]
