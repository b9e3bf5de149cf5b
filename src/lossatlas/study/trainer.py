"""Training a group of networks at once: their parameters are the rows of one matrix."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.optim.lr_scheduler import StepLR

from lossatlas.loss import Loss, accuracy
from lossatlas.parameters import Layout
from lossatlas.random_streams import stream
from lossatlas.study import models
from lossatlas.study.config import Run, Training
from lossatlas.study.datasets import Task

CRITERION = nn.functional.cross_entropy
METRICS = {"accuracy": accuracy}
Step = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Epoch:
    """One line of a run's history, after an epoch; epoch 0 is initialization."""

    epoch: int
    learning_rate: float
    train_loss: float
    test_loss: float
    train_accuracy: float
    test_accuracy: float

    @property
    def finite(self) -> bool:
        # Accuracy of NaN logits is a number: the losses alone tell.
        return self.train_loss - self.train_loss == 0 and self.test_loss - self.test_loss == 0


@dataclass(frozen=True)
class Trained:
    """What one member of a group became."""

    run: Run
    layout: Layout
    history: tuple[Epoch, ...]  # up to and including the first epoch that is not finite
    checkpoints: dict[int, Tensor]  # epoch -> θ (P,), with epoch 0 and the last one

    @property
    def diverged(self) -> bool:
        return not self.history[-1].finite


def losses_of(model: nn.Module, task: Task) -> dict[str, Loss]:
    """Cross-entropy and accuracy of a model on both splits."""
    return {
        split: Loss.of(model, data, CRITERION, metrics=METRICS)
        for split, data in (("train", task.train), ("test", task.test))
    }


def train_group(runs: Sequence[Run], task: Task, settings: Training) -> list[Trained]:
    """Train runs of one architecture, activation and data set at once; one result for each, in their order.

    Every member has its own initialization and order of batches, keyed by its seed alone, its own optimizer state
    and weight decay: it becomes what it would have become alone, up to the rounding of stacked matrix products.
    A member whose loss stops being finite is left as it is, and the others go on.
    """
    runs = list(runs)
    if len({run.group for run in runs}) != 1:
        raise ValueError(f"wanted runs of one group, got {sorted({run.group for run in runs})}")
    order = sorted(range(len(runs)), key=lambda i: (runs[i].optimizer, runs[i].weight_decay))
    members = [runs[i] for i in order]  # those of one optimizer are neighbours: its state is one matrix
    model = models.build(members[0].architecture, members[0].activation, task.dimension)
    losses = losses_of(model, task)
    layout = losses["train"].layout

    stack = torch.stack([_initial(model, layout, run) for run in members])  # (m, P)
    gradient = torch.zeros_like(stack)
    optimizers = _optimizers(members, stack, gradient, settings)
    schedulers = [StepLR(optimizer, settings.step_size, settings.decay_factor) for optimizer in optimizers]
    batches = {run.seed: stream(run.seed, "batches") for run in members}
    inputs, targets = task.train
    step = _Gradient(model, layout)

    kept = _checkpoint_epochs(settings.epochs, settings.checkpoints)
    histories: list[list[Epoch]] = [[epoch] for epoch in _evaluate(0, members, stack, losses, optimizers)]
    checkpoints = {0: stack.clone()}
    for number in range(1, settings.epochs + 1):
        drawn = {seed: torch.randperm(len(inputs), generator=generator) for seed, generator in batches.items()}
        shuffled = torch.stack([drawn[run.seed] for run in members])  # (m, n)
        x, y = inputs[shuffled], targets[shuffled]  # (m, n, d), (m, n)
        for start in range(0, len(inputs), settings.batch_size):
            batch = slice(start, start + settings.batch_size)
            gradient.copy_(step(stack, x[:, batch], y[:, batch]))
            for optimizer in optimizers:
                optimizer.step()
        if number % settings.evaluate_every == 0 or number == settings.epochs:
            for history, epoch in zip(histories, _evaluate(number, members, stack, losses, optimizers), strict=True):
                if history[-1].finite:
                    history.append(epoch)
        for scheduler in schedulers:
            scheduler.step()
        if number in kept:
            checkpoints[number] = stack.clone()

    trained = {
        position: Trained(
            members[row],
            layout,
            tuple(histories[row]),
            {epoch: points[row].clone() for epoch, points in checkpoints.items()},
        )
        for row, position in enumerate(order)
    }
    return [trained[position] for position in range(len(runs))]


class _Gradient:
    """(m, P), (m, b, d), (m, b) -> the gradient of every member's batch loss, (m, P).

    The vectorised gradient is traced once for each batch shape into a flat list of tensor operations, and what does
    nothing is struck out: replaying it costs less than half of what `vmap` costs on small networks.
    """

    def __init__(self, model: nn.Module, layout: Layout) -> None:
        def loss(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
            return CRITERION(functional_call(model, layout.unflatten(theta), (x,)), y)

        self._gradient = vmap(grad_and_value(loss))
        self._traced: dict[torch.Size, Step] = {}

    def __call__(self, stack: Tensor, x: Tensor, y: Tensor) -> Tensor:
        if x.shape not in self._traced:
            self._traced[x.shape] = _without_idle_steps(make_fx(lambda *args: self._gradient(*args)[0])(stack, x, y))
        return self._traced[x.shape](stack, x, y)


def _without_idle_steps(traced: GraphModule) -> GraphModule:
    """The same computation without views and expansions to the shape that is there, and products with 1."""
    same_shape = (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default, torch.ops.aten.expand.default)
    for node in list(traced.graph.nodes):
        if node.op != "call_function":
            continue
        source = node.args[0]
        idle = node.target in same_shape and _shape(node) == _shape(source)
        if idle or (node.target is torch.ops.aten.mul.Scalar and node.args[1] == 1):
            node.replace_all_uses_with(source)
            traced.graph.erase_node(node)
    traced.recompile()
    return traced


def _shape(node: Node) -> torch.Size | None:
    meta = node.meta.get("tensor_meta")
    return meta.shape if meta is not None else None


def _initial(model: nn.Module, layout: Layout, run: Run) -> Tensor:
    models.initialize(model, run.activation, stream(run.seed, "initialization"))
    return layout.theta_of(model)


def _optimizers(members: list[Run], stack: Tensor, gradient: Tensor, settings: Training) -> list[torch.optim.Optimizer]:
    """One optimizer of each kind; its parameters and their gradients are rows of the two matrices themselves."""
    groups: dict[str, list[dict[str, object]]] = {}
    start = 0
    for (kind, weight_decay), block in itertools.groupby(members, lambda run: (run.optimizer, run.weight_decay)):
        stop = start + len(list(block))
        rows = nn.Parameter(stack[start:stop])
        rows.grad = gradient[start:stop]
        groups.setdefault(kind, []).append({"params": [rows], "weight_decay": weight_decay})
        start = stop
    optimizers: list[torch.optim.Optimizer] = []
    if "adam" in groups:
        optimizers.append(torch.optim.Adam(groups["adam"], lr=settings.adam_learning_rate, fused=True))
    if "sgd" in groups:
        optimizers.append(
            torch.optim.SGD(groups["sgd"], lr=settings.sgd_learning_rate, momentum=settings.momentum, fused=True)
        )
    return optimizers


def _checkpoint_epochs(epochs: int, between: int) -> set[int]:
    """`between` epochs evenly spaced from the first to the last but one, and the last."""
    return {round(epochs * k / (between + 1)) for k in range(1, between + 2)} - {0}


def _evaluate(
    number: int,
    members: list[Run],
    stack: Tensor,
    losses: dict[str, Loss],
    optimizers: list[torch.optim.Optimizer],
) -> list[Epoch]:
    values = {split: loss.evaluate(stack) for split, loss in losses.items()}
    rates = {type(optimizer).__name__.lower(): optimizer.param_groups[0]["lr"] for optimizer in optimizers}
    return [
        Epoch(
            epoch=number,
            learning_rate=rates[run.optimizer],
            train_loss=float(values["train"]["loss"][row]),
            test_loss=float(values["test"]["loss"][row]),
            train_accuracy=float(values["train"]["accuracy"][row]),
            test_accuracy=float(values["test"]["accuracy"][row]),
        )
        for row, run in enumerate(members)
    ]
