"""A physics-informed network: the residual of the heat equation inside, and its values at the edge.

`forward=` differentiates the module by its inputs. Curvature then takes derivatives of the fourth order, and float64
pays. All points are one batch: the two terms are means over different numbers of points, and no weight of a batch is
right for both.
"""

import math

import torch
from torch import nn

import lossatlas as la


def residuals(module, points):
    inside = points["inside"].clone().requires_grad_()  # (n, 2): place and time
    (slope,) = torch.autograd.grad(module(inside).sum(), inside, create_graph=True)
    (second,) = torch.autograd.grad(slope[:, 0].sum(), inside, create_graph=True)
    return (slope[:, 1] - 0.1 * second[:, 0], (module(points["edge"]) - points["value"])[:, 0]), None


def criterion(output, _):
    equation, edge = output
    return equation.square().mean() + 10 * edge.square().mean()


torch.manual_seed(0)
model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1)).double()
place = torch.rand(40, 1, dtype=torch.float64)
at_start, at_wall = torch.cat([place, 0 * place], 1), torch.cat([place.round(), place], 1)
points = {
    "inside": torch.rand(200, 2, dtype=torch.float64),
    "edge": torch.cat([at_start, at_wall]),
    "value": torch.cat([(math.pi * place).sin(), 0 * place]),
}
loss = la.Loss.of(model, [points], criterion, forward=residuals)
print(loss, float(loss(loss.theta)))
print(la.spectrum(loss, loss.theta, k=3, generator=torch.Generator().manual_seed(0)).eigenvalues.values)
