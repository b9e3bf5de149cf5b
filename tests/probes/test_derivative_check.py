"""The check of derivatives at the probed point: sound networks pass by far, others are told, and it can be left out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import lossatlas as la
from lossatlas.operators import derivative_check
from lossatlas.operators.derivative_check import check_derivatives
from tests.conftest import seeded
from tests.networks import NETWORKS, TwoLayers, build, ragged


class Reversal(torch.autograd.Function):
    """The gradient reversal of domain-adversarial training."""

    @staticmethod
    def forward(context, x):
        return x.view_as(x)

    @staticmethod
    def backward(context, slope):
        return -slope


class Clipped(torch.autograd.Function):
    """A backward of its own that is right to the first order alone: what it multiplies with has no graph."""

    @staticmethod
    def forward(context, x):
        context.slope = (1 - torch.tanh(x) ** 2).detach()
        return torch.tanh(x)

    @staticmethod
    def backward(context, slope):
        return slope * context.slope


def straight_through(x: Tensor) -> Tensor:
    return x + ((x * 4).round() / 4 - x).detach()


def stopped_norm(x: Tensor) -> Tensor:
    return x / x.norm(dim=1, keepdim=True).detach()


def focal(output: Tensor, target: Tensor) -> Tensor:
    """With weights that are held fixed, as many write it."""
    losses = F.cross_entropy(output, target, reduction="none")
    return ((1 - torch.exp(-losses)).detach() ** 2 * losses).mean()


UNSOUND = {
    "straight-through": (straight_through, F.cross_entropy),
    "a norm without gradient": (stopped_norm, F.cross_entropy),
    "gradient reversal": (Reversal.apply, F.cross_entropy),
    "second derivative forgotten": (Clipped.apply, F.cross_entropy),
    "detached weights of a focal loss": (nn.Identity(), focal),
}

PROBES = {
    "spectrum": {"k": 2},
    "spectral_density": {"k": 2, "draws": 2, "steps": 4},
    "block_spectrum": {"k": 2},
    "eigenvector_plane": {"steps": 3, "radius": 0.1},
}


def loss_of(between, criterion, moons, dtype=torch.float64) -> la.Loss:
    module = seeded(lambda: TwoLayers(between)).to(dtype)
    return la.Loss.of(module, (moons[0].to(dtype), moons[1]), criterion)


def probed(name: str, loss: la.Loss, **options):
    generator = torch.Generator().manual_seed(0)
    return getattr(la, name)(loss, loss.theta, generator=generator, **PROBES[name], **options)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "language model"])
@pytest.mark.filterwarnings("ignore:.*have no effect on the loss. b.weight")
def test_networks_of_every_kind_are_sound(name, dtype, generator):
    module, inputs, targets = build(name)
    loss = la.Loss.of(module, ragged(inputs, targets), nn.CrossEntropyLoss(), buffers="stored")
    theta = loss.theta + 0.1 * torch.randn(loss.layout.size, generator=generator, dtype=torch.float64)
    found = check_derivatives(loss if dtype is torch.float64 else loss.to(dtype), theta)
    assert found.passed
    assert [one.of for one in found.deviations] == ["the gradient", "the Hessian", "the symmetry of the Hessian"]
    assert max(one.value for one in found.deviations) < (1e-6 if dtype is torch.float64 else 1e-3)
    assert all(one.value <= one.error for one in found.deviations)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.LeakyReLU, nn.Hardtanh])
def test_kinks_are_no_fault(activation, moons):
    module = seeded(
        lambda: nn.Sequential(nn.Linear(2, 300), activation(), nn.Linear(300, 300), activation(), nn.Linear(300, 2))
    )
    loss = la.Loss.of(module.double(), moons, nn.CrossEntropyLoss())
    assert check_derivatives(loss, loss.theta).passed


def test_a_point_on_a_kink_is_no_fault(moons):
    """At weights of 0 an L1 penalty has no second derivative, and differences grow without end."""
    module = seeded(lambda: nn.Linear(2, 2).double())
    nn.init.zeros_(module.bias)
    loss = la.Loss.of(module, moons, F.cross_entropy, penalty=lambda theta: 0.01 * theta.abs().sum())
    assert check_derivatives(loss, loss.theta).passed


@pytest.mark.parametrize("weight", [0.5, 5.0, 30.0])
def test_a_flat_loss_is_no_fault(weight):
    """At 30 the Hessian is 1e-13, below what differences of float64 resolve: that is said by the error."""
    data = torch.eye(2, dtype=torch.float64), torch.ones(2, 1, dtype=torch.float64)
    loss = la.Loss.of(nn.Linear(2, 1, bias=False).double(), data, nn.BCEWithLogitsLoss())
    found = check_derivatives(loss, torch.tensor([weight, weight + 1], dtype=torch.float64))
    assert found.passed
    assert (found.worst.error > 1) == (weight == 30)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("case", UNSOUND)
def test_derivatives_of_another_function_are_told(case, dtype, moons):
    between, criterion = UNSOUND[case]
    loss = loss_of(between, criterion, moons, dtype)
    assert not check_derivatives(loss, loss.theta).passed


def test_which_derivative_is_wrong_is_said(moons):
    """The gradient of the function with a backward of its own is right."""
    loss = loss_of(Clipped.apply, F.cross_entropy, moons)
    gradient, hessian, _ = check_derivatives(loss, loss.theta).deviations
    assert gradient.sound
    assert not hessian.sound
    assert [one.of for one in check_derivatives(loss, loss.theta, curvature=False).deviations] == ["the gradient"]


@pytest.mark.parametrize("name", PROBES)
def test_every_probe_of_curvature_stores_it(name, moons):
    sound = probed(name, loss_of(nn.Identity(), F.cross_entropy, moons))
    assert float(sound.derivative_check) < 1e-6
    assert float(sound.derivative_check) <= float(sound.derivative_check_error) < 1e-3
    assert sound.derivative_check.units == "1"
    with pytest.warns(UserWarning, match=r"of the loss is off by .* that of another function than the values are of"):
        wrong = probed(name, loss_of(straight_through, F.cross_entropy, moons))
    assert float(wrong.derivative_check) > 0.1
    assert "derivative_check" not in probed(name, loss_of(straight_through, F.cross_entropy, moons), check=False)


@pytest.mark.parametrize("name", PROBES)
def test_a_report_says_it_before_the_numbers(name, moons):
    with pytest.warns(UserWarning, match="is off by"):
        wrong = probed(name, loss_of(straight_through, F.cross_entropy, moons))
    tell = next(probe.tell for probe in la.PROBES if probe.name == name)
    assert tell(wrong, "").sentence.startswith("The derivatives of the loss are off by")
    assert tell(wrong, "").lines[0].endswith("the numbers here are of another function than the loss.")
    sound = probed(name, loss_of(nn.Identity(), F.cross_entropy, moons))
    assert not any("off by" in line and "differences" in line for line in tell(sound, "").lines)


def test_recomputed_activations_are_those_of_the_point(moons):
    """Away from the module's own weights a checkpoint that recomputes with these would be off."""
    plain = seeded(lambda: nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)).double())
    kept = loss_of(nn.Identity(), F.cross_entropy, moons)

    class Recomputed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = plain

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.inner, x, use_reentrant=False)

    loss, theta = la.Loss.of(Recomputed(), moons, F.cross_entropy), 1.5 * kept.theta
    assert check_derivatives(loss, theta).passed
    assert torch.allclose(loss.gradient(theta), la.Loss.of(plain, moons, F.cross_entropy).gradient(theta), rtol=1e-12)


def test_it_takes_a_few_examples(moons, monkeypatch):
    seen = []
    gradient = la.Loss.gradient
    monkeypatch.setattr(la.Loss, "gradient", lambda self, theta: seen.append(self.examples) or gradient(self, theta))
    many = tuple(part.repeat(100, *[1] * (part.ndim - 1)) for part in moons)
    loss = la.Loss.of(seeded(lambda: nn.Linear(2, 2).double()), many, F.cross_entropy)
    assert check_derivatives(loss, loss.theta).passed
    assert len(seen) == 3
    assert max(seen) <= 64


def test_the_second_step_decides_where_the_first_does_not(moons, monkeypatch):
    """At a distance that rounding drowns nothing is said."""
    loss = loss_of(nn.Identity(), F.cross_entropy, moons)
    monkeypatch.setattr(derivative_check, "STEPS", {torch.float64: (1e-15, 1e-5)})
    assert check_derivatives(loss, loss.theta).worst.error < 1e-3
    monkeypatch.setattr(derivative_check, "STEPS", {torch.float64: (1e-15,)})
    assert check_derivatives(loss, loss.theta).passed
