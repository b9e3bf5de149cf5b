import math
from collections import Counter

import pytest
import torch
from torch import nn

from lossatlas.random_streams import key, stream
from lossatlas.study.models import build, initialize


def test_architecture_says_depth_and_width():
    model = build("4x250", "tanh", 2)
    assert [tuple(p.shape) for p in model.parameters() if p.ndim == 2] == [(250, 2), *[(250, 250)] * 3, (2, 250)]
    assert sum(isinstance(layer, nn.Tanh) for layer in model) == 4
    assert model(torch.zeros(7, 2)).shape == (7, 2)


@pytest.mark.parametrize(
    ("architecture", "inputs", "weights"),
    [
        ("conv2x8", 2, [(8, 1, 3, 3), (8, 8, 3, 3), (2, 16)]),  # a 2x1 image is not halved
        ("conv4x16", 256, [(16, 1, 3, 3), *[(16, 16, 3, 3)] * 3, (2, 16)]),  # 16x16 is halved four times
        ("res3x32", 2, [(32, 2), *[(32, 32)] * 6, (2, 32)]),
    ],
)
def test_convnets_and_residual_networks(architecture, inputs, weights):
    model = build(architecture, "relu", inputs)
    assert Counter(tuple(p.shape) for p in model.parameters() if p.ndim > 1) == Counter(weights)
    assert model(torch.zeros(3, inputs)).shape == (3, 2)


def test_a_residual_block_adds_to_what_comes_in():
    model = build("res1x4", "relu", 2)
    for name, parameter in model.named_parameters():
        if ".inner." in name:
            nn.init.zeros_(parameter)
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    plain = nn.Sequential(model[0], nn.ReLU(), model[-1])
    torch.testing.assert_close(model(x), plain(x))


@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh"])
def test_initialization_has_the_variance_of_its_paper(activation):
    model = build("3x400", activation, 2)
    initialize(model, activation, torch.Generator().manual_seed(0))
    weight = model[2].weight  # 400 x 400
    wanted = 2 / 400 if activation != "tanh" else 2 / (400 + 400)
    assert weight.var().item() == pytest.approx(wanted, rel=0.02)
    bounded = weight.abs().max().item() <= math.sqrt(3 * wanted) * (1 + 1e-6)
    assert bounded == (activation == "tanh")  # uniform has a bound, normal has none
    assert all(p.count_nonzero() == 0 for p in model.parameters() if p.ndim == 1)


def test_streams_depend_on_every_part_of_their_key():
    assert key(1, "a") == key(1, "a")
    assert len({key(1, "a"), key(1, "b"), key(2, "a"), key(1, "a", 0)}) == 4
    a, b = (torch.randn(4, generator=stream(0, "probe")) for _ in range(2))
    assert torch.equal(a, b)
