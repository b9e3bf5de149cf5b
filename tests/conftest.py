"""Small networks and ragged two-moons batches, in float64, the same for every test; the tiny study's fixtures."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import make_moons
from torch import Tensor, nn

from lossatlas.loss.loss import Batch, Loss
from lossatlas.loss.metrics import accuracy
from tests.study.tiny import finished, tiny, tiny_file  # noqa: F401 (fixtures)

torch.set_num_threads(1)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20)


@pytest.fixture
def moons() -> Batch:
    inputs, targets = make_moons(37, noise=0.2, random_state=0)
    return torch.from_numpy(inputs), torch.from_numpy(targets)


@pytest.fixture
def ragged(moons: Batch) -> list[Batch]:
    """The moons in batches of 16, 16 and 5."""
    return list(zip(*(part.split(16) for part in moons), strict=True))


@pytest.fixture
def mlp() -> nn.Module:
    """2-5-2 with tanh, 27 parameters."""
    return seeded(lambda: nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 2)).double())


@pytest.fixture
def loss(mlp: nn.Module, ragged: list[Batch]) -> Loss:
    return Loss.of(mlp, ragged, nn.CrossEntropyLoss(), metrics={"accuracy": accuracy})


@pytest.fixture
def theta(loss: Loss, generator: torch.Generator) -> Tensor:
    """A point off the origin and off the module's own parameters."""
    return loss.theta + 0.3 * torch.randn(loss.layout.size, generator=generator, dtype=torch.float64)


def seeded(make):
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return make()
