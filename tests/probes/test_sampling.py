from __future__ import annotations

import copy
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import vector_to_parameters

from lossatlas.loss import toys
from lossatlas.loss.loss import Loss
from lossatlas.loss.metrics import accuracy
from lossatlas.parameters.curves import Affine, grid
from lossatlas.probes.sampling import by_split, join_splits, sample, sample_grid

ALPHA = torch.tensor([-1.0, 0.0, 0.7], dtype=torch.float64)
BETA = torch.tensor([-2.0, -0.5, 0.0, 0.1, 1.5], dtype=torch.float64)


@pytest.fixture
def basis(theta, generator):
    return torch.randn(2, len(theta), generator=generator, dtype=torch.float64)


def surface(losses, theta, basis, alpha=ALPHA, beta=BETA):
    return sample(losses, Affine(theta, basis, grid(alpha, beta)), {"alpha": alpha.numpy(), "beta": beta.numpy()})


def test_every_cell_of_a_non_square_grid_is_the_loss_at_its_coordinates(loss, mlp, moons, theta, basis):
    result = surface(loss, theta, basis)
    assert result.loss.dims == ("alpha", "beta")
    assert result.loss.shape == (3, 5)
    module = copy.deepcopy(mlp)
    for a in ALPHA.tolist():
        for b in BETA.tolist():
            vector_to_parameters(theta + a * basis[0] + b * basis[1], module.parameters())
            with torch.no_grad():
                output = module(moons[0])
            cell = result.sel(alpha=a, beta=b)
            assert float(cell.loss) == pytest.approx(float(nn.functional.cross_entropy(output, moons[1])), rel=1e-12)
            assert float(cell.accuracy) == pytest.approx(float((output.argmax(1) == moons[1]).double().mean()))
    assert result.attrs["evaluations"] == 15


def test_a_quarter_turn_of_the_basis_turns_the_plane(loss, theta, basis):
    """L(θ + αd₂ − βd₁) is the first plane at (−β, α)."""
    alpha = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    plane = surface(loss, theta, basis, alpha, BETA).loss.values
    turned = surface(loss, theta, torch.stack([basis[1], -basis[0]]), BETA, alpha).loss.values
    assert turned.shape == (5, 3)
    assert np.allclose(turned, plane[::-1].T, rtol=1e-12)


def test_a_rotated_basis_rotates_the_coordinates(loss, theta, basis, generator):
    c, s = np.cos(0.6), np.sin(0.6)
    rotation = torch.tensor([[c, s], [-s, c]], dtype=torch.float64)
    coordinates = torch.randn(7, 2, generator=generator, dtype=torch.float64)
    axes = {"point": np.arange(7)}
    turned = sample(loss, Affine(theta, rotation @ basis, coordinates), axes).loss.values
    assert np.allclose(turned, sample(loss, Affine(theta, basis, coordinates @ rotation), axes).loss.values, rtol=1e-12)


def test_the_centre_is_the_point_itself(loss, theta, basis):
    centre = surface(loss, theta, basis).loss.sel(alpha=0, beta=0)
    assert float(centre) == pytest.approx(loss(theta).item(), rel=1e-14)


def test_splits_lead(loss, mlp, moons, theta, basis):
    other = Loss.of(mlp, (moons[0][:9], moons[1][:9]), nn.CrossEntropyLoss(), metrics={"accuracy": accuracy})
    result = surface({"train": loss, "test": other}, theta, basis)
    assert result.loss.dims == ("split", "alpha", "beta")
    assert list(result.split.values) == ["train", "test"]  # in the order given
    assert np.array_equal(result.loss.sel(split="train"), surface(loss, theta, basis).loss)
    assert np.array_equal(result.accuracy.sel(split="test"), surface(other, theta, basis).accuracy)
    assert result.attrs["evaluations"] == 15


def test_one_loss_in_a_mapping_still_has_its_split(loss, theta, basis):
    assert surface({"train": loss}, theta, basis).loss.dims == ("split", "alpha", "beta")
    assert "split" not in surface(loss, theta, basis).dims


def test_units_and_names(loss, theta, basis):
    result = surface(loss, theta, basis)
    assert (result.loss.units, result.loss.long_name) == ("criterion", "loss")
    assert (result.accuracy.units, result.alpha.units, result.beta.units) == ("1", "1", "1")


def test_nan_stays_in_its_cell():
    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.x = nn.Parameter(torch.ones(1))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.x.sqrt().sum() + 0 * inputs.sum()

    loss = Loss.of(Root(), (torch.zeros(1, 1), torch.zeros(1)), lambda output, _: output)
    values = sample(loss, torch.tensor([[4.0], [-1.0], [9.0]]), {"alpha": np.arange(3)}).loss.values
    assert np.array_equal(values, [2, np.nan, 3], equal_nan=True)


def test_losses_of_two_architectures_are_an_error():
    with pytest.raises(ValueError, match="the loss 'b' has other parameters than the first"):
        by_split({"a": toys.bowl(2), "b": toys.bowl(3)})


def test_no_losses_is_an_error():
    with pytest.raises(ValueError, match="empty mapping of losses"):
        by_split({})


def test_join_of_one_nameless_part_is_the_part(loss, theta, basis):
    part = surface(loss, theta, basis)
    assert join_splits({"": part}) is part


# Grids of which few nodes are measured -------------------------------------------------------------------------------


def filled(losses, theta, basis, *, steps=31, **knobs):
    axis = np.linspace(-0.5, 0.5, steps)
    return sample_grid(losses, partial(Affine, theta, basis), {"alpha": axis, "beta": axis}, **knobs)


def test_a_filled_surface_is_that_of_every_node_within_its_error(mlp, moons, theta, basis):
    losses = {
        "train": Loss.of(mlp, moons, nn.CrossEntropyLoss(), metrics={"accuracy": accuracy}),
        "test": Loss.of(mlp, (moons[0][::3], moons[1][::3]), nn.CrossEntropyLoss(), metrics={"accuracy": accuracy}),
    }
    sparse, whole = filled(losses, theta, basis), filled(losses, theta, basis, exact=True)
    assert sparse.attrs["evaluations"] == int(sparse.measured.sum()) < 0.35 * 31**2
    assert whole.attrs["evaluations"] == 31**2
    assert whole.attrs["filled"] == "every node was asked for"
    for quantity in ("loss", "accuracy"):
        assert sparse[quantity].dims == ("split", "alpha", "beta")
        error = sparse[f"{quantity}_error"]
        assert error.dims == ("split", "alpha", "beta")
        assert bool((np.abs(sparse[quantity] - whole[quantity]) <= error).all())
        assert bool(((error == 0) == sparse.measured).all())
        assert bool((whole[f"{quantity}_error"] == 0).all())
        measured, same = (result[quantity].values[:, sparse.measured.values] for result in (sparse, whole))
        np.testing.assert_allclose(measured, same, rtol=1e-12)
    assert bool((np.abs(sparse.loss - whole.loss).max(("alpha", "beta")) < 0.02 * np.ptp(whole.loss.values)).all())


def test_a_penalty_is_filled_with_its_error_too(mlp, moons, theta, basis):
    loss = Loss.of(mlp, moons, nn.CrossEntropyLoss(), weight_decay=0.1)
    sparse, whole = filled(loss, theta, basis), filled(loss, theta, basis, exact=True)
    for quantity in ("loss", "penalty", "objective"):
        assert bool((np.abs(sparse[quantity] - whole[quantity]) <= sparse[f"{quantity}_error"]).all())


def test_a_grid_with_values_that_are_not_finite_is_measured_and_counted(theta, basis):
    result = filled(toys.bowl(len(theta)), torch.zeros_like(theta), 1e200 * basis)
    assert result.attrs["filled"] == "a value is not finite"
    assert result.attrs["not_finite"] == 31**2 - 1  # all but the centre
    assert bool(result.measured.all())


def test_the_tolerance_decides_how_many_nodes_are_measured(loss, theta, basis):
    coarse, fine = (filled(loss, theta, basis, steps=51, tol=tol) for tol in (0.05, 0.002))
    assert coarse.attrs["evaluations"] < fine.attrs["evaluations"]
    assert float(fine.loss_error.max()) < float(coarse.loss_error.max())
    assert fine.loss_error.units == fine.loss.units == "criterion"
    assert fine.loss_error.long_name == "largest error of the loss to expect at the node"


def test_what_is_no_loss_is_named(mlp):
    with pytest.raises(TypeError, match=r"the loss is a Sequential: wanted a Loss, as Loss\.of"):
        by_split(mlp)
