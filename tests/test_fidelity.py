"""Cheaper stand-ins of a loss, against the loss itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lossatlas import fidelity, random_plane
from lossatlas import loss as loss_module
from lossatlas.fidelity import coarse_products, rough_losses
from lossatlas.loss import Loss, accuracy
from lossatlas.sampling import strata


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def many() -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.randn(5000, 2, generator=seeded(1))
    return inputs, (inputs[:, 0] * inputs[:, 1] + 0.3 * torch.randn(5000, generator=seeded(2)) > 0).long()


@pytest.fixture
def network(many) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(2, 24), nn.Tanh(), nn.Linear(24, 2))
    optimizer = torch.optim.Adam(network.parameters(), 0.03)
    for _ in range(150):
        optimizer.zero_grad()
        cross_entropy(network(many[0]), many[1]).backward()
        optimizer.step()
    return network


def sample(loss: Loss, examples: int, *, seed: int = 0) -> Loss:
    found = loss.subset(examples, at=loss.theta, generator=seeded(seed))
    assert found is not None
    return found


def each(network, data, points):
    """Per example, the loss at each point, `(points, examples)`, by plain forward passes."""
    values = []
    for theta in points:
        nn.utils.vector_to_parameters(theta, network.parameters())
        with torch.no_grad():
            values.append(cross_entropy(network(data[0]), data[1], reduction="none"))
    return torch.stack(values)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_sample_of_all_examples_is_the_loss(network, many, reduction):
    batches = list(zip(many[0].split(900), many[1].split(900), strict=True))
    loss = Loss.of(network, batches, nn.CrossEntropyLoss(reduction=reduction), metrics={"accuracy": accuracy})
    every = sample(loss, 5000)
    points = loss.theta + 0.3 * torch.randn(3, loss.layout.size, generator=seeded(3))
    wanted, found = loss.evaluate(points), every.evaluate(points)
    for name in ("loss", "accuracy"):
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-6, atol=0)


def test_a_sample_is_weighted_by_what_its_examples_stand_for(network, many):
    """The hardest quarter counts once, the others for all that were not drawn."""
    loss = Loss.of(network, many, nn.CrossEntropyLoss())
    some = sample(loss, 400)
    theta = loss.theta + 0.2 * torch.randn(loss.layout.size, generator=seeded(3))
    at_centre, there = each(network, many, [loss.theta, theta])
    hard = torch.zeros(5000, dtype=torch.bool)
    hard[at_centre.argsort(descending=True)[:100]] = True
    rest = there[~hard][torch.randperm(4900, generator=seeded(0))[:300]]
    wanted = (there[hard].double().sum() + 4900 * rest.double().mean()) / 5000
    assert some.examples == 400
    assert some(theta).item() == pytest.approx(wanted.item(), rel=1e-6)


def test_samples_are_right_on_average(network, many):
    loss = Loss.of(network, many, nn.CrossEntropyLoss())
    theta = loss.theta + 0.3 * torch.randn(loss.layout.size, generator=seeded(3))
    values = torch.stack([sample(loss, 200, seed=seed)(theta) for seed in range(100)])
    assert abs(float(values.mean() - loss(theta))) < 3 * float(values.std()) / 10
    assert float(values.std()) < 0.2 * float(loss(theta))


def test_strata_are_the_hardest_and_some_of_the_rest():
    hardness = torch.tensor([0.1, 5.0, 0.2, 4.0, 0.3, 0.4, 3.0, 0.5])
    hard, some = strata(hardness, 8, 4, seeded(0))
    assert (hard.rows.tolist(), hard.population, some.population) == ([1], 1, 7)
    assert len(some.rows) == 3
    assert not {1} & set(some.rows.tolist())
    (alone,) = strata(None, 8, 4, seeded(0))
    assert (len(alone.rows), alone.population) == (4, 8)


def test_a_criterion_that_takes_no_single_example_is_sampled_at_random(network, many):
    def whole(output, target):
        if len(output) < 2:
            raise ValueError("wanted two")
        return cross_entropy(output, target)

    some = sample(Loss.of(network, many, whole, reduction="mean"), 500)
    assert some.batches == 1
    assert some.examples == 500


def test_no_sample_where_examples_do_not_stand_alone(network, many):
    weighted = Loss.of(network, many, nn.CrossEntropyLoss(), weigh_by=lambda batch: len(batch[1]) + 1.0)
    assert weighted.subset(100, at=weighted.theta, generator=seeded(0)) is None
    norm = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    statistics = Loss.of(norm, many, nn.CrossEntropyLoss(), buffers="batch")
    assert statistics.subset(100, at=statistics.theta, generator=seeded(0)) is None


@pytest.fixture
def small_is_large(monkeypatch):
    """Two fidelities where by itself one would do."""
    monkeypatch.setattr(fidelity, "WORTH", 0)


def test_a_surface_from_two_fidelities_is_right_within_its_error(network, many, small_is_large):
    held, counts = [], []
    for seed in range(8):
        losses = {
            name: Loss.of(network, (many[0][:some], many[1][:some]), cross_entropy, metrics={"accuracy": accuracy})
            for name, some in (("train", 5000), ("test", 300))
        }
        theta = losses["train"].theta
        few = random_plane(losses, theta, generator=seeded(seed), steps=31)
        all_of_them = random_plane(losses, theta, generator=seeded(seed), steps=31, exact=True)
        for name in ("loss", "accuracy"):
            off = abs(few[name] - all_of_them[name]).max(("alpha", "beta"))
            held.append(bool((off <= few[f"{name}_error"]).all()))
        span = all_of_them.loss.max(("alpha", "beta")) - all_of_them.loss.min(("alpha", "beta"))
        assert (abs(few.loss - all_of_them.loss).max(("alpha", "beta")) < 0.03 * span).all()
        measured = few.measured.values
        assert np.array_equal(few.loss.values[:, measured], all_of_them.loss.values[:, measured])
        assert few.attrs["evaluations"] == measured.sum()
        assert few.attrs["subset"] == round(8 * 5000**0.5)
        assert few.attrs["subset_evaluations"] > few.attrs["evaluations"]
        counts.append(few.attrs["evaluations"])
    assert np.mean(held) >= 0.95
    assert np.mean(counts) < 90  # one fidelity takes 129 at least


def test_one_fidelity_where_two_would_not_pay(network, many):
    cheap = Loss.of(network, many, nn.CrossEntropyLoss())
    assert rough_losses({"": cheap}, lambda: cheap.theta) is None
    few = Loss.of(network, (many[0][:300], many[1][:300]), nn.CrossEntropyLoss())
    assert rough_losses({"": few}, lambda: few.theta) is None


def test_a_surface_with_holes_is_measured_as_a_whole(network, many, small_is_large):
    def walled(output, target):
        return cross_entropy(output, target) + torch.where(output.mean() > 0.5, torch.nan, 0.0)

    loss = Loss.of(network, many, walled, reduction="mean")
    result = random_plane(loss, loss.theta, generator=seeded(0), steps=31)
    assert result.attrs["filled"] == "a value is not finite"
    assert result.measured.all()
    dense = random_plane(loss, loss.theta, generator=seeded(0), steps=31, exact=True)
    assert np.array_equal(result.loss, dense.loss, equal_nan=True)


SETTINGS: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]


def precision() -> str:
    return SETTINGS.fp32_precision


@pytest.mark.parametrize("before", ["none", "ieee", "tf32"])
def test_coarse_products_end_with_the_block(before, monkeypatch):
    monkeypatch.setattr(fidelity, "has_bfloat16", lambda: True)
    own, during = precision(), []
    SETTINGS.fp32_precision = before

    def fails() -> None:
        with coarse_products(1e12):
            during.append(precision())
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert during == ["bf16"]
    assert precision() == before
    with coarse_products(1.0):
        assert precision() == before
    SETTINGS.fp32_precision = own


def test_no_coarse_products_without_instructions_for_them(monkeypatch):
    monkeypatch.setattr(fidelity, "has_bfloat16", lambda: False)
    before = precision()
    with coarse_products(1e12):
        assert precision() == before


def test_coarse_products_are_close(network, many):
    loss = Loss.of(network, many, nn.CrossEntropyLoss())
    exact = float(loss(loss.theta))
    with coarse_products(1e12):
        assert float(loss(loss.theta)) == pytest.approx(exact, rel=0.02)


# Batches in pieces -----------------------------------------------------------------------------------------------


@pytest.fixture
def little_cache(monkeypatch):
    monkeypatch.setattr(loss_module, "PIECE_BYTES", 1)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_pieces_leave_the_loss_as_it_is(network, many, little_cache, reduction):
    criterion = nn.CrossEntropyLoss(torch.tensor([1.0, 3.0]), reduction=reduction)
    loss = Loss.of(network, many, criterion, metrics={"accuracy": accuracy})
    assert loss.batches == 10
    output = network(many[0])
    found = loss.evaluate(loss.theta[None])
    assert found["loss"].item() == pytest.approx(criterion(output, many[1]).item(), rel=1e-6)
    assert found["accuracy"].item() == pytest.approx(accuracy(output, many[1]).item(), rel=1e-6)
    gradients = torch.autograd.grad(criterion(output, many[1]), list(network.parameters()))
    wanted = torch.cat([gradient.flatten() for gradient in gradients])
    torch.testing.assert_close(loss.gradient(loss.theta), wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize(
    "criterion",
    [
        lambda output, target: cross_entropy(output, target).sqrt(),
        lambda output, target: cross_entropy(output - output.mean(0), target),
    ],
    ids=["the root of a mean", "examples that see each other"],
)
def test_batches_that_are_more_than_their_examples_stay_whole(network, many, little_cache, criterion):
    loss = Loss.of(network, many, criterion, reduction="mean")
    assert loss.batches == 1
    with torch.no_grad():
        wanted = criterion(network(many[0]), many[1]).item()
    assert loss(loss.theta).item() == pytest.approx(wanted, rel=1e-6)
