"""Five lines on a model of your own: the loss on a plane around it, and the curvature at it.

A small convolutional network on scikit-learn's handwritten digits. All that lossatlas needs is the trained module, its
data and its criterion; what it returns are `xarray.Dataset`s, which draw, save and export themselves.
"""

import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

import lossatlas as la

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "gallery")
folder.mkdir(parents=True, exist_ok=True)

# Your own model and data.
pixels, labels = load_digits(return_X_y=True)
x, y = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.tensor(labels)
torch.manual_seed(0)
layers = nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)
model = nn.Sequential(*layers)
optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
for _ in range(400):
    batch = torch.randint(1200, (64,))
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
    optimizer.step()

# The five lines.
loss = la.Loss.of(model, (x[:1200], y[:1200]), nn.CrossEntropyLoss(), metrics={"accuracy": la.accuracy})
plane = la.random_plane(loss, loss.theta, generator=torch.Generator().manual_seed(0))
curvature = la.spectrum(loss, loss.theta, generator=torch.Generator().manual_seed(0))
plane.atlas.plot().figure.savefig(folder / "own_model_plane.png")
curvature.atlas.plot().figure.savefig(folder / "own_model_spectrum.png")

print(curvature)  # the eigenvalues, and beside each what it may be off by
