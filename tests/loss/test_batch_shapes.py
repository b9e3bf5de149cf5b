"""Batches of unlike shapes: weighted as all data at once are, or told."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lossatlas.loss.loss import Loss
from tests.conftest import seeded

X = torch.randn(33, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class Pointwise(nn.Module):
    """Acts on the last axis alone, so that it takes every shape."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(1, 1).double()

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.map(x[..., None])[..., 0])


def of_two_widths(generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    shapes = [(10, 16), (6, 32)]
    return [tuple(torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(2)) for shape in shapes]


@pytest.mark.parametrize("criterion", [nn.MSELoss(), F.l1_loss, nn.SmoothL1Loss()])
def test_torchs_own_means_are_over_elements(criterion, generator):
    batches = of_two_widths(generator)
    loss = Loss.of(seeded(Pointwise), batches, criterion)
    flat = [torch.cat([batch[side].flatten() for batch in batches]) for side in (0, 1)]
    expected = criterion(loss.module(flat[0]), flat[1]).item()
    assert loss(loss.theta).item() == pytest.approx(expected, rel=1e-12)
    assert loss.attrs["weighted_by"] == "elements"


def test_a_mean_of_ones_own_over_other_widths_is_told(generator):
    def per_example(output: Tensor, target: Tensor) -> Tensor:
        return (output - target).square().mean(1).mean()

    with pytest.warns(UserWarning, match="unlike shapes.*their examples and their elements weigh them differently"):
        Loss.of(seeded(Pointwise), of_two_widths(generator), per_example)


class TwoTerms(nn.Module):
    """A physics-informed loss: points inside, and others on the edge."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)).double()

    def forward(self, inside: Tensor, edge: Tensor) -> Tensor:
        return self.net(inside).square().mean() + (self.net(edge) - 1).square().mean()


def test_two_means_over_batches_of_unlike_shares_are_told():
    batches = [
        {"inside": X[start:stop], "edge": X[start : start + 5] + 1} for start, stop in ((0, 14), (14, 28), (28, 33))
    ]
    with pytest.warns(UserWarning, match="unlike shapes.*two of them as one batch do not have the mean"):
        Loss.of(seeded(TwoTerms), batches, forward=lambda module, batch: (module(**batch), None))


def test_what_all_batches_share_is_no_other_shape():
    class Operator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk, self.branch = nn.Linear(1, 3).double(), nn.Linear(4, 3).double()

        def forward(self, grid: Tensor, u: Tensor) -> Tensor:
            return self.branch(u) @ self.trunk(grid).T

    grid = torch.linspace(0, 1, 7, dtype=torch.float64)[:, None]
    batches = [((grid, X[start : start + 14]), X[start : start + 14, :1].expand(-1, 7)) for start in (0, 14, 28)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss = Loss.of(seeded(Operator), batches, nn.MSELoss())
    expected = F.mse_loss(loss.module(grid, X), X[:, :1].expand(-1, 7))
    assert loss(loss.theta).item() == pytest.approx(expected.item(), rel=1e-12)


class Graph:
    """As PyTorch Geometric has it, with what lossatlas uses of it."""

    def __init__(self, **tensors: Tensor) -> None:
        vars(self).update(tensors)

    def __iter__(self):
        return iter(vars(self).items())

    def to_dict(self):
        return vars(self)

    def apply(self, function):
        vars(self).update({name: function(tensor) for name, tensor in vars(self).items()})
        return self


def test_a_graph_is_one_batch():
    class Nodes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(4, 2).double()

        def forward(self, graph: Graph) -> Tensor:
            return self.map(torch.tanh(graph.adjacency @ graph.x))

    graph = Graph(x=X, adjacency=torch.eye(33).double().roll(1, 0), y=(X[:, 0] > 0).long())
    loss = Loss.of(seeded(Nodes), graph, nn.CrossEntropyLoss())
    assert (loss.batches, loss.examples) == (1, 33)
    assert loss(loss.theta).item() == pytest.approx(F.cross_entropy(loss.module(graph), graph.y).item(), rel=1e-12)


def test_labels_that_are_alike_are_not_taken_for_shared():
    """Two batches whose targets are the same tensor of zeros, beside points that no example has one of."""

    class Reference(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(4, 2).double()

        def forward(self, x: Tensor, anchors: Tensor) -> Tensor:
            return self.map(x) - self.map(anchors).mean(0)

    targets = torch.zeros(11, dtype=torch.int64)
    batches = [((X[start : start + 11], X[: 3 + start // 11]), targets) for start in (0, 11, 22)]
    with pytest.warns(UserWarning, match="unlike shapes"):  # every batch has anchors of its own
        Loss.of(seeded(Reference), batches, nn.CrossEntropyLoss())
    alike = [((x, X[:3]), y) for (x, _), y in batches]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss = Loss.of(seeded(Reference), alike, nn.CrossEntropyLoss())
    expected = F.cross_entropy(loss.module(X, X[:3]), torch.zeros(33, dtype=torch.int64))
    assert loss(loss.theta).item() == pytest.approx(expected.item(), rel=1e-12)
