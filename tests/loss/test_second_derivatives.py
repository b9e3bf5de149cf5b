"""Second derivatives that torch has wrong, against formulas of their own; those that it lacks are told by one line."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import hessian
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.checkpoint import checkpoint

from lossatlas import spectrum
from lossatlas.loss.loss import Loss
from lossatlas.operators.hessian import Hessian, dense_hessian
from tests.loss.layer_kinds import Function

Tensors = dict[str, Tensor]
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit", "ignore:.*cannot be vectorised over points")


@pytest.fixture
def data(generator):
    x, y = (torch.randn(7, size, generator=generator, dtype=torch.float64) for size in (4, 3))
    return x, y


def agrees(module: nn.Module, formula: Callable[[Tensors, Tensor], Tensor], data: tuple[Tensor, Tensor]) -> bool:
    """The whole Hessian, with two ragged batches, is that of the formula of the output."""
    x, y = data
    loss = Loss.of(module.double(), [(x[:4], y[:4]), (x[4:], y[4:])], nn.MSELoss())
    theta = loss.theta + 0.1 * torch.randn(loss.layout.size, generator=torch.Generator().manual_seed(1)).double()
    wanted = hessian(lambda point: (formula(loss.layout.unflatten(point), x) - y).square().mean())(theta)
    found = dense_hessian(loss, theta)
    return torch.allclose(found, wanted, atol=1e-10) and torch.allclose(found, found.T, atol=1e-12)


def normed(parts: Tensors, name: str, axes: tuple[int, ...]) -> Tensor:
    g, v = (parts[f"{name}.parametrizations.weight.original{number}"] for number in (0, 1))
    return g * v / v.square().sum(axes, keepdim=True).sqrt()


def grouped(x: Tensor, groups: int) -> Tensor:
    parts = x.reshape(len(x), groups, -1)
    centred = parts - parts.mean(-1, keepdim=True)
    return (centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()).reshape(x.shape)


def test_weight_norm_of_two_layers(data):
    module = nn.Sequential(weight_norm(nn.Linear(4, 5)), nn.Tanh(), weight_norm(nn.Linear(5, 3), dim=1))

    def output(parts: Tensors, x: Tensor) -> Tensor:
        hidden = torch.tanh(x @ normed(parts, "0", (1,)).T + parts["0.bias"])
        return hidden @ normed(parts, "2", (0,)).T + parts["2.bias"]

    assert agrees(module, output, data)


def test_weight_norm_of_a_convolution(data):
    module = nn.Sequential(nn.Unflatten(1, (1, 4)), weight_norm(nn.Conv1d(1, 3, 4)), nn.Sigmoid(), nn.Flatten())

    def output(parts: Tensors, x: Tensor) -> Tensor:
        return torch.sigmoid(x @ normed(parts, "1", (1, 2))[:, 0].T + parts["1.bias"])

    assert agrees(module, output, data)


def test_weight_norm_in_a_forward_of_ones_own(data):
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.v, self.g = nn.Parameter(torch.rand(3, 4)), nn.Parameter(torch.rand(3, 1))

        def forward(self, x: Tensor) -> Tensor:
            return x @ torch._weight_norm(self.v, self.g, 0).T

    assert agrees(Own(), lambda parts, x: x @ (parts["g"] * F.normalize(parts["v"], dim=1)).T, data)


def test_group_norm_of_features(data):
    module = nn.Sequential(nn.Linear(4, 6), nn.GroupNorm(3, 6), nn.Linear(6, 3))

    def output(parts: Tensors, x: Tensor) -> Tensor:
        hidden = grouped(x @ parts["0.weight"].T + parts["0.bias"], 3) * parts["1.weight"] + parts["1.bias"]
        return hidden @ parts["2.weight"].T + parts["2.bias"]

    assert agrees(module, output, data)


@pytest.mark.parametrize("affine", [True, False])
def test_group_norm_of_images_one_by_one(data, affine):
    module = nn.Sequential(
        nn.Unflatten(1, (1, 2, 2)),
        nn.Conv2d(1, 4, 1),
        nn.GroupNorm(2, 4, affine=affine),
        nn.Flatten(),
        nn.Linear(16, 3),
    )

    def output(parts: Tensors, x: Tensor) -> Tensor:
        images = parts["1.weight"].view(4, 1) * x.view(-1, 1, 4) + parts["1.bias"][:, None]  # (n, channels, pixels)
        hidden = grouped(images, 2)
        if affine:
            hidden = hidden * parts["2.weight"][:, None] + parts["2.bias"][:, None]
        return hidden.flatten(1) @ parts["4.weight"].T + parts["4.bias"]

    assert agrees(module, output, tuple(part[:1].repeat(7, 1) for part in data))
    assert agrees(module, output, data)


@pytest.mark.parametrize(
    "table", [nn.Embedding(5, 3, padding_idx=2), nn.Embedding(5, 3, scale_grad_by_freq=True), nn.EmbeddingBag(5, 3)]
)
def test_rows_of_a_table_are_products_with_ones_and_zeros(data, table):
    y, indices = data[1], torch.tensor([[0, 2], [2, 2], [1, 2], [4, 3], [3, 3], [2, 0], [1, 1]])

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.last = table, nn.Linear(3, 3)

        def forward(self, indices: Tensor) -> Tensor:
            rows = self.table(indices)
            return self.last(torch.tanh(rows if rows.ndim == 2 else rows.mean(1)))

    def output(parts: Tensors, indices: Tensor) -> Tensor:
        shares = F.one_hot(indices, 5).double().mean(1)  # (n, rows)
        return torch.tanh(shares @ parts["table.weight"]) @ parts["last.weight"].T + parts["last.bias"]

    assert agrees(Own(), output, (indices, y))


def test_a_loss_of_the_module_s_own_in_parts_of_the_batch(data):
    """torch computes its gradient beforehand, so that its Hessian would be 0."""
    if not hasattr(nn, "LinearCrossEntropyLoss"):
        pytest.skip("since torch 2.13")
    parts = nn.LinearCrossEntropyLoss(4, 3, options=nn.LinearCrossEntropyOptions(batch_chunk_size=2)).double()
    x, labels = data[0], data[1].argmax(1)
    ours = Loss.of(parts, (x, labels), forward=lambda module, batch: (module(*batch), batch[1]))
    plain = Loss.of(nn.Linear(4, 3, bias="bias" in ours.layout.names).double(), (x, labels), nn.CrossEntropyLoss())
    assert torch.allclose(dense_hessian(ours, plain.theta), dense_hessian(plain, plain.theta), atol=1e-12)


def test_classes_in_clusters(data):
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(4, 6), nn.AdaptiveLogSoftmaxWithLoss(6, 10, [3, 6], 2.0)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.last(torch.tanh(self.first(x)), y).loss

    labels = torch.tensor([0, 9, 4, 5, 7, 1, 2])
    loss = Loss.of(Own().double(), (data[0], labels), forward=lambda module, batch: (module(*batch), batch[1]))
    rows = torch.randn(3, loss.layout.size, generator=torch.Generator().manual_seed(2)).double()
    differences = [(loss.gradient(loss.theta + 1e-5 * v) - loss.gradient(loss.theta - 1e-5 * v)) / 2e-5 for v in rows]
    assert torch.allclose(Hessian(loss, loss.theta)(rows), torch.stack(differences), rtol=1e-6, atol=1e-9)


class Once(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return x.sin()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context, slope):
        return slope * context.saved_tensors[0].cos()


def flash(x: Tensor) -> Tensor:
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        one = x.view(-1, 1, 2, 3)
        return F.scaled_dot_product_attention(one, one, one).flatten(1)


def segments(x: Tensor) -> Tensor:
    return torch.segment_reduce(x.T.contiguous(), "mean", lengths=torch.tensor([2, 4])).T.repeat(1, 3)


def again(layer: nn.Module, *, use_reentrant: bool) -> Callable[[Tensor], Tensor]:
    return lambda x: checkpoint(layer, x, use_reentrant=use_reentrant)


TOLD = {
    "a kernel of the user's choice": (flash, r"'1' \(Function\) has _scaled_dot_product_flash.*let torch choose"),
    "segments": (segments, r"'1' \(Function\) has _segment_reduce, of which torch has no.* take index_add"),
    "once": (Once.apply, "Once, an autograd.Function, is marked once_differentiable.* without the mark"),
    "group norm in a checkpoint": (again(nn.GroupNorm(2, 6).double(), use_reentrant=False), "switch checkpointing off"),
    "weight norm in a checkpoint": (
        again(weight_norm(nn.Linear(6, 6)).double(), use_reentrant=False), "switch checkpointing off"),
    "hardsigmoid in a checkpoint": (again(nn.Hardsigmoid(), use_reentrant=False), "switch checkpointing off"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:a pass also reads .* trainable numbers outside")
@pytest.mark.parametrize("name", TOLD)
def test_what_has_no_second_derivative_is_told_with_its_layer_and_the_remedy(data, name, generator):
    function, words = TOLD[name]
    module = nn.Sequential(nn.Linear(4, 6), Function(function), nn.Linear(6, 3)).double()
    loss = Loss.of(module, data, nn.MSELoss())
    assert torch.isfinite(loss(loss.theta))
    with pytest.raises(ValueError, match=words):
        spectrum(loss, loss.theta, generator=generator, k=1)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_a_reentrant_checkpoint_is_told_before_a_gradient(data):
    module = nn.Sequential(nn.Linear(4, 6), Function(again(nn.Tanh(), use_reentrant=True)), nn.Linear(6, 3)).double()
    loss = Loss.of(module, data, nn.MSELoss())
    for derivative in (loss.gradient, lambda theta: Hessian(loss, theta)):
        with pytest.raises(ValueError, match="say use_reentrant=False"):
            derivative(loss.theta)


@pytest.mark.parametrize("norm", ["weight", "group"])
def test_what_cannot_be_replaced_inside_torchscript_is_told(data, norm):
    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.v, self.g = nn.Parameter(torch.rand(3, 4)), nn.Parameter(torch.rand(3, 1))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, torch._weight_norm(self.v, self.g, 0))

    grouped = nn.Sequential(nn.Linear(4, 6), nn.GroupNorm(2, 6), nn.Linear(6, 3))
    scripted = torch.jit.script(Weighted() if norm == "weight" else grouped).double()
    loss = Loss.of(scripted, data, nn.MSELoss())
    with pytest.raises(ValueError, match=rf"{norm} norm inside TorchScript: take the module from before torch\.jit"):
        Hessian(loss, loss.theta)


def test_a_layer_whose_gradient_is_wrong_is_told_at_once(data):
    module = nn.Sequential(nn.Unflatten(1, (4, 1, 1)), nn.Conv2d(4, 3, 1), nn.CrossMapLRN2d(3), nn.Flatten()).double()
    with pytest.warns(UserWarning, match=r"nn\.CrossMapLRN2d is not that of its values: take"):
        loss = Loss.of(module, data, nn.MSELoss())
    with pytest.raises(ValueError, match=r"second derivative is wrong for nn\.CrossMapLRN2d"):
        Hessian(loss, loss.theta)
