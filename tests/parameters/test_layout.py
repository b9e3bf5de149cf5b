from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector

from lossatlas.loss.loss import Loss
from lossatlas.parameters.layout import Layout


class Tied(nn.Module):
    """The second layer's weight is the first's."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3)
        self.second.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(x)))


def convnet() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 3))


@pytest.mark.parametrize("make", [convnet, Tied, lambda: nn.GRU(3, 4)])
def test_theta_is_parameters_to_vector(make):
    module = make()
    layout = Layout.of(module)
    expected = parameters_to_vector(module.parameters()).detach()
    assert torch.equal(layout.theta_of(module), expected)
    assert layout.size == len(expected)


def test_a_tied_parameter_counts_once():
    assert Layout.of(Tied()).names == ("first.weight", "first.bias", "second.bias")
    assert Layout.of(Tied()).size == 9 + 3 + 3


def test_frozen_parameters_and_buffers_are_left_out():
    module = convnet()
    module[0].weight.requires_grad_(False)
    layout = Layout.of(module)
    assert layout.names == ("0.bias", "1.weight", "1.bias", "3.weight", "3.bias")
    assert layout.size == 4 + 4 + 4 + 12 + 3
    assert layout.theta_of(module).shape == (27,)


def test_a_module_with_everything_frozen_is_an_error():
    with pytest.raises(ValueError, match="Linear has no parameter with requires_grad"):
        Layout.of(nn.Linear(2, 2).requires_grad_(False))


@pytest.mark.parametrize("lead", [(), (5,), (2, 3)])
def test_flatten_undoes_unflatten(lead):
    layout = Layout.of(convnet())
    theta = torch.randn(*lead, layout.size, generator=torch.Generator().manual_seed(0))
    tensors = layout.unflatten(theta)
    assert tensors["0.weight"].shape == (*lead, 4, 2, 3, 3)
    assert tensors["3.bias"].shape == (*lead, 3)
    assert torch.equal(layout.flatten(tensors), theta)


def test_slices_lie_where_parameters_to_vector_puts_them():
    module = convnet()
    layout = Layout.of(module)
    vector = parameters_to_vector(module.parameters())
    for name, parameter in module.named_parameters():
        assert torch.equal(vector[layout.slices[name]].reshape(parameter.shape), parameter)


def test_named_tensors_are_views_of_theta_and_theta_is_a_copy_of_the_module():
    module = nn.Linear(3, 2)
    layout = Layout.of(module)
    theta = layout.theta_of(module)
    before = module.weight.detach().clone()
    layout.unflatten(theta)["weight"].zero_()
    assert torch.equal(theta[:6], torch.zeros(6))
    assert torch.equal(module.weight, before)


@pytest.mark.parametrize("shape", [(7,), (2, 9), ()])
def test_a_theta_of_the_wrong_length_is_named(shape):
    layout = Layout.of(nn.Linear(3, 2))
    with pytest.raises(ValueError, match=r"but the module has 8 parameters: wanted \(8,\) or \(n, 8\)"):
        layout.unflatten(torch.zeros(shape))


def test_flatten_names_what_is_missing_and_what_has_another_shape():
    layout = Layout.of(nn.Linear(3, 2))
    with pytest.raises(ValueError, match=r"the parameters \['bias'\] are missing; got \['weight'\]"):
        layout.flatten({"weight": torch.zeros(2, 3)})
    with pytest.raises(ValueError, match=r"weight has shape \(3, 2\), wanted \(2, 3\)"):
        layout.flatten({"weight": torch.zeros(3, 2), "bias": torch.zeros(2)})


def test_patterns_choose_parameters_in_the_modules_order():
    module = convnet()
    assert Layout.of(module, "3.*").names == ("3.weight", "3.bias")
    assert Layout.of(module, ["3.*", "0.weight"]).names == ("0.weight", "3.weight", "3.bias")
    assert Layout.of(module, "*.weight").names == ("0.weight", "1.weight", "3.weight")
    assert Layout.of(module) == Layout.of(module, ["*"]) == Layout.of(module, ["0.*", "*"])


def test_a_tied_parameter_is_chosen_by_any_of_its_names_once():
    assert Layout.of(Tied(), "second.*").names == ("first.weight", "second.bias")
    assert Layout.of(Tied(), ["first.weight", "second.weight"]).names == ("first.weight",)


def test_frozen_parameters_are_taken_when_asked_for():
    module = convnet()
    module[0].requires_grad_(False)
    assert Layout.of(module, include_frozen=True).names == Layout.of(convnet()).names
    assert Layout.of(module, "0.*", include_frozen=True).names == ("0.weight", "0.bias")


def test_a_module_without_parameters_is_an_error():
    with pytest.raises(ValueError, match="ReLU has no parameters"):
        Layout.of(nn.ReLU())


def test_a_parameter_without_dimensions_is_one_number_of_theta():
    """As the temperature of a contrastive model."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.0))
            self.weight = nn.Parameter(torch.ones(3))

        def forward(self, x):
            return x @ self.weight * self.scale

    layout = Layout.of(Scaled())
    theta = torch.tensor([5.0, 1.0, 2.0, 3.0])
    for points in (theta, theta.expand(2, -1)):
        named = layout.unflatten(points)
        assert named["scale"].shape == points.shape[:-1]
        assert torch.equal(layout.flatten(named), points)
    loss = Loss.of(Scaled(), (torch.ones(4, 3), torch.zeros(4)), nn.MSELoss())
    assert loss(theta).item() == 900
    assert loss.gradient(theta).tolist() == [360, 300, 300, 300]
