"""An LSTM, which cannot be vectorised over many weights at once: it is evaluated one point at a time, by itself.

The rows of a handwritten digit are a sequence of eight steps. Nothing needs to be said or changed: lossatlas finds out,
and the numbers are the same.
"""

import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

import lossatlas as la


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 10)

    def forward(self, rows):
        return self.head(self.lstm(rows)[0][:, -1])


folder = Path(sys.argv[1] if len(sys.argv) > 1 else "gallery")
folder.mkdir(parents=True, exist_ok=True)
pixels, labels = load_digits(return_X_y=True)
rows, y = torch.tensor(pixels, dtype=torch.float32).view(-1, 8, 8) / 16, torch.tensor(labels)
torch.manual_seed(0)
model = Reader()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for _ in range(300):
    batch = torch.randint(1200, (64,))
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(rows[batch]), y[batch]).backward()
    optimizer.step()

loss = la.Loss.of(model, (rows[:300], y[:300]), nn.CrossEntropyLoss(), metrics={"accuracy": la.accuracy})
plane = la.random_plane(loss, loss.theta, generator=torch.Generator().manual_seed(0))
plane.atlas.plot().figure.savefig(folder / "lstm.png")
