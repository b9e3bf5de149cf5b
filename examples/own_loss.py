"""A loss that is no (x, y): a physics-informed network, which takes derivatives of itself.

The network is to be the u(t) with u'' = -u, u(0) = 1 and u'(0) = 0, which is cos t. Its loss is the mean square of
u'' + u at points t; `forward=` says so, and `penalty=` adds a term of the parameters alone.
"""

import sys
from pathlib import Path

import torch
from torch import nn

import lossatlas as la

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "gallery")
folder.mkdir(parents=True, exist_ok=True)


class Oscillator(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, t):
        return 1 + t**2 * self.net(t)  # both conditions at t = 0 hold by construction


def residual(module, t):
    t = t.clone().requires_grad_()
    u = module(t)
    (du,) = torch.autograd.grad(u.sum(), t, create_graph=True)
    (ddu,) = torch.autograd.grad(du.sum(), t, create_graph=True)
    return ddu + u, torch.zeros_like(u)


torch.manual_seed(0)
model, points = Oscillator(), torch.linspace(0, 3, 60)[:, None]
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for _ in range(1500):
    optimizer.zero_grad()
    nn.functional.mse_loss(*residual(model, points)).backward()
    optimizer.step()
loss = la.Loss.of(model, points, nn.MSELoss(), forward=residual, penalty=lambda theta: 1e-5 * theta.abs().sum())
plane = la.random_plane(loss, loss.theta, generator=torch.Generator().manual_seed(0), radius=0.5)
plane.atlas.plot().figure.savefig(folder / "own_loss.png")
