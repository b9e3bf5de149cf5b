"""How much of a random slice is chance? Twenty directions instead of one, and what a small random step costs.

A network on scikit-learn's handwritten digits, trained on some writers and tested on others: training and test loss are
measured along the same directions.
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

data = {"train": (x[:1200], y[:1200]), "test": (x[1200:], y[1200:])}
losses = {split: la.Loss.of(model, pair, nn.CrossEntropyLoss()) for split, pair in data.items()}
theta = losses["train"].theta

lines = la.random_line(losses, theta, generator=torch.Generator().manual_seed(0), draws=20)
lines.atlas.plot().figure.savefig(folder / "random_line.png")

sharpness = la.epsilon_sharpness(losses, theta, generator=torch.Generator().manual_seed(0), radius=0.1)
sharpness.atlas.plot().figure.savefig(folder / "sharpness.png")
