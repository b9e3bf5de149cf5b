"""The networks of a study, and how they are initialised."""

from __future__ import annotations

import torch
from torch import nn

from lossatlas.study.config import Activation, parse_architecture

LOGITS = 2
_ACTIVATIONS: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


def build(architecture: str, activation: Activation, inputs: int) -> nn.Sequential:
    """A multilayer perceptron, `(n, inputs)` -> `(n, 2)`; its parameters are what torch happens to draw."""
    depth, width = parse_architecture(architecture)
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(inputs, width), _ACTIVATIONS[activation]()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, LOGITS))


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
