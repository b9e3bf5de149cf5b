"""A sample of examples that see each other would be another loss: there is none."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lossatlas import Loss
from tests.loss.own_code import CE, network, seeded

ROWS = 60


class Convolved(nn.Module):
    """Nodes with the mean of their neighbours, in a dense adjacency with a row for each."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        return self.inner(x) + adjacency @ self.inner(x)


class Attending(nn.Module):
    """Every example attends to the others of its batch."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x: Tensor) -> Tensor:
        z = self.inner(x)
        return (z @ z.T).softmax(-1) @ z


class Smoothed(nn.Module):
    """Every example with the one before it, as in a series that is cut into rows."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x: Tensor) -> Tensor:
        z = self.inner(x)
        return z + z.roll(1, 0)


def contrastive(output: Tensor, _: Tensor) -> Tensor:
    z = F.normalize(output, dim=1)
    return F.cross_entropy(z @ z.T / 0.3, torch.arange(len(z)).roll(1))


def sample_of(loss: Loss) -> Loss | None:
    return loss.subset(20, at=loss.theta + 0.1, generator=seeded(3))


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    return torch.randn(ROWS, 4, generator=seeded(1)), torch.randint(0, 3, (ROWS,), generator=seeded(2))


def test_nodes_of_a_dense_graph(data):
    x, y = data
    adjacency = (torch.rand(ROWS, ROWS, generator=seeded(4)) < 0.1).float()
    assert sample_of(Loss.of(Convolved(), [((x, adjacency), y)], CE)) is None


@pytest.mark.parametrize("module", [Attending, Smoothed])
def test_examples_that_see_others_of_their_batch(module, data):
    assert sample_of(Loss.of(module(), data, CE)) is None


def test_a_contrastive_criterion(data):
    assert sample_of(Loss.of(network(), data, contrastive)) is None


def test_a_metric_that_is_no_mean(data):
    root = {"root": lambda output, target: CE(output, target).sqrt()}
    assert sample_of(Loss.of(network(), data, CE, metrics=root)) is None


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_others_have_one_also_over_sorted_batches(reduction, data):
    x, y = data
    order = y.argsort()
    batches = [(x[rows], y[rows]) for rows in order.split(17)]
    sample = sample_of(Loss.of(network(), batches, nn.CrossEntropyLoss(reduction=reduction)))
    assert sample is not None
    assert sample.examples == 20
