"""A small classifier of handwritten digits, with checkpoints and other solutions, as a user's file would give it."""

from __future__ import annotations

from pathlib import Path

import pytest

PROBLEM = """
import torch
from sklearn.datasets import load_digits
from torch import nn

import lossatlas as la

images, labels = load_digits(return_X_y=True)
images, labels = torch.tensor(images / 16, dtype=torch.float32)[:300], torch.tensor(labels)[:300]
train, test = (images[:200], labels[:200]), (images[200:], labels[200:])


def trained(seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 10))
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    path = [{name: tensor.clone() for name, tensor in model.state_dict().items()}]
    for step in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(train[0]), train[1]).backward()
        optimizer.step()
        if step % 10 == 9:
            path.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
    return model, path


def problem():
    model, path = trained(0)
    return la.Problem(
        model, train, nn.functional.cross_entropy, test_data=test, metrics={"accuracy": la.accuracy},
        checkpoints=path, solutions={"seed 1": trained(1)[0], "seed 2": trained(2)[0]}, name="Digits",
    )
"""

# Coarse: what is tested is not how fine the pictures are.
COARSE = [
    "--steps", "5", "--random-line.draws", "2", "--spectrum.k", "2", "--spectrum.samples", "6",
    "--spectral-density.draws", "2", "--spectral-density.k", "2", 
    "--block-spectrum.k", "2", "--block-spectrum.samples", "6",
]  # fmt: skip


@pytest.fixture
def problem_file(tmp_path) -> Path:
    file = tmp_path / "digits_problem.py"
    file.write_text(PROBLEM)
    return file
