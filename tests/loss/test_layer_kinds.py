"""Every kind of layer, function and criterion of torch: values, gradients and Hessian products, or what is said.

The witnesses are differences: of the module's own values for gradients, of gradients for products with the Hessian.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lossatlas.loss.loss import Loss
from lossatlas.operators.gauss_newton import GaussNewton
from lossatlas.operators.hessian import Hessian
from tests.loss.function_kinds import CRITERIA, FUNCTIONS, SHAPE
from tests.loss.layer_kinds import LAYERS, Make, function

STEP = 1e-5

KINDS: dict[str, tuple[Make, Callable[[Tensor, Tensor], Tensor], Tensor | None]] = {
    **{name: (make, nn.MSELoss(), None) for name, make in LAYERS.items()},
    **{name: (function(call, *SHAPE), nn.MSELoss(), None) for name, call in FUNCTIONS.items()},
    **{name: (lambda: nn.Linear(4, 6), *kind) for name, kind in CRITERIA.items()},
}

# Of torch.nn, what is no layer with a derivative of its own (containers and bases), or has a test of its own.
OTHERS = {
    *("Module", "Container", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "RNNBase", "RNNCellBase"),
    *("AdaptiveLogSoftmaxWithLoss", "LinearCrossEntropyLoss", "CrossMapLRN2d"),
    *("NLLLoss2d", "DataParallel", "SyncBatchNorm"),
}


class Case:
    """A module away from its weights, its batch of `n` examples, and its values by a plain call."""

    def __init__(self, name: str, n: int) -> None:
        make, self.criterion, targets = KINDS[name]
        generator = torch.Generator().manual_seed(3)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.module = make().double().eval()
        self.x = torch.randn(5, 4, generator=generator, dtype=torch.float64)[:n]
        with torch.no_grad():
            like = copy.deepcopy(self.module)(self.x)
        self.y = targets[:n] if targets is not None else torch.randn(like.shape, generator=generator, dtype=like.dtype)
        self.loss = Loss.of(self.module, (self.x, self.y), self.criterion)
        size = self.loss.layout.size
        self.theta = self.loss.theta + 0.1 * torch.randn(size, generator=generator, dtype=torch.float64)
        self.rows = torch.randn(3, size, generator=generator, dtype=torch.float64)

    @torch.no_grad()
    def plain(self, theta: Tensor) -> Tensor:
        placed = copy.deepcopy(self.module)
        for parameter, tensor in zip(placed.parameters(), self.loss.layout.unflatten(theta).values(), strict=True):
            parameter.copy_(tensor)
        return self.criterion(placed(self.x), self.y)

    def differences(self, of_theta: Callable[[Tensor], Tensor]) -> Tensor:
        moves = STEP * self.rows
        return torch.stack([of_theta(self.theta + move) - of_theta(self.theta - move) for move in moves]) / (2 * STEP)


def near(found: Tensor, wanted: Tensor, tolerance: float) -> bool:
    return bool((found - wanted).abs().max() <= tolerance * (wanted.abs().max() + 1e-3))


@pytest.mark.filterwarnings("ignore:.*cannot be vectorised over points", "ignore:There is a performance drop")
@pytest.mark.parametrize("n", [5, 1])
@pytest.mark.parametrize("name", KINDS)
def test_derivatives_are_those_of_the_values(name, n):
    case = Case(name, n)
    loss, theta, rows = case.loss, case.theta, case.rows
    points = torch.stack([theta, theta + 0.1, theta - 0.1])
    sums = loss._sums(points, at_once=True)[:, 0] / loss._components.averaging.divisors[0]
    assert near(sums, torch.stack([case.plain(point) for point in points]), 1e-10)
    assert near(loss(theta), case.plain(theta), 1e-10)
    assert near(rows @ loss.gradient(theta), case.differences(case.plain), 1e-6)

    hessian = Hessian(loss, theta)
    products, wanted = hessian(rows), case.differences(loss.gradient)
    assert near(products, wanted, 1e-6)
    assert near(torch.cat([hessian(row[None]) for row in rows]), wanted, 1e-6)
    assert near(products @ rows.T, rows @ products.T, 1e-9)


@pytest.mark.parametrize(
    "name",
    [
        "weight_norm, dim 0",
        "GroupNorm, 2d",
        "Embedding, padding",
        "EmbeddingBag, max",
        "Hardsigmoid",
        "LSTM",
        "cdist, 3.0",
    ],
)
def test_gauss_newton_is_that_of_the_slopes_of_the_output(name):
    """For a mean of N squared errors, vᵀGv = 2 ‖Jv‖² / N, with Jv from differences of the output."""
    case = Case(name, 5)
    case.criterion = lambda output, target: output
    found = (GaussNewton(case.loss, case.theta)(case.rows) * case.rows).sum(1)
    wanted = 2 * case.differences(case.plain).flatten(1).square().sum(1) / case.y.numel()
    assert near(found, wanted, 1e-6)


def test_no_layer_of_torch_is_missing():
    kinds = {name.split(",")[0] for name in KINDS}
    layers = {name for name, thing in vars(nn).items() if isinstance(thing, type) and issubclass(thing, nn.Module)}
    assert {name for name in layers if not name.startswith("Lazy")} - kinds <= OTHERS
