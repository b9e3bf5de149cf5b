"""Somebody's own model does what a tool does not expect: the number is right, or one line is said before it.

One situation each for the table on docs/howto/pitfalls.md, whose other rows name tests in other files. The witnesses
are the user's own module with the weights put in, and differences.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from lossatlas import Loss
from lossatlas.operators.hessian import Hessian
from tests.conftest import seeded


def classifier() -> nn.Sequential:
    return seeded(lambda: nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 4)).double())


@pytest.fixture
def examples(generator) -> tuple[Tensor, Tensor]:
    return torch.randn(30, 3, generator=generator, dtype=torch.float64), torch.randint(4, (30,), generator=generator)


def with_l1_of_a_layer(module: nn.Module) -> dict[str, Any]:
    return {"criterion": lambda output, target: cross_entropy(output, target) + 0.1 * module[0].weight.abs().sum()}


def with_logits_of_the_users_own(module: nn.Module) -> dict[str, Any]:
    return {"criterion": nn.CrossEntropyLoss(), "forward": lambda _, batch: (module(batch[0]), batch[1])}


def with_a_hook_that_scales(module: nn.Module) -> dict[str, Any]:
    module[1].register_forward_hook(lambda layer, inputs, output: output * module[2].bias.norm())
    return {"criterion": nn.CrossEntropyLoss()}


@pytest.mark.parametrize(
    ("reading", "name"),
    [
        (with_l1_of_a_layer, "0.weight"),
        (with_logits_of_the_users_own, "0.weight"),
        (with_a_hook_that_scales, "2.bias"),
    ],
)
def test_what_reads_the_users_own_module_is_told(examples, reading, name):
    module = classifier()
    with pytest.raises(ValueError, match=f"reads '{name}' of the module that was given.* penalty=.* forward="):
        Loss.of(module, examples, **reading(module))


class Checkpointed(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.inner, x, use_reentrant=False)


def test_a_checkpoint_away_from_its_own_weights(examples, generator):
    """The products with the Hessian are differences of gradients that autograd has of the inner module alone."""
    module, inner = Checkpointed(classifier()), classifier()
    loss = Loss.of(module, examples, nn.CrossEntropyLoss())
    theta = 1.5 * loss.theta
    direction = torch.randn(loss.layout.size, generator=generator, dtype=torch.float64)

    def slope(point: Tensor) -> Tensor:
        nn.utils.vector_to_parameters(point, inner.parameters())
        value = cross_entropy(inner(examples[0]), examples[1])
        return torch.cat([part.flatten() for part in torch.autograd.grad(value, list(inner.parameters()))])

    difference = (slope(theta + 1e-5 * direction) - slope(theta - 1e-5 * direction)) / 2e-5
    assert torch.allclose(loss.gradient(theta), slope(theta), rtol=1e-10, atol=1e-12)
    assert torch.allclose(Hessian(loss, theta)(direction[None])[0], difference, rtol=1e-6, atol=1e-8)


class RenormalisedInPlace(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.weight.div_(self.weight.norm(dim=1, keepdim=True))
        return super().forward(x)


@pytest.mark.parametrize(
    ("layer", "inputs"),
    [
        (lambda: nn.Embedding(7, 4, max_norm=0.5), torch.arange(7)),
        (lambda: nn.EmbeddingBag(7, 4, max_norm=0.5), torch.arange(14).view(7, 2) % 7),
        (lambda: RenormalisedInPlace(3, 4), torch.ones(7, 3)),
    ],
)
def test_weights_that_a_pass_writes_to_are_told(layer, inputs):
    module = nn.Sequential(seeded(layer), seeded(lambda: nn.Linear(4, 4)))
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(ValueError, match=r"writes to its own weights '0\.weight'"):
        Loss.of(module, (inputs, torch.arange(7) % 4), nn.CrossEntropyLoss())
    assert all(torch.equal(module.state_dict()[name], tensor) for name, tensor in before.items())


class Unused(nn.Linear):
    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.spare = nn.Parameter(torch.ones(5))


class Detached(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight.detach(), self.bias)


class ThroughNumbers(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            bias = self.bias.softmax(0)
        return nn.functional.linear(x, self.weight, bias)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Unused, r"5 of θ's 57 parameters have no effect on the loss: 1\.spare"),
        (Detached, r"the loss depends on 1\.weight, and its gradient does not"),
        (ThroughNumbers, r"the loss depends on 1\.bias, and its gradient does not"),
    ],
)
def test_what_the_gradient_leaves_out_is_told(examples, kind, message):
    module = seeded(lambda: nn.Sequential(nn.Linear(3, 6), kind(6, 4)).double())
    with pytest.warns(UserWarning, match=message):
        Loss.of(module, examples, nn.CrossEntropyLoss())


def recall_of_classes(output: Tensor, target: Tensor) -> Tensor:
    right = output.argmax(1) == target
    return torch.stack([right[target == label].double().mean() for label in target.unique()]).mean()


def masked_mean(output: Tensor, target: Tensor) -> Tensor:
    hard = target > 0
    return (output.argmax(1) == target)[hard].double().mean() if bool(hard.any()) else torch.zeros(())


def share_of_the_rarest(output: Tensor, target: Tensor) -> Tensor:
    return target.bincount(minlength=4).min() / len(target) + 0 * output.sum()


@pytest.mark.parametrize("metric", [recall_of_classes, masked_mean, share_of_the_rarest])
def test_sorted_batches_have_their_value_on_all_data(generator, metric):
    """Rows enough that a batch is cut to fit the cache, sorted by class, so that its first rows are all alike."""
    module = seeded(lambda: nn.Sequential(nn.Linear(3, 512), nn.Tanh(), nn.Linear(512, 4)))
    x = torch.randn(8192, 3, generator=generator)
    y = torch.arange(8192).div(8192).pow(2).mul(4).long()
    loss = Loss.of(module, (x, y), nn.CrossEntropyLoss(), metrics={"metric": metric})
    value = float(loss.evaluate(loss.theta[None])["metric"])
    with torch.no_grad():
        assert value == pytest.approx(float(metric(module(x), y)), rel=1e-5)


class Keeps(nn.Module):
    """Keeps what it saw, and writes to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.seen = classifier(), []

    def forward(self, x: Tensor) -> Tensor:
        x.mul_(0.5)
        output = self.inner(x)
        self.seen.append(output)
        self.last = output
        return output


@pytest.mark.filterwarnings("ignore:Keeps cannot be vectorised")
def test_what_a_pass_keeps_and_overwrites_is_not_the_users(examples, generator):
    x, y = examples
    before, module = x.clone(), Keeps()
    loss = Loss.of(module, (x, y), nn.CrossEntropyLoss())
    direction = torch.randn(1, loss.layout.size, generator=generator, dtype=torch.float64)
    values = [float(loss(loss.theta)) for _ in range(3)]
    product = Hessian(loss, loss.theta)(direction)
    assert torch.equal(x, before)
    assert not module.seen
    assert not hasattr(module, "last")
    plain = Loss.of(classifier(), (0.5 * x, y), nn.CrossEntropyLoss())
    assert values == pytest.approx([float(plain(plain.theta))] * 3, rel=1e-12)
    assert torch.allclose(product, Hessian(plain, plain.theta)(direction), rtol=1e-9, atol=1e-12)
