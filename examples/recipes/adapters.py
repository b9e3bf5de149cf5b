"""An adapter that is another function in eval mode: `train_mode_modules=` keeps it as it was trained.

In eval mode this one adds itself to the frozen weight once and keeps the sum, as an inference server wants it. The sum
would stay as it is while θ moves. Only the modules that the patterns name stay in train mode: dropout elsewhere is off.
"""

import torch
from torch import nn
from torch.nn.functional import linear

import lossatlas as la


class Adapted(nn.Module):
    def __init__(self, layer, rank=2):
        super().__init__()
        self.layer, self.sum = layer.requires_grad_(False), None
        self.down = nn.Parameter(0.3 * torch.randn(rank, layer.in_features))
        self.up = nn.Parameter(0.3 * torch.randn(layer.out_features, rank))

    def forward(self, x):
        if self.training:
            return self.layer(x) + linear(linear(x, self.down), self.up)
        if self.sum is None:
            self.sum = (self.layer.weight + self.up @ self.down).detach()
        return linear(x, self.sum, self.layer.bias)


torch.manual_seed(0)
model = nn.Sequential(Adapted(nn.Linear(6, 32)), nn.Tanh(), nn.Dropout(0.2), Adapted(nn.Linear(32, 3)))
x, y = torch.randn(100, 6), torch.randint(3, (100,))
loss = la.Loss.of(model, (x, y), nn.CrossEntropyLoss(), train_mode_modules=["0", "3"])
print(loss, float(loss(loss.theta)))
print(la.spectrum(loss, loss.theta, k=3, generator=torch.Generator().manual_seed(0)).eigenvalues.values)
