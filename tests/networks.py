"""Small networks of every kind that people probe, in float64 with seeded weights, and plain loops over them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import vector_to_parameters

from tests.conftest import seeded


class Block(nn.Module):
    """A residual block with batch norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x + self.bn2(self.conv2(torch.tanh(self.bn1(self.conv1(x))))))


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3))
        self.blocks = nn.Sequential(Block(3), Block(3))
        self.head = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class TwoLayers(nn.Module):
    """2-8-2 with tanh and, after it, what a test puts there: a function or a module."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.between = nn.Linear(2, 8), nn.Linear(8, 2), between

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.between(torch.tanh(self.first(x))))


class Transformer(nn.Module):
    """A sequence classifier with dropout and padding; token 0 is padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.3, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(8, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.encoder(self.embedding(tokens), src_key_padding_mask=tokens == 0)
        return self.head(hidden.mean(1))  # padded positions are in the mean, as a careless author has it


class Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, 5, num_layers=2, batch_first=True, dropout=0.2)
        self.head = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class LanguageModel(nn.Module):
    """Predicts the next token at every position; the output matrix is the embedding. (n, T) -> (n, 7, T)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 6)
        self.mix = nn.Linear(6, 6)
        self.decoder = nn.Linear(6, 7, bias=False)
        self.decoder.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.decoder(torch.tanh(self.mix(self.embedding(tokens)))).transpose(1, 2)


@dataclass
class Output:
    loss: Tensor | None
    logits: Tensor


class Causal(nn.Module):
    """A stand-in for a Hugging Face causal language model: called by name, computes its own shifted loss."""

    def __init__(self) -> None:
        super().__init__()
        self.model = LanguageModel()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None) -> Output:
        logits = self.model(input_ids)  # (n, 7, T)
        loss = None if labels is None else nn.functional.cross_entropy(logits[..., :-1], labels[:, 1:])
        return Output(loss, logits)


class Branching(nn.Module):
    """Control flow that depends on values."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(2, 4), nn.Linear(2, 4)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.a(x)
        return hidden if self.a.bias.sum() > 0 else self.b(torch.tanh(hidden[:, :2]))


class Counting(nn.Module):
    """Writes to a buffer in every forward, and lets the output depend on it."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 4)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.linear(x) * self.calls


class Cube(torch.autograd.Function):
    """A custom function as most are written, without vmap support, differentiable twice."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * grad


class Cubic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 4)

    def forward(self, x: Tensor) -> Tensor:
        return Cube.apply(self.linear(x))


def _images(g: torch.Generator) -> Tensor:
    return torch.randn(11, 1, 5, 5, generator=g, dtype=torch.float64)


def _tokens(g: torch.Generator) -> Tensor:
    tokens = torch.randint(1, 7, (11, 6), generator=g)
    tokens[::3, 4:] = 0
    return tokens


def _series(g: torch.Generator) -> Tensor:
    return torch.randn(11, 4, 2, generator=g, dtype=torch.float64)


def _points(g: torch.Generator) -> Tensor:
    return torch.randn(11, 2, generator=g, dtype=torch.float64)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[torch.Generator], Tensor]]] = {
    "resnet": (ResNet, _images),
    "transformer": (Transformer, _tokens),
    "lstm": (Lstm, _series),
    "language model": (LanguageModel, _tokens),
    "branching": (Branching, _points),
    "counting": (Counting, _points),
    "cubic": (Cubic, _points),
}
NOT_VECTORIZABLE = {"lstm", "branching", "counting", "cubic"}


def build(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    """A network in training mode, with inputs and targets of 11 examples."""
    make, draw = NETWORKS[name]
    generator = torch.Generator().manual_seed(3)
    inputs = draw(generator)
    module = seeded(lambda: make().double())
    targets = torch.randint(0, 4, (11, 6) if name == "language model" else (11,), generator=generator)
    return module.train(), inputs, targets


def ragged(*parts: Tensor, size: int = 4) -> list[tuple[Tensor, ...]]:
    return list(zip(*(part.split(size) for part in parts), strict=True))


def put(module: nn.Module, theta: Tensor) -> nn.Module:
    """A copy of the module at θ, in eval mode."""
    placed = copy.deepcopy(module).eval()
    vector_to_parameters(theta, placed.parameters())
    return placed


def plain_loss(module: nn.Module, theta: Tensor, inputs: Tensor, targets: Tensor) -> float:
    """Cross-entropy on all data at once through the module's own forward, with gradients on as in training."""
    return float(nn.functional.cross_entropy(put(module, theta)(inputs), targets).detach())


def plain_gradient(module: nn.Module, theta: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
    placed = put(module, theta)
    nn.functional.cross_entropy(placed(inputs), targets).backward()
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in placed.parameters()])
