"""A surface for other programs: netCDF, ParaView, and meshes that Blender and 3-D printers take.

The ending of the name says the format. A mesh is drawn to a scale of its own; the files for ParaView hold the numbers.
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
plane = la.random_plane(loss, loss.theta, generator=torch.Generator().manual_seed(0))
plane.atlas.save(folder / "surface.nc")  # xarray.open_dataset reads it again
for ending in ("vti", "vtp", "obj", "stl", "npz"):
    plane.atlas.export(folder / f"surface.{ending}")
plane.atlas.surface().write_html(folder / "surface.html")  # a surface that turns, in a browser
