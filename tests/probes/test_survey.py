"""Surfaces and paths from a sample of the examples, against all of them evaluated by a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

import lossatlas
from lossatlas import hardware, interpolate, linear_connectivity, random_line, random_plane
from lossatlas.loss.loss import Loss
from lossatlas.loss.metrics import accuracy
from lossatlas.loss.single_examples import LinkedExamples
from lossatlas.numerics.grid_samples import Grid
from lossatlas.parameters.curves import Affine
from lossatlas.probes.node_layout import layout_of
from lossatlas.probes.survey import Survey, nested_sizes, survey

EXAMPLES = 6000
AXES = [np.linspace(-1, 1, 9)] * 2


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def data() -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.randn(EXAMPLES, 2, generator=seeded(1))
    return inputs, (inputs[:, 0] * inputs[:, 1] + 0.3 * torch.randn(EXAMPLES, generator=seeded(2)) > 0).long()


@pytest.fixture(scope="module")
def network(data) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(2, 24), nn.Tanh(), nn.Linear(24, 2))
        optimizer = torch.optim.Adam(network.parameters(), 0.03)
        for _ in range(150):
            optimizer.zero_grad()
            cross_entropy(network(data[0]), data[1]).backward()
            optimizer.step()
    return network


@pytest.fixture
def always(monkeypatch):
    """Samples are drawn however cheap a pass is."""
    monkeypatch.setattr(hardware, "SAMPLED_OPERATIONS", 0)


def plane_of(loss: Loss):
    directions = 0.5 * torch.randn(2, loss.layout.size, generator=seeded(3))

    def at(nodes):
        coordinates = np.stack([AXES[k][nodes[:, k]] for k in (0, 1)], -1)
        return Affine(loss.theta, directions, torch.from_numpy(coordinates))

    return at, layout_of(Grid.of(AXES), exact=True), Grid.of(AXES).nodes


def by_a_plain_loop(network, data, points) -> np.ndarray:
    """Loss and accuracy on all examples, `(m, 2)`."""
    found, before = [], nn.utils.parameters_to_vector(network.parameters()).detach()
    for theta in points:
        nn.utils.vector_to_parameters(theta, network.parameters())
        with torch.no_grad():
            output = network(data[0])
        right = (output.argmax(1) == data[1]).double().mean()
        found.append((float(cross_entropy(output.double(), data[1])), float(right)))
    nn.utils.vector_to_parameters(before, network.parameters())
    return np.array(found)


@pytest.mark.parametrize("sizes", [(EXAMPLES, EXAMPLES, 300), (EXAMPLES, 2000, 300), (4000, 1000, 250)])
def test_the_band_holds_at_all_nodes_in_95_of_100_draws(network, data, sizes):
    loss = Loss.of(network, data, nn.CrossEntropyLoss(), metrics={"accuracy": accuracy})
    at, layout, nodes = plane_of(loss)
    truth, holds, half, in_logarithm = by_a_plain_loop(network, data, at(nodes)[:]), [], [], []
    for seed in range(60):
        found = Survey(loss, at, layout, sizes, np.random.default_rng(seed))
        values, bands = found.values(nodes), found.bands_at(nodes)
        off = np.abs(values - truth)
        holds.append((off <= bands).all(0))
        half.append((off <= bands / 2).all(0))
        in_logarithm.append((np.abs(np.log(values[:, 0] / truth[:, 0])) <= np.log1p(bands[:, 0] / values[:, 0])).all())
    assert (np.mean(holds, 0) >= 0.93).all()
    assert np.mean(in_logarithm) >= 0.93
    assert np.mean(half, 0)[0] < 0.9  # a band half as wide would not


def test_a_surface_takes_few_examples_and_states_how_far_it_is_off(network, data, always):
    loss = Loss.of(network, data, nn.CrossEntropyLoss(), metrics={"accuracy": accuracy})
    few = random_plane(loss, loss.theta, generator=seeded(0), steps=21)
    every = random_plane(loss, loss.theta, generator=seeded(0), steps=21, exact=True)
    assert 64 <= int(few.sampled_examples) < EXAMPLES / 2
    assert int(few.all_examples) == EXAMPLES
    assert every.measured.all()
    assert "sampled_examples" not in every
    for name in ("loss", "accuracy"):
        off = np.abs(few[name] - every[name])
        assert off.max() > 0
        assert (off <= few[f"{name}_error"]).all()
        assert (few[f"{name}_sampling_error"] <= few[f"{name}_error"]).all()
    assert float(few.loss_sampling_error.max()) < 0.06 * float(every.loss.max() - every.loss.min())
    assert f"{int(few.sampled_examples):,} of {EXAMPLES:,} examples" in few.filled


def test_a_number_of_examples_is_taken_as_it_is_said(network, data):
    loss = Loss.of(network, data, nn.CrossEntropyLoss())
    some = random_plane(loss, loss.theta, generator=seeded(0), steps=9, examples=200)
    more = random_plane(loss, loss.theta, generator=seeded(0), steps=9, examples=1600)
    assert abs(int(some.sampled_examples) - 200) <= 1
    assert abs(int(more.sampled_examples) - 1600) <= 1
    assert float(more.loss_sampling_error.max()) < float(some.loss_sampling_error.max()) / 1.5
    same = random_plane(loss, loss.theta, generator=seeded(0), steps=9, examples=EXAMPLES)
    assert same.identical(random_plane(loss, loss.theta, generator=seeded(0), steps=9, examples="all"))


@pytest.mark.parametrize("wrong", [5, EXAMPLES + 1, "some", 1.5])
def test_a_number_that_cannot_be_had_is_refused(network, data, wrong):
    loss = Loss.of(network, data, nn.CrossEntropyLoss())
    with pytest.raises(ValueError, match="wanted 'auto', 'all', or 64 to 6,000"):
        random_plane(loss, loss.theta, generator=seeded(0), steps=9, examples=wrong)


def test_a_sum_and_a_penalty_are_scaled_as_the_loss_has_them(network, data):
    loss = Loss.of(network, data, nn.CrossEntropyLoss(reduction="sum"), weight_decay=0.1)
    start = torch.zeros_like(loss.theta)
    line = interpolate(loss, start, loss.theta, steps=7, examples=500)
    every = interpolate(loss, start, loss.theta, steps=7)
    for name in ("loss", "penalty", "objective"):
        assert (np.abs(line[name] - every[name]) <= line[f"{name}_error"] + 1e-9 * every[name]).all()
    assert (line.penalty_sampling_error == 0).all()
    assert float(line.loss.max()) > 100


def test_the_barrier_has_the_error_of_its_difference(network, data, always):
    loss = Loss.of(network, data, nn.CrossEntropyLoss())
    other = loss.theta.flip(0) * 1.5
    few = linear_connectivity(loss, loss.theta, other, steps=9, examples=300)
    every = linear_connectivity(loss, loss.theta, other, steps=9, examples="all")
    assert "barrier_error" not in every
    assert abs(float(few.barrier - every.barrier)) <= float(few.barrier_error)
    assert 0 < float(few.barrier_error) < float(few.loss_sampling_error.max()) * 3
    assert len(few.alpha) == len(few.loss_sampling_error)


def test_splits_have_samples_of_their_own(network, data, always):
    losses = {
        "train": Loss.of(network, data, nn.CrossEntropyLoss()),
        "test": Loss.of(network, (data[0][:100], data[1][:100]), nn.CrossEntropyLoss()),
    }
    line = random_line(losses, losses["train"].theta, generator=seeded(0), steps=11)
    assert int(line.sampled_examples.sel(split="train")) < EXAMPLES
    assert int(line.sampled_examples.sel(split="test")) == int(line.all_examples.sel(split="test")) == 100
    assert (line.loss_sampling_error.sel(split="test") == 0).all()
    assert (line.loss_sampling_error.sel(split="train") > 0).all()


class SeesItsBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, inputs):
        return self.layer(inputs - inputs.mean(0))


def weighted(output, target):
    return cross_entropy(output, target, weight=torch.tensor([1.0, 3.0]))


def root(output, target):
    return mse_loss(output[:, 0], target.float()).sqrt()


@pytest.mark.parametrize(
    ("module", "criterion", "metrics", "why"),
    [
        (SeesItsBatch(), nn.CrossEntropyLoss(), {}, "depends on the other examples"),
        (nn.Linear(2, 2), nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0])), {}, "weighs examples by their class"),
        (nn.Linear(2, 2), weighted, {}, "is not the mean, or sum|do not count alike"),
        (nn.Linear(2, 2), nn.CrossEntropyLoss(), {"root": root}, "is not the mean, or sum"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*is not the mean of its values")
def test_examples_that_cannot_be_told_apart_are_all_taken_or_it_is_said(module, criterion, metrics, why, data, always):
    loss = Loss.of(module, data, criterion, metrics=metrics)
    plane = random_plane(loss, loss.theta, generator=seeded(0), steps=5)
    assert "sampled_examples" not in plane
    with pytest.raises(LinkedExamples, match=why):
        random_plane(loss, loss.theta, generator=seeded(0), steps=5, examples=500)


def test_what_a_surface_costs_does_not_grow_with_the_data(network, always, monkeypatch):
    """Four times as many examples of one kind: the number that are drawn stays."""
    counts = []
    for thousands in (400, 1600):
        inputs = torch.randn(1000 * thousands, 2, generator=seeded(1))
        loss = Loss.of(network, (inputs, (inputs[:, 0] > 0.2).long()), nn.CrossEntropyLoss())
        at, layout, _ = plane_of(loss)
        found = survey(loss, at, layout, examples="auto", tol=0.02)
        assert found is not None
        counts.append((found.pilot_examples, found.examples))
    assert counts[1][1] < 1.5 * counts[0][1]
    assert counts[1][0] < 1.5 * counts[0][0] < 0.5 * 400_000


def test_sizes_are_nested():
    assert nested_sizes(50_000, 200) == (6400, 1600, 200)
    assert nested_sizes(1000, 200) == (1000, 1000, 200)


def test_the_caption_says_of_how_many_examples(network, data):
    loss = Loss.of(network, data, nn.CrossEntropyLoss())
    plane = random_plane({"train": loss}, loss.theta, generator=seeded(0), steps=9, examples=200)
    told = next(one for one in lossatlas.probes.PROBES if one.name == "random_plane").tell(plane, "")
    assert "of 6,000 examples at every node" in told.note
    assert "95 of 100 draws" in told.note
