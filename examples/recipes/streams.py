"""A stream without an end: `max_batches=` says how much of it the loss is of, and a warning repeats it.

The batches are read once and kept, so that every point of the landscape is measured on the same examples. The loss of
a part of a stream is an estimate: two parts, or more, tell how far it may be off.
"""

import itertools

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

import lossatlas as la


class Measurements(IterableDataset):
    def __init__(self, seed):
        self.seed = seed

    def __iter__(self):
        generator = torch.Generator().manual_seed(self.seed)
        while True:
            x = torch.randn(4, generator=generator)
            yield x, x.prod()[None]


torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for x, y in itertools.islice(DataLoader(Measurements(seed=0), batch_size=32), 300):
    optimizer.zero_grad()
    nn.functional.mse_loss(model(x), y).backward()
    optimizer.step()

parts = {}
for seed in (1, 2):
    stream = DataLoader(Measurements(seed), batch_size=32)
    parts[f"part {seed}"] = la.Loss.of(model, stream, nn.MSELoss(), max_batches=40)
loss = parts["part 1"]
print({name: float(part(loss.theta)) for name, part in parts.items()})
print(la.random_line(parts, loss.theta, generator=torch.Generator().manual_seed(0), steps=5).loss.values)
