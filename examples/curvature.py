"""Where does the curvature sit? The Hessian by layer, and how all of its eigenvalues are distributed.

The density shows the bulk of eigenvalues around zero, of both signs, and the few large ones apart from it. The spectrum
by layer is that of the diagonal blocks of the Hessian: one layer moves, the others are held fixed.
"""

import sys
from collections import OrderedDict
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

import lossatlas as la

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "gallery")
folder.mkdir(parents=True, exist_ok=True)
pixels, labels = load_digits(return_X_y=True)
x, y = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.tensor(labels)
torch.manual_seed(0)
layers = OrderedDict[str, nn.Module](
    conv1=nn.Conv2d(1, 8, 3), gelu1=nn.GELU(), conv2=nn.Conv2d(8, 16, 3, stride=2), gelu2=nn.GELU(), flat=nn.Flatten(),
    hidden=nn.Linear(64, 32), gelu3=nn.GELU(), output=nn.Linear(32, 10),
)  # fmt: skip
model = nn.Sequential(layers)
optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
for _ in range(300):
    batch = torch.randint(1200, (64,))
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
    optimizer.step()

loss = la.Loss.of(model, (x[:600], y[:600]), nn.CrossEntropyLoss())
blocks = la.block_spectrum(loss, loss.theta, generator=torch.Generator().manual_seed(0))
blocks.atlas.plot().figure.savefig(folder / "block_spectrum.png")
density = la.spectral_density(loss, loss.theta, generator=torch.Generator().manual_seed(0))
density.atlas.plot().figure.savefig(folder / "spectral_density.png")

print(blocks.trace.to_series())  # they add up to the trace of the whole Hessian
