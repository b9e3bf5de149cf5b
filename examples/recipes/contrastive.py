"""A contrastive loss: the other examples of a batch are the negatives, so the batches are a part of the loss.

Pairs are fixed once, since a new augmentation at every pass is no function of θ. The loss on batches of 16 is another
one than that on all pairs at once. State which one is shown; lossatlas does not cut such batches.
"""

import torch
from torch import nn
from torch.nn.functional import normalize

import lossatlas as la


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 8))
        self.log_scale = nn.Parameter(torch.tensor(1.0))  # of the similarities; it moves with θ

    def forward(self, first, second):
        return self.log_scale.exp() * normalize(self.net(first), dim=1) @ normalize(self.net(second), dim=1).T


def own_partner(module, views):
    similarities = module(*views)
    return similarities, torch.arange(len(similarities))


torch.manual_seed(0)
model, x = Encoder(), torch.randn(64, 8)
first, second = (x + 0.1 * torch.randn(64, 8) for _ in range(2))
batches = [(first[at : at + 16], second[at : at + 16]) for at in range(0, 64, 16)]
loss = la.Loss.of(model, batches, nn.CrossEntropyLoss(), forward=own_partner, metrics={"hits": la.accuracy})
at_once = la.Loss.of(model, [(first, second)], nn.CrossEntropyLoss(), forward=own_partner)
print("15 negatives:", float(loss(loss.theta)), "63 negatives:", float(at_once(loss.theta)))
