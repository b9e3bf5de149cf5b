"""What is differentiated is the function that is evaluated, and it is one of θ."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from lossatlas import Loss
from tests.loss.own_code import CE, assert_is, inputs, labels, network, ragged, seeded

X, Y = inputs(), labels()
WORDS = torch.randint(0, 9, (23, 5), generator=seeded(5))


class Recomputed(nn.Module):
    """The inner part is computed again in the backward pass."""

    def __init__(self, *, pieces: int) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.inner = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.4), nn.Linear(6, 3))
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        if self.pieces == 1:
            return checkpoint(self.inner, x, use_reentrant=False)
        return checkpoint_sequential(self.inner, self.pieces, x, use_reentrant=False)


class LowRank(nn.Linear):
    """An adapter that is merged into the weight, through `.data`, when the module is put in eval mode."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.weight.requires_grad_(False)
        self.down, self.up = nn.Parameter(torch.randn(2, inputs)), nn.Parameter(torch.randn(outputs, 2))
        self.merged = False

    def train(self, mode: bool = True) -> "LowRank":
        if mode == self.merged:
            self.weight.data += (-1.0 if mode else 1.0) * self.up @ self.down
            self.merged = not mode
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight if self.merged else self.weight + self.up @ self.down
        return F.linear(x, weight, self.bias)


class Fused(nn.Linear):
    """A layer that computes its weight once when it is put in eval mode."""

    ready: Tensor | None = None

    def train(self, mode: bool = True) -> "Fused":
        self.ready = None if mode else self.weight.detach().softmax(0)
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.softmax(0) if self.ready is None else self.ready, self.bias)


class Cached(nn.Linear):
    """A layer that computes its weight in the first pass in eval mode and keeps it."""

    kept: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.training or self.kept is None:
            self.kept = self.weight / self.weight.norm()
        return F.linear(x, self.kept, self.bias)


class Words(nn.Module):
    def __init__(self, embedding: nn.Module) -> None:
        super().__init__()
        self.embedding, self.head = embedding, nn.Linear(6, 3)

    def forward(self, words: Tensor) -> Tensor:
        z = self.embedding(words)
        return self.head(z if z.ndim == 2 else z.mean(1))


class Unit(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        self.weight.data = F.normalize(self.weight.data, dim=1)
        return super().forward(x)


@pytest.mark.parametrize("pieces", [1, 2])
def test_activation_checkpoints_over_batch_norm_and_dropout(pieces):
    module = Recomputed(pieces=pieces)
    module(X)
    module.eval()
    loss = Loss.of(module, ragged(X, Y), CE)
    assert_is(loss, module, lambda held: CE(held(X), Y))


@pytest.mark.parametrize("kind", [LowRank, Fused])
def test_eval_mode_that_would_be_another_function_of_theta(kind):
    torch.manual_seed(2)
    module = nn.Sequential(kind(4, 6), nn.Tanh(), kind(6, 3))
    before = module[0].weight.clone()
    loss = Loss.of(module, ragged(X, Y), CE)
    assert_is(loss, module, lambda held: CE(held(X), Y))
    assert torch.equal(module[0].weight, before)


def test_a_cache_is_filled_anew_in_every_pass():
    torch.manual_seed(2)
    module = nn.Sequential(Cached(4, 6), nn.Tanh(), nn.Linear(6, 3))
    loss = Loss.of(module, ragged(X, Y), CE)
    assert_is(loss, module, lambda held: CE(held(X), Y))


@pytest.mark.parametrize("kind", [LowRank, Cached])
def test_weights_that_were_merged_or_cached_before_are_said(kind):
    module = nn.Sequential(kind(4, 6), nn.Tanh(), nn.Linear(6, 3)).eval()
    with torch.no_grad():
        module(X)
    with pytest.warns(UserWarning, match=r"parameters have no effect on the loss: 0\."):
        Loss.of(module, ragged(X, Y), CE)


@pytest.mark.parametrize(
    "module",
    [
        Words(nn.Embedding(9, 6, max_norm=0.5)),
        Words(nn.EmbeddingBag(9, 6, max_norm=0.5)),
        nn.Sequential(Unit(4, 6), nn.Tanh(), nn.Linear(6, 3)),
    ],
)
def test_weights_that_a_pass_renormalizes(module):
    before = [parameter.clone() for parameter in module.parameters()]
    with pytest.raises(ValueError, match=r"a pass writes to its own weights '(embedding|0)\.weight'"):
        Loss.of(module, ragged(WORDS if isinstance(module, Words) else X, Y), CE)
    assert all(map(torch.equal, module.parameters(), before))


def test_a_stop_in_the_graph_is_said():
    class Probe(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk, self.head = network(6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.trunk(x).detach())

    with pytest.warns(UserWarning, match=r"depends on trunk.0.weight.*, and its gradient does not"):
        Loss.of(Probe(), ragged(X, Y), CE)


def test_weights_that_are_written_to_by_keyword_are_told():
    """out= is an argument by name."""

    class Clamped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                torch.clamp(self.layer.weight, -1, 1, out=self.layer.weight)
            return self.layer(x)

    data = torch.randn(6, 4), torch.zeros(6, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"a pass writes to its own weights 'layer\.weight'"):
        Loss.of(Clamped(), data, nn.CrossEntropyLoss())
