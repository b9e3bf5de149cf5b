"""Neural operators: a grid that all examples share, and weights that are complex numbers.

The first tensor of a batch is the grid here, which has no row for each example. The target has, and it is what is
counted. θ is real, so complex weights are kept as pairs of real ones, `torch.view_as_complex`.
"""

import torch
from torch import nn

import lossatlas as la


class DeepONet(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk, self.branch = nn.Sequential(nn.Linear(1, 16), nn.Tanh()), nn.Linear(32, 16)

    def forward(self, grid, u):
        return self.branch(u) @ self.trunk(grid).T  # (examples, places)


class FourierLayer(nn.Module):
    def __init__(self, modes=8):
        super().__init__()
        self.spectral = nn.Parameter(0.1 * torch.randn(modes, 2))  # real and imaginary part

    def forward(self, u):
        weights = torch.view_as_complex(self.spectral)
        return torch.fft.irfft(torch.fft.rfft(u)[:, : len(weights)] * weights, n=u.shape[1])


def relative_error(output, target):
    return ((output - target).norm(dim=1) / target.norm(dim=1)).mean()


torch.manual_seed(0)
grid, u = torch.linspace(0, 1, 32)[:, None], torch.randn(50, 32)
target, model, layer = u.cumsum(1) / 32, DeepONet(), FourierLayer()
batches = [((grid, u[at : at + 16]), target[at : at + 16]) for at in range(0, 50, 16)]
loss = la.Loss.of(model, batches, relative_error, metrics={"mse": nn.MSELoss()})
spectral = la.Loss.of(layer, (u, target), relative_error)
print({name: float(value) for name, value in loss.evaluate(loss.theta[None]).items()})
print(la.spectrum(spectral, spectral.theta, k=3, generator=torch.Generator().manual_seed(0)).eigenvalues.values)
