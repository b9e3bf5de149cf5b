"""A problem for the command line: `lossatlas probe examples/digits_problem.py:problem --out landscape`.

The function gives the trained model, its data and its criterion, and whatever else is known: test data, checkpoints of
the training, other solutions. The command measures everything that these allow and writes a report about this model.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import lossatlas as la


def train(seed, x, y):
    """A trained network, and its weights at the start and after every tenth step."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    checkpoints = []
    for step in range(200):
        if step % 10 == 0:
            checkpoints.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        batch = torch.randint(len(x), (64,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()
    return model, checkpoints


def problem():
    pixels, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(labels)
    model, checkpoints = train(0, x[:1200], y[:1200])
    return la.Problem(
        model, (x[:1200], y[:1200]), nn.CrossEntropyLoss(), test_data=(x[1200:], y[1200:]),
        metrics={"accuracy": la.accuracy}, checkpoints=checkpoints, name="An MLP on digits",
        solutions={f"seed {seed}": train(seed, x[:1200], y[:1200])[0] for seed in (1, 2)},
    )  # fmt: skip
