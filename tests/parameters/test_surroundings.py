"""Random points around θ that are drawn when they are asked for."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from lossatlas import epsilon_sharpness, hardware
from lossatlas.parameters.directions import Surroundings, adaptive_directions, random_directions

STEPS = [(0, 0.0), *((number, length) for number in range(6) for length in (0.1, -0.1, 0.3))]


def seed(number=0):
    return torch.Generator().manual_seed(number)


def by_layer(loss, theta):
    return partial(random_directions, loss.layout, theta, normalize="layer", biases="layer")


def around(loss, theta, generator=None):
    return Surroundings.of(theta, by_layer(loss, theta), STEPS, generator=generator or seed())


def test_small_networks_have_the_directions_that_are_drawn_together(loss, theta):
    drawn = by_layer(loss, theta)(6, generator=seed())
    points = around(loss, theta)
    assert len(points) == 19
    steps = [length * drawn[number] for number, length in STEPS]
    assert torch.allclose(points[0:19], theta + torch.stack(steps), rtol=1e-15)
    assert torch.equal(points[0:1][0], theta)


def test_large_ones_are_drawn_again_whenever_they_are_asked_for(loss, theta, monkeypatch):
    monkeypatch.setattr(hardware, "KEPT_DIRECTION_BYTES", 1)
    points = around(loss, theta)
    assert points.kept is None
    whole = points[0:19]
    assert torch.equal(whole[0], theta)
    assert torch.equal(torch.cat([points[5:9], points[0:3]]), whole[[5, 6, 7, 8, 0, 1, 2]])
    assert torch.equal(around(loss, theta)[0:19], whole)
    assert not torch.equal(around(loss, theta, generator=seed(1))[0:19], whole)
    moves = whole[1:] - theta
    for name, where in loss.layout.slices.items():
        lengths = torch.tensor([0.1, 0.1, 0.3] * 6, dtype=torch.float64) * theta[where].norm()
        assert torch.allclose(moves[:, where].norm(dim=1), lengths, rtol=1e-10), name
    assert torch.allclose(moves[1::3], -moves[::3], rtol=1e-9, atol=1e-15)
    assert torch.allclose(moves[2::3], 3 * moves[::3], rtol=1e-9, atol=1e-15)
    unit = moves[::3] / moves[::3].norm(dim=1, keepdim=True)
    assert float((unit @ unit.T - torch.eye(6)).abs().max()) < 0.8  # six directions, not one


def test_points_along_one_direction_that_follow_each_other_draw_it_once(loss, theta, monkeypatch):
    monkeypatch.setattr(hardware, "KEPT_DIRECTION_BYTES", 1)
    counts = []

    def draw(count, *, generator):
        counts.append(count)
        return by_layer(loss, theta)(count, generator=generator)

    assert len(Surroundings.of(theta, draw, STEPS, generator=seed())[0:19]) == 19
    assert counts == [1] * 6


def test_theta_is_never_written(loss, theta, monkeypatch):
    monkeypatch.setattr(hardware, "KEPT_DIRECTION_BYTES", 1)
    before = theta.clone()
    around(loss, theta)[0:19].add_(1)
    assert torch.equal(theta, before)


def test_adaptive_directions_are_the_weights_times_a_draw(loss, theta):
    theta[4] = 0
    found = adaptive_directions(loss.layout, theta, 3, generator=seed())
    drawn = torch.randn(3, len(theta), generator=seed(), dtype=torch.float64)
    assert torch.equal(found, theta.abs() * drawn)
    assert not found[:, 4].any()
    with pytest.raises(ValueError, match="the generator is a int"):
        adaptive_directions(loss.layout, theta, 3, generator=0)


def test_sharpness_of_a_large_network_is_the_rise_at_those_points(loss, theta, monkeypatch):
    monkeypatch.setattr(hardware, "KEPT_DIRECTION_BYTES", 1)
    losses = {"a": loss, "b": loss}
    result = epsilon_sharpness(losses, theta, generator=seed(), radius=0.1, samples=6, factors=(3.0,), curve_samples=6)
    points = around(loss, theta)[0:19]
    values = loss(points)
    even = (values[1::3] + values[2::3]) / 2 - values[0]
    np.testing.assert_allclose(result.even.sel(split="b"), even, rtol=1e-7, atol=1e-13)
    assert np.array_equal(result.even[0], result.even[1])
