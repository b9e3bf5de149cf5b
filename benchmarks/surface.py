"""Table 1: a filter-normalised random surface of the training loss."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

import lossatlas
from benchmarks import peers
from benchmarks.networks import Problem
from benchmarks.setting import Setting
from benchmarks.table import Table, Values
from benchmarks.timing import Outcome, Timed, Tool
from lossatlas.parameters.curves import Affine
from lossatlas.parameters.directions import random_directions

OURS, EXACT = "lossatlas", "lossatlas, exact=True"
LOSS_LANDSCAPES, LANDSCAPER = "loss-landscapes", "landscaper"
LARGE = ("10M", "2x100 many", "4x250 many")  # a dense surface takes minutes
SEED = 0


def cases(setting: Setting) -> Sequence[str]:
    return ("1x50",) if setting.effort.quick else ("1x50", "2x100", "4x250", "ResNet", *LARGE)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


def tools(case: str, setting: Setting) -> dict[str, Tool]:
    problem, effort = setting.problem(case), setting.effort
    large = case in LARGE
    side = int(effort.part**0.5)
    every = effort.steps**2 // effort.part

    def ours(exact: bool, steps: int) -> Outcome:
        loss = problem.loss()
        result = lossatlas.random_plane(loss, loss.theta, generator=generator(), steps=steps, exact=exact)
        return Outcome(result, result.attrs["evaluations"])

    def loss_landscapes() -> Outcome:
        if large:
            seconds = peers.loss_landscapes_seconds(problem, effort.steps, effort.part)
            return Outcome(None, effort.steps**2, seconds)
        return Outcome(peers.loss_landscapes_plane(problem, effort.steps, SEED), effort.steps**2)

    def landscaper() -> Outcome:
        loss = problem.loss()
        directions = random_directions(loss.layout, loss.theta, 2, generator=generator())
        return Outcome(peers.landscaper_plane(problem, directions, effort.steps), effort.steps**2)

    def part_of_landscaper() -> Outcome:
        loss = problem.loss()
        directions = random_directions(loss.layout, loss.theta, 2, generator=generator())
        visited = len(range(0, effort.steps**2, every))
        start = time.perf_counter()
        peers.landscaper_plane(problem, directions, effort.steps, every)
        seconds = time.perf_counter() - start
        return Outcome(None, effort.steps**2, seconds * effort.steps**2 / visited)

    partly = f"timed on {side**2} points and scaled up" if large else ""
    found = {
        OURS: Tool(lambda: ours(False, effort.steps)),
        EXACT: Tool(
            lambda: ours(True, effort.steps), rival=False, once=large,
            weigh=(lambda: ours(True, side)) if large else None,
        ),
        LOSS_LANDSCAPES: Tool(loss_landscapes, partly),
    }  # fmt: skip
    if peers.installed(LANDSCAPER):  # it needs compiled packages that not every system has
        found[LANDSCAPER] = Tool(part_of_landscaper if large else landscaper, partly)
    return found


def judge(case: str, setting: Setting, timed: Mapping[str, Timed]) -> dict[str, Values]:
    """Largest errors relative to the range: of ours at the nodes of the dense surface, of the peers at the points that
    they say they measured, on a smaller grid where the whole takes minutes."""
    problem, effort = setting.problem(case), setting.effort
    side = int(effort.part**0.5) if case in LARGE else effort.steps
    dense = timed[EXACT].outcome.value.loss.values
    found = timed[OURS].outcome.value
    judged: dict[str, Values] = {
        OURS: {
            "error": relative(found.loss.values, dense),
            "stated": float(found.loss_error.max()) / float(np.ptp(dense)),
        },
        EXACT: {"error": 0.0, "stated": 0.0},
        LOSS_LANDSCAPES: {"error": error_of_loss_landscapes(problem, side)},
    }
    if LANDSCAPER in timed:
        judged[LANDSCAPER] = {"error": error_of_landscaper(problem, side)}
    return judged


def relative(values: np.ndarray, truth: np.ndarray) -> float:
    """Largest deviation relative to the range of the truth."""
    return float(np.abs(values - truth).max() / np.ptp(truth))


def error_of_loss_landscapes(problem: Problem, steps: int) -> float:
    directions, axis = peers.loss_landscapes_claim(problem, steps, SEED)
    return relative(peers.loss_landscapes_plane(problem, steps, SEED), dense_plane(problem, directions, axis))


def error_of_landscaper(problem: Problem, steps: int) -> float:
    loss = problem.loss()
    directions = random_directions(loss.layout, loss.theta, 2, generator=generator())
    values, axis = peers.landscaper_plane(problem, directions, steps)
    claimed = peers.landscaper_directions(problem, directions)
    return relative(values, dense_plane(problem, claimed, torch.from_numpy(axis)))


def dense_plane(problem: Problem, directions: Tensor, axis: Tensor) -> np.ndarray:
    """The loss at θ + a d₁ + b d₂ for a and b on the axis, `(n, n)`."""
    loss = problem.loss()
    coordinates = torch.cartesian_prod(axis.double(), axis.double())
    values = loss.evaluate(Affine(loss.theta, directions, coordinates))["loss"]
    return values.reshape(len(axis), len(axis)).numpy()


TABLE = Table(
    name="surface",
    title="A surface of the training loss",
    text=(
        "A random plane of {steps}x{steps} points with filter-normalised directions, from the trained network to the "
        "finished array. lossatlas measures the nodes that its error estimate asks for, and states that error; with "
        "`exact=True` it measures all, as the others do. The error is the largest deviation relative to the range of "
        "the surface: for lossatlas from the dense surface of the same directions, for the others, which draw or "
        "scale their directions in their own way, from the loss at the points that they say they measured "
        "(loss-landscapes has every other row one cell off, landscaper's axes are a step longer than its steps)."
    ),
    columns={"error": "error / range", "stated": "error stated"},
    cases=cases,
    label=lambda case, setting: setting.problem(case).label,
    tools=tools,
    judge=judge,
)
