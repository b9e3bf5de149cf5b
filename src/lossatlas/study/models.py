"""The networks of a study, and how they are initialised."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lossatlas.study.config import Activation, Architecture, parse_architecture

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
