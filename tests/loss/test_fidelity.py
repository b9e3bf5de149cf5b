"""Cheaper stand-ins of a loss, against the loss itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lossatlas import hardware, interpolate, random_line, random_plane
from lossatlas.hardware import coarse_products
from lossatlas.loss import fidelity
from lossatlas.loss.fidelity import rough_losses
from lossatlas.loss.loss import Loss
from lossatlas.loss.metrics import accuracy
from lossatlas.loss.subsample import strata


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


@pytest.mark.parametrize(
    "criterion",
    [
        nn.CrossEntropyLoss(torch.tensor([0.5, 1.5])),  # as many of each class as make the weights' sum that of rows
        nn.CrossEntropyLoss(ignore_index=1),
    ],
    ids=["class weights", "ignored targets"],
)
def test_no_sample_where_examples_weigh_unequally(network, many, criterion):
    balanced = (many[0], torch.arange(5000) % 2)
    loss = Loss.of(network, balanced, criterion, metrics={"accuracy": accuracy})
    assert loss.subset(1000, at=loss.theta, generator=seeded(0)) is None


def test_no_sample_of_data_that_are_no_rows(network, many):
    batches = [{"x": many[0][:2000], "scale": 1.0}, {"x": many[0][2000:], "scale": 5.0}]
    loss = Loss.of(
        network, batches, lambda output, _: output.square().mean(),
        forward=lambda module, batch: (module(batch["x"]) * batch["scale"], None), reduction="mean",
    )  # fmt: skip
    assert loss.subset(1000, at=loss.theta, generator=seeded(0)) is None


def test_no_sample_where_targets_are_ignored_and_the_mean_is_of_the_others(network, many):
    targets = torch.where(torch.arange(5000) % 3 == 0, -100, many[1])
    loss = Loss.of(network, (many[0], targets), lambda o, t: cross_entropy(o, t), weigh_by="examples")
    assert loss.subset(1000, at=loss.theta, generator=seeded(0)) is None


def test_more_examples_than_there_are(network, many):
    loss = Loss.of(network, many, nn.CrossEntropyLoss())
    with pytest.raises(ValueError, match="wanted a subset of 30000 examples: there are 5000"):
        loss.subset(30000, at=loss.theta, generator=seeded(0))


def test_no_sample_where_examples_do_not_stand_alone(network, many):
    weighted = Loss.of(network, many, nn.CrossEntropyLoss(), weigh_by=lambda batch: len(batch[1]) + 1.0)
    assert weighted.subset(100, at=weighted.theta, generator=seeded(0)) is None
    norm = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    statistics = Loss.of(norm, many, nn.CrossEntropyLoss(), buffers="batch")
    assert statistics.subset(100, at=statistics.theta, generator=seeded(0)) is None


@pytest.fixture
def small_is_large(monkeypatch):
    """Two fidelities where by itself one would do."""
    monkeypatch.setattr(hardware, "SAMPLED_OPERATIONS", 0)


def test_a_surface_from_two_fidelities_is_right_within_its_error(network, many, small_is_large):
    held, counts = [], []
    for seed in range(8):
        losses = {
            name: Loss.of(network, (many[0][:some], many[1][:some]), cross_entropy, metrics={"accuracy": accuracy})
            for name, some in (("train", 5000), ("test", 300))
        }
        theta = losses["train"].theta
        few = random_plane(losses, theta, generator=seeded(seed), steps=31, examples="all")
        all_of_them = random_plane(losses, theta, generator=seeded(seed), steps=31, exact=True)
        for name in ("loss", "accuracy"):
            off = abs(few[name] - all_of_them[name])
            rounding = 1e-6 * abs(all_of_them[name]).max()  # of float32, in batches of other sizes
            held.append(bool((off <= few[f"{name}_error"] + rounding).all()))
        span = all_of_them.loss.max(("alpha", "beta")) - all_of_them.loss.min(("alpha", "beta"))
        assert (abs(few.loss - all_of_them.loss).max(("alpha", "beta")) < 0.03 * span).all()
        measured = few.measured.values
        assert np.allclose(few.loss.values[:, measured], all_of_them.loss.values[:, measured], rtol=1e-5)
        assert few.attrs["evaluations"] == measured.sum()
        assert few.attrs["rough_examples"] == 5000 // 4
        assert few.attrs["rough_evaluations"] > few.attrs["evaluations"]
        counts.append(few.attrs["evaluations"])
    assert np.mean(held) >= 0.95
    assert np.mean(counts) < 90  # one fidelity takes 129 at least


def test_curves_from_two_fidelities_are_right_within_their_error(network, many, small_is_large):
    loss = Loss.of(network, many, cross_entropy)
    held, counts = [], []
    for seed in range(10):
        start = loss.theta + torch.randn(loss.layout.size, generator=seeded(seed))
        for probe in (
            lambda exact, start=start: interpolate(loss, start, loss.theta, exact=exact, examples="all"),
            lambda exact, seed=seed: random_line(loss, loss.theta, generator=seeded(seed), exact=exact, examples="all"),
        ):
            few, every = probe(exact=False), probe(exact=True)
            assert every.measured.all()
            assert (every.loss_error == 0).all()
            off = np.abs(few.loss - every.loss)
            held.append(bool((off <= few.loss_error + 1e-5 * off.max()).all()))
            for end in (0, -1):
                assert float(few.loss[end]) == float(every.loss[end])
            assert few.attrs["evaluations"] == few.measured.sum()
            assert few.attrs["rough_examples"] == 5000 // 4
            counts.append(few.attrs["evaluations"])
    assert np.mean(held) >= 0.95
    assert np.mean(counts) < 25  # of 51


def test_what_is_hard_is_asked_once_at_the_trained_end(network, many, small_is_large, monkeypatch):
    asked = []
    monkeypatch.setattr(fidelity, "_sample", lambda loss, theta: asked.append(theta()))
    loss = Loss.of(network, many, cross_entropy)
    interpolate(loss, 0 * loss.theta, loss.theta, exact=False, examples="all")
    random_line(loss, loss.theta, generator=seeded(0), draws=3, exact=False, examples="all")
    random_plane(loss, loss.theta, generator=seeded(0), steps=31, examples="all")
    assert len(asked) == 3
    assert all(torch.equal(theta, loss.theta) for theta in asked)
    interpolate(loss, 0 * loss.theta, loss.theta)
    assert len(asked) == 3
    with pytest.raises(ValueError, match="end is a OrderedDict: wanted θ, a flat tensor"):
        interpolate(loss, loss.theta, network.state_dict(), exact=False)


class Scored(nn.Module):
    """Computes its own loss, a scalar."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return cross_entropy(self.network(x), labels)


def test_a_module_with_a_loss_of_its_own_is_sampled_at_random(network, many, small_is_large):
    loss = Loss.of(Scored(network), {"x": many[0], "labels": many[1]}, weigh_by="examples")
    plain = Loss.of(network, many, nn.CrossEntropyLoss())
    few = random_plane(loss, loss.theta, generator=seeded(0), steps=31, examples="all")
    dense = random_plane(plain, plain.theta, generator=seeded(0), steps=31, exact=True)
    assert few.attrs["rough_examples"] == 5000 // 4
    assert (np.abs(few.loss - dense.loss) <= few.loss_error).all()


def test_a_result_says_what_was_rough(network, many, monkeypatch):
    monkeypatch.setattr(hardware, "BFLOAT16_ENOUGH", 0)
    monkeypatch.setattr(hardware, "takes_bfloat16", lambda device, dtype: True)
    loss = Loss.of(network, many, nn.CrossEntropyLoss())
    result = random_plane(loss, loss.theta, generator=seeded(0), steps=31, examples="all")
    assert result.attrs["filled"].endswith("in bfloat16")
    assert result.attrs["rough_examples"] == 0
    assert "rough_examples" not in random_plane(loss, loss.theta, generator=seeded(0), steps=31, exact=True).attrs


def test_one_fidelity_where_two_would_not_pay(network, many):
    cheap = Loss.of(network, many, nn.CrossEntropyLoss())
    assert rough_losses({"": cheap}, lambda: cheap.theta) is None
    few = Loss.of(network, (many[0][:300], many[1][:300]), nn.CrossEntropyLoss())
    assert rough_losses({"": few}, lambda: few.theta) is None


def test_a_surface_with_holes_is_measured_as_a_whole(network, many, small_is_large):
    def walled(output, target):
        return cross_entropy(output, target) + torch.where(output.mean() > 0.5, torch.nan, 0.0)

    loss = Loss.of(network, many, walled, reduction="mean")
    result = random_plane(loss, loss.theta, generator=seeded(0), steps=31, examples="all")
    assert result.attrs["filled"] == "a value is not finite"
    assert result.measured.all()
    dense = random_plane(loss, loss.theta, generator=seeded(0), steps=31, exact=True)
    assert np.array_equal(result.loss, dense.loss, equal_nan=True)


SETTINGS = hardware.product_settings()


def precision() -> str:
    return SETTINGS.fp32_precision


@pytest.mark.parametrize("before", ["none", "ieee", "tf32"])
def test_coarse_products_end_with_the_block(before, monkeypatch):
    monkeypatch.setattr(hardware, "has_bfloat16", lambda: True)
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
    monkeypatch.setattr(hardware, "has_bfloat16", lambda: False)
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
    monkeypatch.setattr(hardware, "MICROBATCH_BYTES", 1)
    monkeypatch.setattr(hardware, "MICROBATCH_ROWS", 500)


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


def worst(output, target):
    return cross_entropy(output, target, reduction="none").max()


def f1(output, target):
    found = output.argmax(-1)
    return 2 * (found & target).sum() / (found + target).sum()


@pytest.mark.parametrize("metric", [worst, f1, lambda output, target: cross_entropy(output, target).exp()])
@pytest.mark.parametrize("alike", ["all outputs zero", "all targets met"])
def test_a_metric_that_is_no_mean_is_found_where_all_examples_are_alike(network, many, little_cache, metric, alike):
    """At the module's own weights pieces and whole agree by chance; elsewhere they do not."""
    targets = many[1]
    if alike == "all outputs zero":
        with torch.no_grad():
            for parameter in network[2].parameters():
                parameter.zero_()
    else:
        targets = network(many[0]).argmax(-1)
    loss = Loss.of(network, (many[0], targets), nn.CrossEntropyLoss(), metrics={"metric": metric})
    theta = loss.theta + 0.3 * torch.randn(loss.layout.size, generator=seeded(3))
    nn.utils.vector_to_parameters(theta, network.parameters())
    with torch.no_grad():
        wanted = float(metric(network(many[0]), targets))
    assert loss.evaluate(theta[None])["metric"].item() == pytest.approx(wanted, rel=1e-5)


def test_batches_with_weights_of_their_own_stay_whole(network, many, little_cache):
    batches = [(many[0][:2048], many[1][:2048]), (many[0][2048:2548], many[1][2048:2548])]
    loss = Loss.of(network, batches, nn.CrossEntropyLoss(), weigh_by=lambda batch: 1.0)
    with torch.no_grad():
        wanted = np.mean([cross_entropy(network(x), y).item() for x, y in batches])
    assert loss(loss.theta).item() == pytest.approx(wanted, rel=1e-6)


def test_batches_that_cannot_be_cut_stay_whole(network, many, little_cache):
    batches = [{"x": many[0][:2000], "labels": many[1][:2000]}, {"x": many[0][2000:2600], "labels": many[1][2000:2600]}]
    extra = [batch | {"once": torch.ones(3)} for batch in batches]
    loss = Loss.of(
        network, extra, nn.CrossEntropyLoss(), forward=lambda module, batch: (module(batch["x"]), batch["labels"])
    )
    assert loss.batches == 2


def test_large_weights_are_not_read_for_small_pieces(many, monkeypatch):
    """A piece is no smaller than the weights that it reads."""
    monkeypatch.setattr(hardware, "MICROBATCH_BYTES", 1)
    monkeypatch.setattr(hardware, "MICROBATCH_ROWS", 1)
    wide = nn.Sequential(nn.Linear(2, 400), nn.ReLU(), nn.Linear(400, 400), nn.ReLU(), nn.Linear(400, 2))
    rows = [len(batch[1]) for batch in Loss.of(wide, many, nn.CrossEntropyLoss())._components.data]
    assert 4 * 400 * max(rows) == pytest.approx(4 * sum(p.numel() for p in wide.parameters()), rel=0.01)
