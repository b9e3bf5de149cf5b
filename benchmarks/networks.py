"""The networks that everything is measured on, trained by a plain loop."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from torch import Tensor, nn

from lossatlas import Loss
from lossatlas.study.config import Data, Study, load_study
from lossatlas.study.datasets import make_task
from lossatlas.study.models import build

CRITERION = nn.functional.cross_entropy
BATCH = 64


@dataclass(frozen=True)
class Problem:
    """A trained network in eval mode, and its training data."""

    case: str
    model: nn.Module
    inputs: Tensor
    targets: Tensor

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def data(self) -> tuple[Tensor, Tensor]:
        return self.inputs, self.targets

    @property
    def label(self) -> str:
        return f"{self.case}: {self.parameters:,} parameters, {len(self.inputs):,} examples"

    def loss(self, dtype: torch.dtype = torch.float32) -> Loss:
        loss = Loss.of(self.model, self.data, CRITERION)
        return loss if dtype is torch.float32 else loss.to(dtype)

    def copy(self, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
        """A network of its own for a tool that may change it, and the data in its precision."""
        return copy.deepcopy(self.model).to(dtype), (self.inputs.to(dtype), self.targets)


class Block(nn.Module):
    """relu(x + BN conv relu BN conv x): He et al. 2016."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.inner(x))


def resnet(channels: int = 8) -> nn.Module:
    """A stem and two residual blocks on images of 8x8 pixels."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels),
        nn.ReLU(), Block(channels), Block(channels), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10),
    )  # fmt: skip


def wide(width: int = 2230) -> nn.Module:
    """An MLP of ten million parameters on digits."""
    return nn.Sequential(
        nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
        nn.Linear(width, 10),
    )  # fmt: skip


def mlp(architecture: str) -> Callable[[], nn.Module]:
    return lambda: build(architecture, "relu", 2)


def moons_study() -> Study:
    """90 networks: the study `seed` on its first draw of the data, where every network has every probe."""
    study = load_study("seed")
    return study.model_copy(update={"data": study.data.model_copy(update={"seeds": study.data.seeds[:1]})})


def moons(examples: int) -> tuple[Tensor, Tensor]:
    return make_task("moons", Data(train=examples), 0).train


def digits(examples: int) -> tuple[Tensor, Tensor]:
    """The first of scikit-learn's images of 8x8 pixels, standardised as a whole: `(n, 64)`, `(n,)`."""
    images, targets = load_digits(return_X_y=True)
    inputs = torch.as_tensor(images, dtype=torch.float32)[:examples]
    return (inputs - inputs.mean()) / inputs.std(), torch.as_tensor(targets)[:examples]


@dataclass(frozen=True)
class Recipe:
    make: Callable[[], nn.Module]
    data: Callable[[int], tuple[Tensor, Tensor]]
    examples: int
    rate: float = 0.01
    steps: int = 480  # of Adam, at most, however many epochs


RECIPES = {
    "1x50": Recipe(mlp("1x50"), moons, 1024),
    "2x100": Recipe(mlp("2x100"), moons, 1024),
    "4x250": Recipe(mlp("4x250"), moons, 1024),
    "ResNet": Recipe(resnet, digits, 1024),
    "10M": Recipe(wide, digits, 512, 1e-4, 240),
    "2x100 many": Recipe(mlp("2x100"), moons, 20480),
    "4x250 many": Recipe(mlp("4x250"), moons, 20480),
}


def load(case: str, folder: Path, *, epochs: int, examples: int | None) -> Problem:
    """The network of a case, trained and kept in the folder the first time."""
    recipe = RECIPES[case]
    inputs, targets = recipe.data(recipe.examples if examples is None else min(examples, recipe.examples))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = recipe.make()
        file = folder / f"{case}.safetensors"
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            train(model, (inputs, targets), rate=recipe.rate, steps=min(recipe.steps, epochs * len(inputs) // BATCH))
            save_file(model.state_dict(), file)
    model.load_state_dict(load_file(file))
    return Problem(case, model.eval(), inputs, targets)


def train(model: nn.Module, data: tuple[Tensor, Tensor], *, rate: float, steps: int) -> None:
    """Adam on batches of 64, with the rate falling to zero along a cosine."""
    inputs, targets = data
    optimizer = torch.optim.Adam(model.parameters(), rate, weight_decay=1e-4)
    model.train()
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * step / steps)) / 2
        batch = torch.randint(len(inputs), (BATCH,))
        optimizer.zero_grad()
        CRITERION(model(inputs[batch]), targets[batch]).backward()
        optimizer.step()
