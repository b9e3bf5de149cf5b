"""The networks of a study, and how they are initialised."""

from __future__ import annotations

import math
import re
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

LOGITS = 2
_ACTIVATIONS: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


def build(architecture: str, activation: Activation, inputs: int) -> nn.Module:
    """The network of that name, `(n, inputs)` -> `(n, 2)`; its parameters are what torch happens to draw."""
    shape = parse_architecture(architecture)
    make = {"mlp": _mlp, "conv": _conv, "res": _res}[shape.kind]
    return make(shape, _ACTIVATIONS[activation], inputs)


@torch.no_grad()
def initialize(model: nn.Module, activation: Activation, generator: torch.Generator) -> None:
    """He normal for ReLU and GELU (He et al. 2015), Xavier uniform for Tanh (Glorot and Bengio 2010); zero biases."""
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.zero_()
        elif activation == "tanh":
            nn.init.xavier_uniform_(parameter, generator=generator)
        else:
            nn.init.kaiming_normal_(parameter, nonlinearity="relu", generator=generator)


def image_shape(inputs: int) -> tuple[int, int]:
    """Height and width of the most nearly square image of so many pixels.

    >>> image_shape(2), image_shape(256)
    ((2, 1), (16, 16))
    """
    width = next(side for side in range(math.isqrt(inputs), 0, -1) if inputs % side == 0)
    return inputs // width, width


def _mlp(shape: Architecture, activation: type[nn.Module], inputs: int) -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(shape.depth):
        layers += [nn.Linear(inputs, shape.width), activation()]
        inputs = shape.width
    return nn.Sequential(*layers, nn.Linear(inputs, LOGITS))


def _conv(shape: Architecture, activation: type[nn.Module], inputs: int) -> nn.Module:
    """3x3 convolutions on one channel; the image is halved after each while both sides are even."""
    height, width = image_shape(inputs)
    layers: list[nn.Module] = [nn.Unflatten(1, (1, height, width))]
    channels = 1
    for _ in range(shape.depth):
        layers += [nn.Conv2d(channels, shape.width, 3, padding=1), activation()]
        channels = shape.width
        if height % 2 == 0 and width % 2 == 0:
            layers.append(nn.AvgPool2d(2))
            height, width = height // 2, width // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * height * width, LOGITS))


def _res(shape: Architecture, activation: type[nn.Module], inputs: int) -> nn.Module:
    blocks = [_Block(shape.width, activation) for _ in range(shape.depth)]
    return nn.Sequential(nn.Linear(inputs, shape.width), *blocks, activation(), nn.Linear(shape.width, LOGITS))


class _Block(nn.Module):
    """x + W₂ act(W₁ act(x)): pre-activation, as He et al. 2016."""

    def __init__(self, width: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.inner = nn.Sequential(activation(), nn.Linear(width, width), activation(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


Activation = Literal["relu", "tanh", "gelu"]


# Depth x width by name, as the seed study called them.
PRESETS = {
    "shallow-small": "1x50",
    "shallow-wide": "1x500",
    "medium": "2x100",
    "deep-small": "4x100",
    "deep-large": "4x250",
}


Kind = Literal["mlp", "conv", "res"]


class Architecture(NamedTuple):
    """What the name of an architecture says: 4x250 a multilayer perceptron of 4 hidden layers of 250 units, conv4x16 a
    ConvNet of 4 convolutions with 16 channels, res3x64 a residual MLP of 3 blocks of 64 units."""

    kind: Kind
    depth: int
    width: int

    def __str__(self) -> str:
        return f"{'' if self.kind == 'mlp' else self.kind}{self.depth}x{self.width}"


def parse_architecture(name: str) -> Architecture:
    """An architecture by its name or a preset's.

    >>> parse_architecture("deep-large"), str(parse_architecture("res3x64"))
    (Architecture(kind='mlp', depth=4, width=250), 'res3x64')
    """
    matched = re.fullmatch(r"(conv|res)?0*([1-9]\d*)x0*([1-9]\d*)", PRESETS.get(name, name))
    if not matched:
        raise ValueError(
            f"architecture {name!r}: wanted <hidden layers>x<width>, both at least 1, such as 4x250, "
            f"conv<layers>x<channels>, res<blocks>x<width>, or one of {', '.join(PRESETS)}"
        )
    kind, depth, width = matched.groups()
    return Architecture(cast(Kind, kind or "mlp"), int(depth), int(width))
