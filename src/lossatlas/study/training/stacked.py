"""Networks of one architecture side by side: every parameter is one stack of the members' own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap

from lossatlas.parameters.layout import Layout
from lossatlas.study import models
from lossatlas.study.datasets import Task
from lossatlas.study.training.replay import Replay

# Examples of all members in one pass: more fall out of the cache, fewer are many calls of Python.
EVALUATED_AT_ONCE = 256


class Group:
    """The members' parameters, each `(m, *shape)`, and their gradients beside them; both stay where they are.

    Stacked products write to contiguous memory alone, which the rows of a matrix `(m, P)` are not.
    """

    def __init__(self, model: nn.Module, layout: Layout, stack: Tensor) -> None:
        self.size = len(stack)
        self._model, self._layout = model, layout
        parts = layout.unflatten(stack).values()
        self.parameters = [part.clone(memory_format=torch.contiguous_format) for part in parts]
        self.gradients = [torch.zeros_like(part) for part in self.parameters]

    def stack(self) -> Tensor:
        """The members' parameters as they are now, `(m, P)`."""
        return self._layout.flatten(dict(zip(self._layout.names, self.parameters, strict=True)))

    def logits(self, x: Tensor, *parameters: Tensor) -> Tensor:
        """Of one member."""
        return functional_call(self._model, dict(zip(self._layout.names, parameters, strict=True)), (x,))


class Gradient:
    """Writes the gradient of every member's mean cross-entropy over a batch of its own.

    The batch has a place too; where it has fewer examples than that, the others weigh nothing. `inputs` are those of
    all members, `(m, n, d)`.
    """

    def __init__(self, group: Group, inputs: Tensor, batch_size: int) -> None:
        self._x = inputs.new_zeros(group.size, batch_size, *inputs.shape[2:])
        self._target = inputs.new_zeros(group.size, batch_size, 1)
        self._weights = inputs.new_zeros(batch_size, models.LOGITS)
        self._count = 0

        def gradient(x: Tensor, target: Tensor, weights: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
            """By the two logits z, the cross-entropy of a target y has the gradient (-r, r), r = σ(z₁ - z₀) - y."""
            logits, pullback = vjp(lambda *given: group.logits(x, *given), *parameters)[:2]
            return pullback(((logits[:, 1:] - logits[:, :1]).sigmoid() - target) * weights)

        self._replay = Replay(
            vmap(gradient, in_dims=(0, 0, None, *(0 for _ in group.parameters))),
            [self._x, self._target, self._weights, *group.parameters],
            group.gradients,
        )

    def __call__(self, x: Tensor, target: Tensor) -> None:
        """At the parameters as they are, for batches `(m, b, d)` with targets 0 or 1, `(m, b)`."""
        count = x.shape[1]
        if count != self._count:
            self._weights.zero_()[:count] = self._weights.new_tensor([-1.0, 1.0]) / count
            self._count = count
        self._x[:, :count] = x
        self._target[:, :count, 0] = target
        self._replay()


class Evaluation:
    """Mean cross-entropy and accuracy of every member on both splits of its task, each `(m,)` in float64."""

    def __init__(self, group: Group, tasks: Sequence[Task]) -> None:
        inputs = torch.stack([torch.cat([task.train[0], task.test[0]]) for task in tasks])  # (m, n, d)
        self._targets = {
            "train": torch.stack([task.train[1] for task in tasks]),
            "test": torch.stack([task.test[1] for task in tasks]),
        }  # (m, n) each
        self._chunks = inputs.split(EVALUATED_AT_ONCE, dim=1)
        self._x = torch.zeros_like(self._chunks[0])
        # Classes before examples: over the last, short dimension a logarithmic softmax takes ten times as long.
        self._found = inputs.new_zeros(group.size, models.LOGITS, self._x.shape[1])
        self._logits = inputs.new_zeros(group.size, models.LOGITS, inputs.shape[1])
        logits = vmap(group.logits)
        self._replay = Replay(
            lambda x, *parameters: [logits(x, *parameters).mT], [self._x, *group.parameters], [self._found]
        )

    @torch.no_grad()
    def __call__(self) -> dict[str, Tensor]:
        start = 0
        for chunk in self._chunks:
            size = chunk.shape[1]
            self._x[:, :size] = chunk
            self._replay()
            self._logits[:, :, start : start + size] = self._found[:, :, :size]
            start += size
        measured: dict[str, Tensor] = {}
        parts = self._logits.split([targets.shape[1] for targets in self._targets.values()], dim=-1)
        for (split, targets), logits in zip(self._targets.items(), parts, strict=True):
            each = nn.functional.cross_entropy(logits, targets, reduction="none")  # (m, n)
            right = (logits[:, 1] > logits[:, 0]) == targets
            measured[f"{split}_loss"] = each.mean(1, dtype=torch.float64)
            measured[f"{split}_accuracy"] = right.mean(1, dtype=torch.float64)
        return measured
