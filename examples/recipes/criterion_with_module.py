"""A criterion that needs more of the module than its output: activations by `forward=`, weights by `penalty=`.

A criterion that reads `model.hidden` or `model.parameters()` sees the user's own module, whose weights stay as they are
while θ moves; lossatlas refuses it. `forward=` hands over activations of the module that it is given, and `penalty=` is
a function of θ. `Layout` finds the part of θ that is one tensor.
"""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import lossatlas as la


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.head = nn.Linear(4, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.encoder(x).relu())


def with_hidden(module, batch):
    hidden = module.encoder(batch[0]).relu()
    return (module.head(hidden), hidden), batch[1]


def criterion(output, target):
    logits, hidden = output
    return cross_entropy(logits, target) + 0.1 * hidden.abs().mean()


torch.manual_seed(0)
model, x, y = Network(), torch.randn(100, 4), torch.randint(3, (100,))
head = la.Layout.of(model).slices["head.weight"]
loss = la.Loss.of(
    model, (x, y), criterion, forward=with_hidden, penalty=lambda theta: 0.01 * theta[head].square().sum()
)
values = loss.evaluate(loss.theta[None])
print({name: float(value) for name, value in values.items()})  # the loss, the penalty, and their sum
