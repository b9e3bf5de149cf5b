"""Weights that a module keeps in a second place, state that it carries along, pairs of a tensor and a tree."""

from __future__ import annotations

import functools
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lossatlas as la
from lossatlas.loss.loss import Loss
from tests.conftest import seeded

X = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
Y = torch.randint(3, (40,), generator=torch.Generator().manual_seed(1))


class Listed(nn.Module):
    """Decays a list of its own weights."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(5, 3)
        self.decayed = [self.net.weight]

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) + sum(weight.square().sum() for weight in self.decayed)


class Named(nn.Module):
    """Calls functions with a mapping of its own parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(5, 3)
        self.named = dict(self.named_parameters())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.named["net.weight"], self.named["net.bias"])


class Viewed(nn.Module):
    """Reads a view that it made once of one flat parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.flat = nn.Parameter(torch.randn(18))
        self.view = self.flat.data[:15].view(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.view) + self.flat[15:]


class Hidden(nn.Module):
    """Ties a weight past the registration of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 5, bias=False), nn.Linear(5, 3)
        object.__setattr__(self, "tied", self.first.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(x)) @ self.tied)


class Counted(nn.Module):
    """Scales with the norm of a weight that it reads through numpy."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(5, 3)
        self.array = self.net.weight.detach().numpy()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) * (1 + float((self.array**2).sum()))


def partial() -> nn.Module:
    module = nn.Sequential(nn.Linear(5, 3))
    module[0].forward = functools.partial(F.linear, weight=module[0].weight, bias=module[0].bias)
    return module


@pytest.mark.parametrize("make", [Listed, Named, Viewed, Hidden, Counted, partial])
def test_a_second_place_is_told_with_the_weight(make):
    with pytest.raises(ValueError, match=r"a pass reads '[\w.]+' from a second place where it is kept"):
        Loss.of(seeded(make), (X, Y), nn.CrossEntropyLoss())


def test_what_torch_keeps_itself_is_no_second_place():
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.recurrent, self.last = nn.GRU(5, 4, batch_first=True), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.recurrent(x[:, None])[0][:, 0])

    module = seeded(Recurrent)
    assert (
        Loss.of(module, (X, Y), nn.CrossEntropyLoss())
        .gradient(torch.nn.utils.parameters_to_vector(module.parameters()))
        .norm()
        > 0
    )


@pytest.mark.parametrize("kind", ["a tensor", "a list"])
def test_state_that_is_carried_from_batch_to_batch_is_told(kind):
    class Carrying(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.last = nn.Linear(5, 3), torch.zeros(3) if kind == "a tensor" else [torch.zeros(3)]

        def forward(self, x: Tensor) -> Tensor:
            output = self.net(x)
            before = self.last if kind == "a tensor" else self.last[0]
            if kind == "a tensor":
                self.last = output.detach().mean(0)
            else:
                self.last[0] = output.detach().mean(0)
            return output + before

    with pytest.warns(UserWarning, match="the module carries 'last' from one batch to the next"):
        Loss.of(seeded(Carrying), [(X[:20], Y[:20]), (X[20:], Y[20:])], nn.CrossEntropyLoss())


def test_straight_through_weights_alone_are_told():
    """Values that do not move at all give differences of zero."""

    class Signs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 5))

        def forward(self, x: Tensor) -> Tensor:
            return x @ (self.weight + (self.weight.sign() - self.weight).detach()).T

    loss = Loss.of(seeded(Signs), (X, Y), nn.CrossEntropyLoss())
    with pytest.warns(UserWarning, match="straight-through"):
        la.spectrum(loss, loss.theta, k=2, generator=torch.Generator().manual_seed(0))


def test_numbers_at_an_odd_place_are_told():
    class Complex(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias, self.weight = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.randn(5, 2))

        def forward(self, x: Tensor) -> Tensor:
            return (x.to(torch.cfloat) @ torch.view_as_complex(self.weight)).abs() + self.bias

    with pytest.raises(ValueError, match=r"view_as_complex wants .* write torch.complex\(w\[..., 0\], w\[..., 1\]\)"):
        Loss.of(seeded(Complex), (X, X[:, 0].abs()), nn.MSELoss())


@pytest.mark.parametrize(("targets", "of"), [((Y, Y), 0), ({"class": Y, "other": X}, "class")])
def test_a_tensor_with_a_tree_of_targets_is_a_pair(targets, of):
    module = seeded(lambda: nn.Linear(5, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss = Loss.of(module, (X, targets), lambda output, target: F.cross_entropy(output, target[of]))
    assert (loss.examples, loss.batches) == (40, 1)
    assert loss(loss.theta).item() == pytest.approx(F.cross_entropy(module(X), Y).item(), rel=1e-6)
