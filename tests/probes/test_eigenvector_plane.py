from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, hessian

from lossatlas import eigenvector_plane
from lossatlas.loss import toys
from lossatlas.loss.loss import Loss

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch.func.jvp's decompositions


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def rotated(values) -> torch.Tensor:
    values = torch.as_tensor(values, dtype=torch.float64)
    q = torch.linalg.qr(torch.randn(len(values), len(values), generator=seed(8), dtype=torch.float64)).Q
    matrix = (q * values) @ q.T
    return (matrix + matrix.T) / 2


A = rotated([6.0, 3.0, 1.0, 0.5, -2.0])
THETA = torch.tensor([1.0, -2.0, 0.5, 0.3, 2.0], dtype=torch.float64)
PLACES = {"largest": -1, "second": -2, "smallest": 0}  # in the ascending order of numpy


def eigenvectors(matrix: np.ndarray, which) -> np.ndarray:
    """Columns, with the first entry that is at least half as large as the largest positive."""
    found = np.linalg.eigh(matrix)[1][:, [PLACES[end] for end in which]]
    for column in found.T:
        column *= np.sign(next(entry for entry in column if abs(entry) >= abs(column).max() / 2))
    return found


@pytest.mark.parametrize("which", [("largest", "second"), ("largest", "smallest"), ("smallest", "second")])
def test_on_a_quadratic_the_hessian_tells_everything(which):
    result = eigenvector_plane(toys.quadratic(A), THETA, which=which, generator=seed(), radius=2.0, steps=5, tol=1e-9)
    form, v = A.numpy(), eigenvectors(A.numpy(), which)
    np.testing.assert_allclose(result.eigenvalues, np.linalg.eigvalsh(form)[[PLACES[end] for end in which]], atol=1e-7)
    np.testing.assert_allclose(result.curvature, result.eigenvalues, atol=1e-7)
    np.testing.assert_allclose(result.slope, v.T @ form @ THETA.numpy(), atol=1e-6)
    assert list(result.direction.values) == list(which)
    for a in np.linspace(-2, 2, 5):
        for b in np.linspace(-2, 2, 5):
            point = THETA.numpy() + v @ [a, b]
            assert float(result.loss.sel(alpha=a, beta=b)) == pytest.approx(0.5 * point @ form @ point, abs=1e-6)
    np.testing.assert_allclose(result.quadratic, result.loss, rtol=1e-10, atol=1e-10)
    assert np.ptp(result.loss.values) > 1
    assert bool(result.converged)
    assert float(result.residuals.max()) <= 6e-9


def whole(mlp: nn.Module, loss: Loss, data):
    return lambda theta: nn.functional.cross_entropy(
        functional_call(mlp, loss.layout.unflatten(theta), data[0]), data[1]
    )


def test_a_network_against_its_dense_hessian_for_every_split(loss, mlp, moons, theta):
    some = (moons[0][:11], moons[1][:11])
    losses = {"train": loss, "test": Loss.of(mlp, some, nn.CrossEntropyLoss())}
    result = eigenvector_plane(losses, theta, generator=seed(), radius=0.5, steps=3, tol=1e-11)
    matrix = hessian(whole(mlp, loss, moons))(theta).numpy()
    v = eigenvectors(matrix, ("largest", "second"))
    np.testing.assert_allclose(result.eigenvalues, np.linalg.eigvalsh(matrix)[[-1, -2]], rtol=1e-9)
    for split, data in (("train", moons), ("test", some)):
        function, part = whole(mlp, loss, data), result.sel(split=split)
        g, h = grad(function)(theta).numpy(), hessian(function)(theta).numpy()
        np.testing.assert_allclose(part.slope, v.T @ g, atol=1e-8)
        np.testing.assert_allclose(part.curvature, np.diag(v.T @ h @ v), atol=1e-8)
        for a in result.alpha.values:
            for b in result.beta.values:
                step = v @ [a, b]
                here = part.sel(alpha=a, beta=b)
                expected = function(theta).item() + g @ step + step @ h @ step / 2
                assert float(here.quadratic) == pytest.approx(expected, abs=1e-8)
                assert float(here.loss) == pytest.approx(function(theta + torch.from_numpy(step)).item(), abs=1e-8)


def test_the_quadratic_model_is_right_to_third_order(loss, theta):
    """Half the radius, an eighth of the error."""
    worst = []
    for radius in (0.02, 0.01, 0.005):
        result = eigenvector_plane(loss, theta, generator=seed(), radius=radius, steps=3, tol=1e-9)
        worst.append(float(abs(result.loss - result.quadratic).max()))
    assert worst[0] > 1e-8
    np.testing.assert_allclose(np.divide(worst[:-1], worst[1:]), 8, rtol=0.05)


def test_by_default_the_quadratic_term_reaches_the_loss_at_theta():
    result = eigenvector_plane(toys.quadratic(A), THETA, which=("second", "smallest"), generator=seed(), tol=1e-9)
    level = 0.5 * float(THETA @ A @ THETA)
    assert result.attrs["radius"] == pytest.approx(np.sqrt(2 * level / 3), rel=1e-8)
    assert float(result.alpha[-1]) == float(result.beta[-1]) == result.attrs["radius"]
    assert result.loss.shape == (51, 51)


def test_the_eigenvectors_are_those_of_the_split_that_was_asked_for():
    losses = {"train": toys.quadratic(A), "test": toys.quadratic(rotated([1.0, 7.0, 2.0, 3.0, 4.0]))}
    for split, wanted in ((None, [6, 3]), ("test", [7, 4])):
        result = eigenvector_plane(losses, THETA, split=split, generator=seed(), radius=1.0, steps=3, tol=1e-9)
        np.testing.assert_allclose(result.eigenvalues, wanted, atol=1e-7)
        assert result.attrs["hessian_of"] == (split or "train")
        np.testing.assert_allclose(result.curvature.sel(split=result.attrs["hessian_of"]), wanted, atol=1e-7)
        np.testing.assert_allclose(result.quadratic, result.loss, atol=1e-9)


def test_with_a_penalty_it_is_the_objective_that_is_modelled(mlp, moons, theta):
    plain, heavy = (Loss.of(mlp, moons, nn.CrossEntropyLoss(), weight_decay=decay) for decay in (0.0, 0.7))
    one, two = (
        eigenvector_plane(loss, theta, generator=seed(), radius=0.01, steps=3, tol=1e-10) for loss in (plain, heavy)
    )
    np.testing.assert_allclose(two.eigenvalues, one.eigenvalues + 0.7, atol=1e-8)
    assert (one.attrs["quadratic_of"], two.attrs["quadratic_of"]) == ("loss", "objective")
    np.testing.assert_allclose(two.quadratic, two.objective, atol=1e-6)
    assert float(abs(two.quadratic - two.loss).min()) > 0.1


def test_chance_changes_neither_the_axes_nor_their_signs(loss, theta):
    one, two = (eigenvector_plane(loss, theta, generator=seed(n), radius=1.0, steps=5, tol=1e-10) for n in (1, 2))
    np.testing.assert_allclose(one.loss, two.loss, atol=1e-8)
    assert float(abs(one.loss - one.loss.isel(alpha=slice(None, None, -1)).values).max()) > 1e-3  # signs would show


def test_what_gives_no_plane_is_an_error(loss, theta):
    bowl = toys.bowl(3)
    with pytest.raises(ValueError, match=r"which is .*: wanted two different ones of largest, second, smallest"):
        eigenvector_plane(bowl, torch.ones(3), which=("largest", "largest"), generator=seed())
    with pytest.raises(ValueError, match="split is 'valid': wanted one of 'train'"):
        eigenvector_plane({"train": bowl}, torch.ones(3), split="valid", generator=seed())
    with pytest.raises(ValueError, match=r"the loss at θ is 0.0 and the largest \|λ\| is 1.0\d*: .* give one"):
        eigenvector_plane(bowl, torch.zeros(3), generator=seed())
    with pytest.raises(ValueError, match="steps is 4: wanted an odd number"):
        eigenvector_plane(bowl, torch.ones(3), generator=seed(), steps=4)
    with pytest.raises(ValueError, match="but the module has 27 parameters"):
        eigenvector_plane(loss, theta[:-1], generator=seed())
