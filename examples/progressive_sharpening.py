"""Does the loss become sharper as it is trained? The top eigenvalue of the Hessian along plain gradient descent.

It rises until a step of 2 / λ is the step that is taken, and stays there: the edge of stability (Cohen et al. 2021).
Adam and SGD with small batches have edges of their own.
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
x, y = torch.tensor(pixels[:300], dtype=torch.float32) / 16, torch.tensor(labels[:300])
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
loss = la.Loss.of(model, (x, nn.functional.one_hot(y).float()), nn.MSELoss())
rate, theta, checkpoints = 0.5, loss.theta.clone(), []
for step in range(2401):
    if step % 150 == 0:
        checkpoints.append(theta.clone())
    theta -= rate * loss.gradient(theta)

along = la.trajectory_sharpness(loss, torch.stack(checkpoints), generator=torch.Generator().manual_seed(0))
ax = along.atlas.plot("top_eigenvalue")
ax.axhline(2 / rate, color="0.4", linestyle="--", label="2 / learning rate")
ax.legend(frameon=False)
ax.set_xlabel("checkpoint, one every 150 steps")
ax.figure.savefig(folder / "progressive_sharpening.png")

print(f"the loss fell from {float(along.loss[0]):.3f} to {float(along.loss[-1]):.4f}")
