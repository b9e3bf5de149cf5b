"""A ResNet with BatchNorm: the picture depends on whose batch statistics are used away from the trained weights.

The statistics "stored" in the model belong to its own weights. "re-estimated" computes them anew from the data at every
point; "batch" takes those of each batch, as in training. Every result says which (`lines.attrs["buffers"]`).
"""

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import nn

import lossatlas as la


class Block(nn.Sequential):
    def forward(self, input):
        return torch.relu(input + super().forward(input))


pixels, labels = load_digits(return_X_y=True)
x, y = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.tensor(labels)
data = {"train": (x[:600], y[:600]), "test": (x[1200:], y[1200:])}
torch.manual_seed(0)
half = [(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)) for _ in range(4)]
blocks = Block(*half[0], nn.ReLU(), *half[1]), Block(*half[2], nn.ReLU(), *half[3])
model = nn.Sequential(nn.Conv2d(1, 8, 3, stride=2), *blocks, nn.Flatten(), nn.Linear(72, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
for _ in range(200):
    batch = torch.randint(1200, (64,))
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
    optimizer.step()

panels = (figure := Figure(figsize=(10, 3.6), layout="constrained")).subplots(1, 3, sharey=True)
for buffers, panel in zip(("stored", "re-estimated", "batch"), panels, strict=True):
    losses = {split: la.Loss.of(model, pair, nn.CrossEntropyLoss(), buffers=buffers) for split, pair in data.items()}
    lines = la.random_line(losses, losses["train"].theta, generator=torch.Generator().manual_seed(0), steps=25, draws=5)
    lines.atlas.plot(ax=panel).set_title(f'buffers="{buffers}"')
    panel.label_outer()
panels[0].legend(loc="upper center", fontsize=8)
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "gallery")
folder.mkdir(parents=True, exist_ok=True)
figure.savefig(folder / "batchnorm.png")
