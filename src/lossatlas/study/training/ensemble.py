"""Training a group of networks at once: every parameter is a stack of the members' own."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR

from lossatlas.loss.loss import Loss
from lossatlas.loss.metrics import accuracy
from lossatlas.parameters.layout import Layout
from lossatlas.random_streams import stream
from lossatlas.study import models
from lossatlas.study.config import Run, Training
from lossatlas.study.datasets import Task
from lossatlas.study.training.stacked import Evaluation, Gradient, Group

CRITERION = nn.functional.cross_entropy
METRICS = {"accuracy": accuracy}


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
    history: tuple[Epoch, ...]  # up to the last epoch of its training, or the first that is not finite
    checkpoints: dict[int, Tensor]  # epoch -> θ (P,), with epoch 0 and the last one of its training

    @property
    def diverged(self) -> bool:
        return not self.history[-1].finite


def losses_of(model: nn.Module, task: Task) -> dict[str, Loss]:
    """Cross-entropy and accuracy of a model on both splits."""
    return {
        split: Loss.of(model, data, CRITERION, metrics=METRICS)
        for split, data in (("train", task.train), ("test", task.test))
    }


def train_group(runs: Sequence[Run], tasks: Mapping[int, Task], settings: Training) -> list[Trained]:
    """Train runs of one architecture, activation and data set at once; one result for each, in their order.

    Every member has its own initialization and order of batches, keyed by its data seed and seed alone, its own
    optimizer state and weight decay: it becomes what it would have become alone, up to the rounding of stacked matrix
    products. A member whose loss stops being finite, or falls to `until_loss`, is done, and the others go on.

    Args:
        runs: the members.
        tasks: the draws of their data, by data seed.
        settings: of the training.
    """
    runs = list(runs)
    if len({run.group for run in runs}) != 1:
        raise ValueError(f"wanted runs of one group, got {sorted({run.group for run in runs})}")
    order = sorted(range(len(runs)), key=lambda i: (runs[i].optimizer, runs[i].weight_decay))
    members = [runs[i] for i in order]  # those of one optimizer are neighbours: a block of rows
    own = [tasks[run.data_seed] for run in members]
    model = models.build(members[0].architecture, members[0].activation, own[0].dimension)
    layout = Layout.of(model)

    stack = torch.stack([_initial(model, layout, run) for run in members])  # (m, P)
    group = Group(model, layout, stack)
    inputs, targets = (torch.stack([task.train[part] for task in own]) for part in (0, 1))  # (m, n, d), (m, n)
    examples, member = targets.shape[1], torch.arange(len(members))[:, None]
    step = Gradient(group, inputs, min(settings.batch_size, examples))
    evaluation = Evaluation(group, own)
    optimizers = _optimizers(members, group, settings)
    schedulers = [StepLR(optimizer, settings.step_size, settings.decay_factor) for optimizer in optimizers]
    batches = {_key(run): stream(*_key(run), "batches") for run in members}

    kept = _checkpoint_epochs(settings.epochs, settings.checkpoints)
    progress = [_Member(run, stack[row]) for row, run in enumerate(members)]
    for one, epoch in zip(progress, _epochs(0, members, evaluation(), optimizers), strict=True):
        one.add(epoch, settings.until_loss)
    for number in range(1, settings.epochs + 1):
        drawn = {key: torch.randperm(examples, generator=generator) for key, generator in batches.items()}
        shuffled = torch.stack([drawn[_key(run)] for run in members])  # (m, n)
        x, y = inputs[member, shuffled], targets[member, shuffled]  # (m, n, d), (m, n)
        for start in range(0, examples, settings.batch_size):
            batch = slice(start, start + settings.batch_size)
            step(x[:, batch], y[:, batch])
            for optimizer in optimizers:
                optimizer.step()
        points = group.stack()
        for one, point in zip(progress, points, strict=True):
            one.reach(number, point, keep=number in kept)
        if number % settings.evaluate_every == 0 or number == settings.epochs:
            for one, epoch in zip(progress, _epochs(number, members, evaluation(), optimizers), strict=True):
                one.add(epoch, settings.until_loss)
        for scheduler in schedulers:
            scheduler.step()
        if all(one.done for one in progress):
            break
    trained = {position: progress[row].trained(layout) for row, position in enumerate(order)}
    return [trained[position] for position in range(len(runs))]


class _Member:
    """What is kept of one member on its way."""

    def __init__(self, run: Run, start: Tensor) -> None:
        self.run = run
        self.history: list[Epoch] = []
        self.checkpoints = {0: start}
        self._point = (0, start)  # the last epoch of its training, and θ there
        self.done = False  # its loss is low enough

    def reach(self, epoch: int, point: Tensor, *, keep: bool) -> None:
        """θ after an epoch; unless it was done before."""
        if not self.done:
            self._point = (epoch, point)
            if keep:
                self.checkpoints[epoch] = point

    def add(self, epoch: Epoch, until_loss: float | None) -> None:
        """What was measured after an epoch; nothing more after one that is not finite, or when it is done."""
        if not self.done and (not self.history or self.history[-1].finite):
            self.history.append(epoch)
            self.done = until_loss is not None and epoch.epoch > 0 and epoch.train_loss <= until_loss

    def trained(self, layout: Layout) -> Trained:
        points = self.checkpoints | dict([self._point])
        return Trained(self.run, layout, tuple(self.history), {epoch: theta.clone() for epoch, theta in points.items()})


def _key(run: Run) -> tuple[int, int]:
    """What a run's randomness is keyed by: on another draw of the data it is another network from the start."""
    return run.data_seed, run.seed


def _initial(model: nn.Module, layout: Layout, run: Run) -> Tensor:
    models.initialize(model, run.activation, stream(*_key(run), "initialization"))
    return layout.theta_of(model)


def _optimizers(members: list[Run], group: Group, settings: Training) -> list[torch.optim.Optimizer]:
    """One optimizer of each kind; its parameters and their gradients are rows of the group's own."""
    groups: dict[str, list[dict[str, object]]] = {}
    start = 0
    for (kind, weight_decay), block in itertools.groupby(members, lambda run: (run.optimizer, run.weight_decay)):
        stop = start + len(list(block))
        rows = [nn.Parameter(stacked[start:stop]) for stacked in group.parameters]
        for one, gradient in zip(rows, group.gradients, strict=True):
            one.grad = gradient[start:stop]
        groups.setdefault(kind, []).append({"params": rows, "weight_decay": weight_decay})
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


def _epochs(
    number: int, members: list[Run], measured: dict[str, Tensor], optimizers: list[torch.optim.Optimizer]
) -> list[Epoch]:
    rates = {type(optimizer).__name__.lower(): optimizer.param_groups[0]["lr"] for optimizer in optimizers}
    values = {name: of_all.tolist() for name, of_all in measured.items()}
    return [
        Epoch(
            epoch=number, learning_rate=rates[run.optimizer], **{name: of_all[row] for name, of_all in values.items()}
        )
        for row, run in enumerate(members)
    ]
