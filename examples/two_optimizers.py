"""Two optimizers in one plane, at one scale: record the training, then draw both paths.

`Recorder` counts the optimizer's own steps and writes checkpoints; the training loop stays as it is. The plane goes
through the common start and the two ends, which therefore lie on it; the paths between are projected.
"""

import sys
import tempfile
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

import lossatlas as la

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "gallery")
folder.mkdir(parents=True, exist_ok=True)
pixels, labels = load_digits(return_X_y=True)
x, y = torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(labels)


def train(make):
    torch.manual_seed(0)  # the same initial weights and batches for both
    model = nn.Sequential(nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 10))
    optimizer = make(model.parameters())
    with la.Recorder(model, checkpoints := tempfile.mkdtemp(), every=10, optimizer=optimizer):
        for _ in range(200):
            batch = torch.randint(1200, (64,))
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    loss = la.Loss.of(model, (x[:1200], y[:1200]), nn.CrossEntropyLoss())
    return loss, la.read_checkpoints(checkpoints, loss)


loss, sgd = train(lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9))
_, adam = train(lambda parameters: torch.optim.Adam(parameters, lr=0.01))
corners, paths = torch.stack([sgd[0], sgd[-1], adam[-1]]), {"SGD": sgd, "Adam": adam}
both = la.model_plane(loss, corners, names=["start", "SGD's end", "Adam's end"], trajectories=paths)
both.atlas.plot().figure.savefig(folder / "two_optimizers.png")
la.trajectory_plane(loss, adam).atlas.plot().figure.savefig(folder / "trajectory_plane.png")
