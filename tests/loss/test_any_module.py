"""Every kind of network against plain loops over its own forward."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from lossatlas import hardware
from lossatlas.loss.loss import Loss
from lossatlas.loss.metrics import accuracy
from lossatlas.operators.hessian import Hessian, dense_hessian
from tests.conftest import seeded
from tests.networks import NETWORKS, NOT_VECTORIZABLE, Causal, build, plain_gradient, plain_loss, ragged

pytestmark = pytest.mark.filterwarnings("ignore:.*have no effect on the loss. b.weight")  # of "branching", as it starts


@pytest.fixture(params=list(NETWORKS))
def network(request):
    return request.param


def loss_and_points(name, count=3):
    module, inputs, targets = build(name)
    loss = Loss.of(module, ragged(inputs, targets), nn.CrossEntropyLoss())
    generator = torch.Generator().manual_seed(4)
    points = loss.theta + 0.3 * torch.randn(count, loss.layout.size, generator=generator, dtype=torch.float64)
    return loss, points, (module, inputs, targets)


@pytest.mark.parametrize("vectorize", [True, False])
def test_a_stack_equals_plain_loops(network, vectorize, monkeypatch):
    loss, points, (module, inputs, targets) = loss_and_points(network)
    if vectorize:
        monkeypatch.setattr(hardware, "LOOP_BELOW", 0)
        if network in NOT_VECTORIZABLE:
            with pytest.warns(UserWarning, match="cannot be vectorised over points, so they are evaluated one by one"):
                loss(points)
    else:
        monkeypatch.setattr(hardware, "LOOP_BELOW", 10**9)
    values = loss.evaluate(points)
    for index, theta in enumerate(points):
        assert values["loss"][index].item() == pytest.approx(plain_loss(module, theta, inputs, targets), rel=1e-12)
        assert loss(theta).item() == pytest.approx(values["loss"][index].item(), rel=1e-12)


def test_the_fallback_is_said_once(monkeypatch):
    monkeypatch.setattr(hardware, "LOOP_BELOW", 0)
    monkeypatch.setattr(Loss, "chunk", 1)
    loss, points, _ = loss_and_points("branching")
    assert len(points) > 1
    with pytest.warns(UserWarning, match=r"Branching cannot be vectorised.*data-dependent control flow") as caught:
        loss(points)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss(points)


def test_a_fault_in_the_module_is_no_fallback(monkeypatch):
    class Breaking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 4).double()
            self.broken = False

        def forward(self, x):
            if self.broken:
                raise RuntimeError("the module is broken")
            return self.linear(x)

    monkeypatch.setattr(hardware, "LOOP_BELOW", 0)
    _, inputs, targets = build("cubic")
    loss = Loss.of(Breaking(), (inputs, targets), nn.CrossEntropyLoss())
    loss.module.broken = True
    with pytest.raises(RuntimeError, match="the module is broken"):
        loss(loss.theta)


def test_the_gradient_is_that_of_a_plain_backward(network):
    loss, points, case = loss_and_points(network, 1)
    module, inputs, targets = case
    expected = plain_gradient(module, points[0], inputs, targets)
    assert torch.allclose(loss.gradient(points[0]), expected, rtol=1e-9, atol=1e-12)


def test_products_with_the_hessian_are_differences_of_plain_gradients(network):
    """(g(θ+hv) − g(θ−hv)) / 2h is Hv up to h²/6 |L''''| + ε|g|/h: 1e-7 at h = 1e-5, ‖v‖ = 1."""
    loss, points, case = loss_and_points(network, 1)
    module, inputs, targets = case
    generator = torch.Generator().manual_seed(8)
    v = torch.randn(loss.layout.size, generator=generator, dtype=torch.float64)
    v /= v.norm()
    ahead = plain_gradient(module, points[0] + 1e-5 * v, inputs, targets)
    behind = plain_gradient(module, points[0] - 1e-5 * v, inputs, targets)
    assert torch.allclose(Hessian(loss, points[0])(v[None])[0], (ahead - behind) / 2e-5, rtol=1e-5, atol=1e-7)


def test_padding_is_kept_where_torchs_inference_path_would_drop_it():
    """nn.TransformerEncoder in eval mode without gradients gives 0 at padded positions, in training it does not."""
    loss, points, (module, inputs, targets) = loss_and_points("transformer", 1)
    with torch.no_grad():
        value = loss(points[0]).item()
    assert value == pytest.approx(plain_loss(module, points[0], inputs, targets), rel=1e-12)
    assert sum(float(share) for share in loss.batch_losses(points[0])) == pytest.approx(value, rel=1e-12)
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_tied_embedding_counts_once():
    loss, *_ = loss_and_points("language model")
    assert loss.layout.names == ("embedding.weight", "mix.weight", "mix.bias")
    assert Loss.of(
        build("language model")[0], ragged(*build("language model")[1:]), nn.CrossEntropyLoss(), params="decoder.*"
    ).layout.names == ("embedding.weight",)


# Hugging Face style --------------------------------------------------------------------------------------------


@pytest.fixture
def causal():
    _, tokens, _ = build("transformer")
    labels = tokens.clone()
    labels[tokens == 0] = -100
    batches = [
        {"input_ids": ids, "attention_mask": (ids != 0).long(), "labels": y} for ids, y in ragged(tokens, labels)
    ]
    return seeded(lambda: Causal().double()), batches, tokens, labels


def test_a_module_that_computes_its_own_loss_from_a_mapping(causal):
    """The shifted mean over all tokens at once is the batches' mean weighted by the labels that are predicted."""
    module, batches, tokens, labels = causal
    loss = Loss.of(module, batches, weigh_by=lambda batch: (batch["labels"][:, 1:] != -100).sum())
    expected = module(tokens, labels=labels).loss
    assert loss(loss.theta).item() == pytest.approx(expected.item(), rel=1e-12)
    assert loss.attrs["weighted_by"] == "weigh_by"


def test_by_itself_such_a_module_is_weighted_by_the_labels_that_are_predicted(causal):
    """The first label of a row has nothing before it, and does not count."""
    module, batches, tokens, labels = causal
    loss = Loss.of(module, batches)
    assert loss(loss.theta).item() == pytest.approx(module(tokens, labels=labels).loss.item(), rel=1e-12)
    assert loss.attrs["weighted_by"] == "shifted tokens"


def test_a_forward_says_how_a_batch_enters_and_where_the_target_is(causal):
    """With CrossEntropyLoss, tokens are counted in what `forward` gives as the target."""
    module, batches, tokens, labels = causal

    def forward(model, batch):
        return model(batch["input_ids"]).logits[..., :-1], batch["labels"][:, 1:]

    loss = Loss.of(module, batches, nn.CrossEntropyLoss(), forward=forward)
    assert loss(loss.theta).item() == pytest.approx(module(tokens, labels=labels).loss.item(), rel=1e-12)
    gradient = torch.autograd.grad(module(tokens, labels=labels).loss, list(module.parameters()))
    expected = torch.cat([part.reshape(-1) for part in gradient])
    assert torch.allclose(loss.gradient(loss.theta), expected, rtol=1e-9, atol=1e-12)


def test_a_physics_informed_loss_has_no_targets():
    """u' = −u on collocation points: u = exp(−x) has no residual."""

    class Exponential(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rate = nn.Parameter(torch.tensor([0.5], dtype=torch.float64))

        def forward(self, x):
            return torch.exp(self.rate * x), self.rate * torch.exp(self.rate * x)

    x = torch.linspace(0, 1, 9, dtype=torch.float64)
    loss = Loss.of(
        Exponential(), x, lambda residual, _: residual.square().mean(), forward=lambda module, x: (sum(module(x)), None)
    )
    assert loss(torch.tensor([-1.0])).item() == 0
    assert loss(torch.tensor([0.0])).item() == pytest.approx(1)


def test_a_module_that_differentiates_itself():
    """u' + u at points x for u = w x² + v: the residual is 2wx + wx² + v, its mean square a quadratic of (w, v)."""

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.tensor([0.5, -1.0], dtype=torch.float64))

        def forward(self, x):
            x = x.clone().requires_grad_()
            u = self.w[0] * x**2 + self.w[1]
            (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
            return slope + u

    x = torch.linspace(0, 1, 9, dtype=torch.float64)
    loss = Loss.of(Residual(), (x, x), lambda residual, _: residual.square().mean())
    w = torch.tensor([[2.0, 3.0], [0.0, 1.0]], dtype=torch.float64)
    basis = torch.stack([2 * x + x**2, torch.ones_like(x)])  # (2, 9)
    with pytest.warns(UserWarning, match="one by one: the same values, more slowly .it takes derivatives itself"):
        values = loss(w)
    assert torch.allclose(values, ((w @ basis) ** 2).mean(1), rtol=1e-13)
    assert torch.allclose(loss.gradient(w[0]), 2 * basis @ (w[0] @ basis) / 9, rtol=1e-12)
    assert torch.allclose(dense_hessian(loss, w[0]), 2 * basis @ basis.T / 9, rtol=1e-12)


def test_a_mapping_of_inputs_and_several_inputs():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(2, 1, bias=False)

        def forward(self, a, b):
            return self.map(torch.cat([a, b], 1))

    a, b, y = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [5.0]]), torch.zeros(2, 1)
    for inputs in ((a, b), [a, b], {"b": b, "a": a}):
        assert Loss.of(Two(), (inputs, y), nn.MSELoss())(torch.tensor([1.0, 1.0])).item() == (16 + 49) / 2
    for batches in ([((a[:1], b[:1]), y[:1]), ((a[1:], b[1:]), y[1:])],):
        assert Loss.of(Two(), batches, nn.MSELoss())(torch.tensor([1.0, 1.0])).item() == (16 + 49) / 2
    assert accuracy(torch.tensor([[1.0, 2.0]]), torch.tensor([1])) == 1
