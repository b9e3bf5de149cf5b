"""The mean norm of single examples' gradients, against gradients that torch.func takes one by one."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.datasets import make_moons
from torch import nn
from torch.func import functional_call, grad, vmap

from lossatlas.loss import toys
from lossatlas.loss.loss import Loss
from lossatlas.operators.example_gradients import EXAMPLES, mean_gradient_norm
from tests.conftest import seeded


def norms(loss, theta, data, criterion=nn.functional.cross_entropy):
    """`(n,)`, one by one."""

    def of_one(vector, x, y):
        return criterion(functional_call(loss.module, loss.layout.unflatten(vector), (x[None],)), y[None])

    return vmap(grad(of_one), (None, 0, 0))(theta, *data).norm(dim=1)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_of_few_examples_it_is_exact(mlp, ragged, moons, theta, reduction, weight_decay):
    """A sum has 37 times the mean, and a penalty is no example's."""
    loss = Loss.of(mlp, ragged, nn.CrossEntropyLoss(reduction=reduction), weight_decay=weight_decay)
    wanted = float(norms(loss, theta, moons).mean()) * (37 if reduction == "sum" else 1)
    assert mean_gradient_norm(loss, theta) == pytest.approx(wanted, rel=1e-10)


def test_the_gradient_is_no_longer_and_as_long_where_all_examples_are_one(mlp, moons, theta):
    loss = Loss.of(mlp, moons, nn.CrossEntropyLoss())
    assert float(loss.gradient(theta).norm()) < mean_gradient_norm(loss, theta)
    same = Loss.of(mlp, (moons[0][:1].repeat(9, 1), moons[1][:1].repeat(9)), nn.CrossEntropyLoss())
    assert mean_gradient_norm(same, theta) == pytest.approx(float(same.gradient(theta).norm()), rel=1e-10)


def test_of_many_it_is_an_estimate_that_knows_the_hardest():
    """A few examples of a trained network hold most of it: a plain sample of as many would miss them."""
    inputs, targets = map(torch.from_numpy, make_moons(4000, noise=0.1, random_state=0))
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 30), nn.Tanh(), nn.Linear(30, 2)).double()
    optimizer = torch.optim.Adam(network.parameters(), 0.05)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(inputs), targets).backward()
        optimizer.step()
    loss = Loss.of(network, (inputs, targets), nn.CrossEntropyLoss(), batch_size=900)
    every = norms(loss, loss.theta, (inputs, targets))
    assert float(every.topk(400).values.sum() / every.sum()) > 0.6
    assert mean_gradient_norm(loss, loss.theta) == pytest.approx(float(every.mean()), rel=0.1)
    assert mean_gradient_norm(loss, loss.theta) == mean_gradient_norm(loss, loss.theta)  # always the same examples
    assert EXAMPLES < 4000


class SquaredError(torch.autograd.Function):
    """The squared error of each row, without `setup_context`: `vmap` does not take it."""

    @staticmethod
    def forward(ctx, output, target):
        ctx.save_for_backward(output, target)
        return (output - target).square().sum(1)

    @staticmethod
    def backward(ctx, grad):
        output, target = ctx.saved_tensors
        return 2 * (output - target) * grad[:, None], None


def test_a_criterion_that_vmap_refuses_has_the_same_hardest_examples_and_nobody_is_warned():
    """Two of 2,000 examples make up most of the mean; that they are the hardest is known only one by one."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2000, 2, generator=generator, dtype=torch.float64)
    inputs[[700, 1500]] *= 1e3
    data, network = (inputs, torch.zeros(2000, 1).double()), seeded(lambda: nn.Linear(2, 1, bias=False).double())
    found = [
        mean_gradient_norm(Loss.of(network, data, criterion), network.weight.detach().flatten())
        for criterion in (nn.MSELoss(), lambda output, target: SquaredError.apply(output, target).mean())
    ]
    assert found[1] == pytest.approx(found[0], rel=1e-12)
    exact = (2 * network(inputs).detach().abs()[:, 0] * inputs.norm(dim=1)).mean()
    assert found[1] == pytest.approx(float(exact), rel=0.01)


def test_a_criterion_for_which_vmap_has_no_rule_warns_nobody(mlp, moons, theta):
    loss = Loss.of(mlp, moons, nn.MultiMarginLoss())
    wanted = [
        float(Loss.of(mlp, (x[None], y[None]), nn.MultiMarginLoss()).gradient(theta).norm())
        for x, y in zip(*moons, strict=True)
    ]
    assert mean_gradient_norm(loss, theta) == pytest.approx(sum(wanted) / len(wanted), rel=1e-10)


def class_weights(mlp, moons):
    return Loss.of(mlp, moons, nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0], dtype=torch.float64)))


def statistics_of_a_batch(mlp, moons):
    norm = nn.Sequential(nn.Linear(2, 5), nn.BatchNorm1d(5), nn.Linear(5, 2)).double()
    return Loss.of(norm, moons, nn.CrossEntropyLoss(), buffers="batch")


def contrastive(mlp, moons):
    return Loss.of(mlp, moons, lambda output, target: -(output @ output.T).log_softmax(1).diagonal().mean())


def several_labels(mlp, moons):
    columns = nn.Sequential(nn.Linear(2, 6), nn.Unflatten(1, (2, 3))).double()
    return Loss.of(columns, (moons[0], torch.stack([moons[1]] * 3, 1)), nn.CrossEntropyLoss(), weigh_by="examples")


@pytest.mark.parametrize("make", [class_weights, statistics_of_a_batch, contrastive, several_labels])
def test_where_single_examples_have_no_gradients_it_is_not_known(mlp, moons, make):
    loss = make(mlp, moons)
    assert math.isnan(mean_gradient_norm(loss, loss.theta))


def test_one_example_alone_is_compared_with_nothing():
    assert math.isnan(mean_gradient_norm(toys.bowl(3), torch.ones(3)))
