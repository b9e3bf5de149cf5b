"""What does weight decay do to the landscape? The same network at three weight decays, on one random plane.

Adam's `weight_decay=λ` adds the gradient of the penalty λ‖θ‖²/2. The results hold loss and penalty apart
(`slices.loss`, `slices.penalty`), since the bowl of the penalty alone can be most of a picture.
"""

import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

import lossatlas as la
from lossatlas.figures.plot import pages

pixels, labels = load_digits(return_X_y=True)
x, y = torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(labels)
weight_decays = 0.0, 1e-3, 1e-2


def train(weight_decay):
    """The loss of the initial network, which is the same for all, and of the trained one."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 10))
    initial = la.Loss.of(model, (x[:1200], y[:1200]), nn.CrossEntropyLoss())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=weight_decay)
    for _ in range(300):
        batch = torch.randint(1200, (64,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()
    return initial, initial.layout.theta_of(model)


(loss, *_), thetas = zip(*map(train, weight_decays), strict=True)
starts, ends = torch.stack([loss.theta] * 3), torch.stack(thetas)
lines = la.interpolate_by_weight_decay(loss, starts, ends, weight_decays)
slices = la.slice_by_weight_decay(loss, ends, weight_decays, generator=torch.Generator().manual_seed(0))
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "gallery")
folder.mkdir(parents=True, exist_ok=True)
for name, result in {"interpolation": lines, "slices": slices}.items():
    for kind, figure in pages(result, "Weight decay on digits"):
        figure.savefig(folder / f"weight_decay_{name}_{kind}.png", dpi=150)
