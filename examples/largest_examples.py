"""How many examples does a number speak of? What the largest ones hold of the loss, and which digits they are.

A network that fits has its loss in a few examples: a mean over hundreds of test digits is then that of a handful. The
result says where they stand in the data, so that one can look at them.
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
losses = {split: la.Loss.of(model, some, nn.CrossEntropyLoss()) for split, some in data.items()}
theta = losses["train"].theta
held = la.example_concentration(losses, theta, generator=torch.Generator().manual_seed(0))
held.atlas.plot().figure.savefig(folder / "largest_examples.png")

of_test = held.sel(split="test")
print(f"as concentrated as {float(of_test.effective_examples):.1f} of {int(of_test.examples)} equal examples")
for place in of_test.examples_by_loss.values[:3] + 1200:
    print(f"digit {place}: a {int(y[place])} taken for a {int(model(x[place]).argmax())}")
