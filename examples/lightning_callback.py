"""Lightning: record a `Trainer`'s training, then draw its path.

A LightningModule with a `forward` is a module as any other. Here only its part `net` is recorded and measured.
"""

import sys
import tempfile
from pathlib import Path

import pytorch_lightning as lightning
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lossatlas as la
from lossatlas.training.lightning import RecorderCallback


class Classifier(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 10))

    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


folder = Path(sys.argv[1] if len(sys.argv) > 1 else "gallery")
folder.mkdir(parents=True, exist_ok=True)
pixels, labels = load_digits(return_X_y=True)
data = TensorDataset(torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(labels))
lightning.seed_everything(0, verbose=False)
model = Classifier()
recorder = RecorderCallback(checkpoints := tempfile.mkdtemp(), every=10, part="net")
trainer = lightning.Trainer(max_steps=200, callbacks=[recorder], logger=False, enable_checkpointing=False)
trainer.fit(model, DataLoader(data, batch_size=64, shuffle=True))

loss = la.Loss.of(model.net, data, nn.CrossEntropyLoss())
path = la.read_checkpoints(checkpoints, loss)
la.trajectory_plane(loss, path).atlas.plot().figure.savefig(folder / "lightning_callback.png")
