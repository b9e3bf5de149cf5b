"""Is there a barrier between two trained networks? The straight path between two seeds.

Part of a barrier comes from the order of the neurons, which is arbitrary: with one hidden layer, `align` puts those of
the second network in the order that is nearest to the first's, which leaves its function as it is.
"""

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import nn

import lossatlas as la
from lossatlas.alignment.weight_matching import align

pixels, labels = load_digits(return_X_y=True)
x, y = torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(labels)


def train(seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(300):
        batch = torch.randint(1200, (64,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()
    return model


data = {"train": (x[:1200], y[:1200]), "test": (x[1200:], y[1200:])}
losses = {split: la.Loss.of(train(0), pair, nn.CrossEntropyLoss()) for split, pair in data.items()}
layout, start = losses["train"].layout, losses["train"].theta
end = layout.theta_of(train(1))
panels = (figure := Figure(figsize=(8, 3.6), layout="constrained")).subplots(1, 2, sharey=True)
for panel, title, other in zip(
    panels, ("as trained", "neurons matched"), (end, align(layout, start, end)), strict=True
):
    la.linear_connectivity(losses, start, other).atlas.plot(ax=panel).set_title(title)
    panel.legend(fontsize=8)
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "gallery")
folder.mkdir(parents=True, exist_ok=True)
figure.savefig(folder / "mode_connectivity.png")
