# pyright: reportCallIssue=false, reportArgumentType=false
"""The moons study as a competent user would write it with plain torch and scipy: one network after the other.

Per network: training with losses on all data after every epoch and twelve checkpoints; the loss and the accuracy of
both splits on the straight line from initialization to the end, along a random direction, on a random plane and on the
plane of the trajectory's two principal directions, filter-normalised where they are random; the ten largest Hessian
eigenvalues, the smallest and the trace of both splits in float64; 100 random perturbations; and the straight paths
between pairs of networks. The sizes are those of the study.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.optim.lr_scheduler import StepLR

from lossatlas.random_streams import stream
from lossatlas.study.config import Run, Study
from lossatlas.study.datasets import Task
from lossatlas.study.models import build, initialize

Values = np.ndarray  # (points, splits, 2): loss and accuracy
CRITERION = nn.functional.cross_entropy


@torch.no_grad()
def evaluate(model: nn.Module, points: Iterable[Tensor], task: Task) -> Values:
    """Loss and accuracy on both splits at every point θ `(P,)`, in the model itself."""
    values = []
    for point in points:
        vector_to_parameters(point, model.parameters())
        values.append(losses(model, task))
    return np.array(values)


@torch.no_grad()
def losses(model: nn.Module, task: Task) -> list[tuple[float, float]]:
    found = []
    for inputs, targets in (task.train, task.test):
        logits = model(inputs)
        found.append((CRITERION(logits, targets).item(), (logits.argmax(-1) == targets).float().mean().item()))
    return found


def begin(run: Run, task: Task, study: Study) -> tuple[nn.Module, torch.optim.Optimizer, StepLR]:
    """The network at its initialization, with what trains it."""
    settings = study.training
    model = build(run.architecture, run.activation, task.dimension)
    initialize(model, run.activation, stream(run.data_seed, run.seed, "initialization"))
    optimizer: torch.optim.Optimizer
    if run.optimizer == "adam":
        optimizer = torch.optim.Adam(model.parameters(), settings.adam_learning_rate, weight_decay=run.weight_decay)
    else:
        optimizer = torch.optim.SGD(
            model.parameters(), settings.sgd_learning_rate, settings.momentum, weight_decay=run.weight_decay
        )
    return model, optimizer, StepLR(optimizer, settings.step_size, settings.decay_factor)


def train(run: Run, task: Task, study: Study) -> tuple[nn.Module, list[Tensor]]:
    """The trained model and its checkpoints θ, the first and the last ones among them."""
    settings = study.training
    model, optimizer, schedule = begin(run, task, study)
    order = stream(run.data_seed, run.seed, "batches")
    keep = {round(settings.epochs * k / (settings.checkpoints + 1)) for k in range(1, settings.checkpoints + 2)}
    checkpoints = [parameters_to_vector(model.parameters()).detach().clone()]
    inputs, targets = task.train
    for epoch in range(1, settings.epochs + 1):
        for batch in torch.randperm(len(inputs), generator=order).split(settings.batch_size):
            optimizer.zero_grad()
            CRITERION(model(inputs[batch]), targets[batch]).backward()
            optimizer.step()
        losses(model, task)
        schedule.step()
        if epoch in keep:
            checkpoints.append(parameters_to_vector(model.parameters()).detach().clone())
    return model, checkpoints


def random_direction(model: nn.Module, generator: torch.Generator, *, by_filter: bool = True) -> Tensor:
    """A Gaussian direction `(P,)` with the norms of the model's filters and no biases, or with those of its tensors."""
    parts = []
    for weight in model.parameters():
        part = torch.randn(weight.shape, generator=generator)
        if by_filter and weight.ndim == 1:
            part = torch.zeros_like(part)
        elif by_filter:
            part = part * (weight.norm(dim=1, keepdim=True) / part.norm(dim=1, keepdim=True))
        else:
            part = part * (weight.norm() / part.norm())
        parts.append(part.detach().flatten())
    return torch.cat(parts)


def plane(
    model: nn.Module, origin: Tensor, axes: tuple[Tensor, Tensor], a: np.ndarray, b: np.ndarray, task: Task
) -> Values:
    """Values at origin + a axes₀ + b axes₁, `(a, b, splits, 2)`."""
    points = (origin + float(x) * axes[0] + float(y) * axes[1] for x in a for y in b)
    return evaluate(model, points, task).reshape(len(a), len(b), 2, 2)


def principal_axes(checkpoints: Sequence[Tensor]) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """The two leading directions of a trajectory about its end, orthonormal, and the path on them `(t, 2)`."""
    differences = torch.stack(list(checkpoints)) - checkpoints[-1]
    _, _, directions = torch.linalg.svd(differences, full_matrices=False)
    return (directions[0], directions[1]), differences @ directions[:2].T


def around(path: Tensor, steps: int, margin: float) -> np.ndarray:
    """An even axis over the path and a margin on both sides."""
    low, high = float(path.min()), float(path.max())
    return np.linspace(low - margin * (high - low), high + margin * (high - low), steps)


def spectrum(model: nn.Module, theta: Tensor, data: tuple[Tensor, Tensor], study: Study, seed: int) -> dict[str, Any]:
    """The largest eigenvalues and the smallest by ARPACK, and Hutchinson's trace, in float64.

    The graph of the gradient is built once and kept.
    """
    settings: Any = study.probes.settings("spectrum")
    vector_to_parameters(theta, model.parameters())
    model = model.double()
    parameters = list(model.parameters())
    loss = CRITERION(model(data[0].double()), data[1])
    gradient = parameters_to_vector(torch.autograd.grad(loss, parameters, create_graph=True))

    def product(vector: np.ndarray) -> np.ndarray:
        row = torch.from_numpy(vector.reshape(-1))
        return parameters_to_vector(torch.autograd.grad(gradient, parameters, row, retain_graph=True)).numpy()

    size = len(theta)
    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    rng = np.random.default_rng(seed)
    start = rng.standard_normal(size)
    largest = eigsh(operator, settings.k, which="LA", tol=settings.tol, v0=start, return_eigenvectors=False)
    smallest = eigsh(operator, 1, which="SA", tol=settings.tol, v0=start, return_eigenvectors=False)
    signs = rng.choice([-1.0, 1.0], (settings.samples, size))
    draws = [float(row @ product(row)) for row in signs]
    model.float()
    return {
        "eigenvalues": np.sort(largest)[::-1], "smallest": float(smallest[0]), "trace": float(np.mean(draws)),
        "trace_error": float(np.std(draws, ddof=1) / len(draws) ** 0.5),
    }  # fmt: skip


def network(run: Run, task: Task, study: Study) -> dict[str, Any]:
    """Everything about one network."""
    model, checkpoints = train(run, task, study)
    first, last = checkpoints[0], checkpoints[-1]
    probes: Any = study.probes  # a table of settings for each probe
    generator = torch.Generator().manual_seed(run.seed)

    found: dict[str, Any] = {"theta": last}
    along = np.linspace(0, 1, probes.interpolate.steps)
    found["interpolation"] = evaluate(model, (torch.lerp(first, last, float(a)) for a in along), task)

    def at_end() -> nn.Module:
        vector_to_parameters(last, model.parameters())
        return model

    line, random_plane = probes.random_line, probes.random_plane
    direction = random_direction(at_end(), generator)
    axis = np.linspace(-line.radius, line.radius, line.steps)
    found["line"] = evaluate(model, (last + float(a) * direction for a in axis), task)
    axes = random_direction(at_end(), generator), random_direction(at_end(), generator)
    axis = np.linspace(-random_plane.radius, random_plane.radius, random_plane.steps)
    found["plane"] = plane(model, last, axes, axis, axis, task)

    axes, path = principal_axes(checkpoints)
    spans = [around(path[:, k], probes.trajectory_plane.steps, probes.trajectory_plane.margin) for k in (0, 1)]
    found["trajectory"] = plane(model, last, axes, spans[0], spans[1], task)

    found["spectrum"] = [spectrum(model, last, data, study, run.seed) for data in (task.train, task.test)]

    sharpness = probes.epsilon_sharpness
    moves = (random_direction(at_end(), generator, by_filter=False) for _ in range(sharpness.samples))
    base = evaluate(model, [last], task)
    points = (last + sign * sharpness.radius * move for move in moves for sign in (1, -1))
    found["sharpness"] = (evaluate(model, points, task) - base)[..., 0].max(0)
    return found


def barrier(model: nn.Module, start: Tensor, end: Tensor, task: Task, study: Study) -> np.ndarray:
    """Height of the loss between two networks over the higher end, by split.

    As many points as the study takes for a path, those around the peaks among them.
    """
    settings: Any = study.probes.settings("linear_connectivity")
    steps = settings.steps + 8 * settings.refinements
    values = evaluate(model, (torch.lerp(start, end, float(a)) for a in np.linspace(0, 1, steps)), task)[..., 0]
    return values.max(0) - np.maximum(values[0], values[-1])


def pairs(runs: Sequence[Run]) -> list[tuple[Run, Run]]:
    """Networks on one draw of the data that differ in their seed only, or in their optimizer only."""
    return [
        (a, b)
        for number, a in enumerate(runs)
        for b in runs[number + 1 :]
        if (a.group, a.data_seed) == (b.group, b.data_seed) and (a.optimizer == b.optimizer) != (a.seed == b.seed)
    ]
