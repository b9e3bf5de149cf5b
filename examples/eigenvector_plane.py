"""How far does the Hessian tell what the loss does? The plane of its two leading eigenvectors.

The dashed lines are what the gradient and the Hessian at the trained weights predict. Where they leave the measured
loss, the curvature at the point says nothing any more.
"""

import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

import lossatlas as la

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "gallery")
folder.mkdir(parents=True, exist_ok=True)
pixels, labels = load_digits(return_X_y=True)
x, y = torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(labels)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for _ in range(300):
    batch = torch.randint(1200, (64,))
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
    optimizer.step()

loss = la.Loss.of(model, (x[:1200], y[:1200]), nn.CrossEntropyLoss())
plane = la.eigenvector_plane(loss, loss.theta, generator=torch.Generator().manual_seed(0))
plane.atlas.plot().figure.savefig(folder / "eigenvector_plane.png")

apart = abs(plane.loss - plane.quadratic)  # an xarray.DataArray over alpha and beta
print(f"the quadratic model is off by up to {float(apart.max()):.3g}; the loss is {float(loss(loss.theta)):.3g}")
