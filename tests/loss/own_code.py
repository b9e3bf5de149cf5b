"""What tests of people's own code share: a small network, data, and the plain value and gradient to compare with."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lossatlas import Loss

CE = nn.CrossEntropyLoss()


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(outputs: int = 3) -> nn.Sequential:
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, outputs))


def inputs(rows: int = 23) -> Tensor:
    return torch.randn(rows, 4, generator=seeded(11))


def labels(rows: int = 23) -> Tensor:
    return torch.randint(0, 3, (rows,), generator=seeded(12))


def ragged(*tensors: Tensor, size: int = 5) -> list[tuple[Tensor, ...]]:
    """Batches of `size` examples of all tensors together, the last one smaller."""
    return list(zip(*(tensor.split(size) for tensor in tensors), strict=True))


def elsewhere(loss: Loss) -> Tensor:
    """A point away from the weights that the module came with."""
    return loss.theta + 0.2 * torch.randn(loss.theta.shape, generator=seeded(13)).to(loss.theta)


def holding(module: nn.Module, loss: Loss, theta: Tensor) -> nn.Module:
    """A copy of the module with the weights θ, its mode left as it is."""
    module = copy.deepcopy(module)
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for name, tensor in loss.layout.unflatten(theta).items():
            parameters[name].copy_(tensor)
    return module


def assert_is(loss: Loss, module: nn.Module, plain: Callable[[Any], Tensor]) -> None:
    """Value, values of a stack and gradient are those of `plain(module)`, on all data at once, at two points."""
    for theta in (loss.theta, elsewhere(loss)):
        held = holding(module, loss, theta)
        wanted = plain(held)
        parameters = dict(held.named_parameters())
        gradients = torch.autograd.grad(wanted, [parameters[name] for name in loss.layout.names])
        assert loss(theta).item() == pytest.approx(float(wanted.detach()), rel=1e-5)
        assert loss(torch.stack([theta, loss.theta]))[0].item() == pytest.approx(float(wanted.detach()), rel=1e-5)
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        torch.testing.assert_close(loss.gradient(theta), flat, rtol=1e-4, atol=1e-6)
