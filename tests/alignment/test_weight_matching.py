from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from lossatlas.alignment.weight_matching import align, match_neurons, permute_neurons
from lossatlas.loss.loss import Loss
from lossatlas.parameters.layout import Layout


def network(hidden: int = 5) -> nn.Module:
    return nn.Sequential(nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, 2)).double()


def draw(layout: Layout, number: int) -> torch.Tensor:
    return torch.randn(layout.size, generator=torch.Generator().manual_seed(number), dtype=torch.float64)


@pytest.mark.parametrize("number", range(5))
def test_a_permuted_copy_is_recovered_exactly(number):
    layout = Layout.of(network(8))
    theta = draw(layout, number)
    permutation = torch.randperm(8, generator=torch.Generator().manual_seed(number))
    permuted = permute_neurons(layout, theta, permutation)
    assert not torch.equal(permuted, theta)
    assert torch.equal(align(layout, theta, permuted), theta)
    assert torch.equal(permutation[match_neurons(layout, theta, permuted)], torch.arange(8))


def test_a_noisy_copy_is_recovered_too():
    layout = Layout.of(network(8))
    theta = draw(layout, 0)
    noisy = theta + 0.01 * draw(layout, 1)
    permuted = permute_neurons(layout, noisy, torch.arange(7, -1, -1))
    assert torch.equal(align(layout, theta, permuted), noisy)


def test_permuted_neurons_leave_the_function_unchanged(moons):
    loss = Loss.of(network(), moons, nn.CrossEntropyLoss())
    theta = draw(loss.layout, 2)
    for permutation in itertools.islice(itertools.permutations(range(5)), 0, 120, 17):
        permuted = permute_neurons(loss.layout, theta, torch.tensor(permutation))
        outputs = []
        for point in (theta, permuted):
            module = network()
            nn.utils.vector_to_parameters(point, module.parameters())
            outputs.append(module(moons[0]))
        assert torch.allclose(*outputs, atol=1e-6)
        assert loss(permuted).item() == pytest.approx(loss(theta).item(), rel=1e-12)


@pytest.mark.parametrize("number", range(6))
def test_no_other_permutation_is_nearer(number):
    """All 24 permutations of four neurons, by their distance."""
    layout = Layout.of(network(4))
    reference, theta = draw(layout, number), draw(layout, 100 + number)
    distances = {
        order: float((reference - permute_neurons(layout, theta, torch.tensor(order))).norm())
        for order in itertools.permutations(range(4))
    }
    found = match_neurons(layout, reference, theta)
    assert tuple(found.tolist()) == min(distances, key=distances.__getitem__)
    assert float((reference - align(layout, reference, theta)).norm()) == min(distances.values())


def test_inputs_stay_unchanged():
    layout = Layout.of(network())
    reference, theta = draw(layout, 0), draw(layout, 1)
    before = reference.clone(), theta.clone()
    align(layout, reference, theta)
    assert torch.equal(reference, before[0])
    assert torch.equal(theta, before[1])


@pytest.mark.parametrize(
    "module",
    [
        nn.Linear(2, 2),
        nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3), nn.Linear(3, 2)),
        nn.Sequential(nn.Linear(2, 3, bias=False), nn.Linear(3, 2)),
        nn.Sequential(nn.Conv1d(2, 3, 1), nn.Linear(3, 2)),
        nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2)),
    ],
    ids=["no hidden layer", "two hidden layers", "no bias", "convolution", "batch norm"],
)
def test_another_architecture_is_an_error(module):
    layout = Layout.of(module)
    theta = torch.zeros(layout.size)
    with pytest.raises(ValueError, match="alignment wants one hidden layer"):
        align(layout, theta, theta)
    with pytest.raises(ValueError, match="alignment wants one hidden layer"):
        permute_neurons(layout, theta, torch.arange(3))
