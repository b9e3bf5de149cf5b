"""Random points around θ that are drawn when they are asked for."""

from __future__ import annotations

import pytest
import torch

from lossatlas import epsilon_sharpness, hardware
from lossatlas.parameters.directions import Surroundings, random_directions


def seed(number=0):
    return torch.Generator().manual_seed(number)


def around(loss, theta, count=6, generator=None):
    return Surroundings.of(
        loss.layout, theta, count, generator=generator or seed(), radius=0.1, normalize="layer", biases="layer"
    )


def test_small_networks_have_the_directions_that_are_drawn_together(loss, theta):
    drawn = random_directions(loss.layout, theta, 6, generator=seed(), normalize="layer", biases="layer")
    points = around(loss, theta)
    assert len(points) == 7
    assert torch.equal(points[0:7], torch.cat([theta[None], theta + 0.1 * drawn]))


def test_large_ones_are_drawn_again_whenever_they_are_asked_for(loss, theta, monkeypatch):
    monkeypatch.setattr(hardware, "KEPT_DIRECTION_BYTES", 1)
    points = around(loss, theta)
    assert points.points is None
    whole = points[0:7]
    assert torch.equal(whole[0], theta)
    assert torch.equal(torch.cat([points[4:7], points[0:2]]), whole[[4, 5, 6, 0, 1]])
    assert torch.equal(around(loss, theta)[0:7], whole)
    assert not torch.equal(around(loss, theta, generator=seed(1))[0:7], whole)
    for name, where in loss.layout.slices.items():
        moved = (whole[1:] - theta)[:, where].norm(dim=1)
        assert torch.allclose(moved, 0.1 * theta[where].norm(), rtol=1e-10), name
    unit = (whole[1:] - theta) / (whole[1:] - theta).norm(dim=1, keepdim=True)
    assert float((unit @ unit.T - torch.eye(6)).abs().max()) < 0.8  # six directions, not one


def test_theta_is_never_written(loss, theta, monkeypatch):
    monkeypatch.setattr(hardware, "KEPT_DIRECTION_BYTES", 1)
    before = theta.clone()
    around(loss, theta)[0:7].add_(1)
    assert torch.equal(theta, before)


def test_sharpness_of_a_large_network_is_the_rise_at_those_points(loss, theta, monkeypatch):
    monkeypatch.setattr(hardware, "KEPT_DIRECTION_BYTES", 1)
    result = epsilon_sharpness({"a": loss, "b": loss}, theta, generator=seed(), radius=0.1, samples=6)
    points = around(loss, theta)
    for index in range(6):
        expected = loss(points[index + 1 : index + 2][0]) - loss(theta)
        assert float(result.increase.sel(split="b")[index]) == pytest.approx(expected.item(), rel=1e-9, abs=1e-13)
    assert torch.equal(torch.tensor(result.increase[0].values), torch.tensor(result.increase[1].values))
