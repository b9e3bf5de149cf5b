"""Segmentation: pixels that do not count, class weights, and the Dice loss, which is no mean over images.

Cross-entropy is weighted over batches by the pixels that count, each with the weight of its class. Dice is a ratio of
sums over all pixels, so the images are one batch; per image it is a mean again.
"""

import functools

import torch
from torch import nn

import lossatlas as la


def dice(output, target):
    chance, counted = output.softmax(1)[:, 1], target != 255  # of the first class that is no background
    there = (target == 1) & counted
    return 1 - 2 * chance[there].sum() / (chance[counted].sum() + there.sum())


torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 3, 1))
images, labels = torch.randn(20, 3, 12, 12), torch.randint(3, (20, 12, 12))
labels[torch.rand(20, 12, 12) < torch.rand(20, 1, 1)] = 255  # more in some images than in others
weighted = nn.CrossEntropyLoss(weight=torch.tensor([0.5, 1.0, 2.0]), ignore_index=255)
loss = la.Loss.of(
    model,
    [(images[at : at + 8], labels[at : at + 8]) for at in range(0, 20, 8)],
    weighted,
    metrics={"accuracy": functools.partial(la.accuracy, ignore_index=255)},
)
of_dice = la.Loss.of(model, (images, labels), dice)
print({name: float(value) for name, value in loss.evaluate(loss.theta[None]).items()})
print("dice:", float(of_dice(loss.theta)))
