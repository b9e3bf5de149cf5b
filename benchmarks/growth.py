"""How the cost of lossatlas grows with parameters, examples, grid points and networks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

import lossatlas
from benchmarks.networks import CRITERION, moons, moons_study, train
from benchmarks.setting import Setting
from lossatlas import Loss
from lossatlas.numerics.lanczos import extremal_eigenpairs
from lossatlas.operators.hessian import Hessian
from lossatlas.study.datasets import draws
from lossatlas.study.models import build
from lossatlas.study.training.ensemble import train_group

REPEATS = 3  # of which the fastest counts
ENOUGH = 20.0  # seconds, after which no further repeat is made

WIDTHS = (50, 100, 200, 400, 800)  # of two hidden layers
EXAMPLES = (1024, 2048, 4096, 8192, 16384)
GRIDS = (13, 25, 51, 101, 201)  # points along each axis
NETWORKS = (2, 4, 8, 16, 32)


@dataclass
class Sweep:
    """Seconds of several pieces of work at growing sizes."""

    name: str
    unit: str
    sizes: list[float] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, size: float, work: dict[str, Callable[[], Any]]) -> None:
        self.sizes.append(size)
        for name, call in work.items():
            self.seconds.setdefault(name, []).append(fastest(call))


def fastest(call: Callable[[], Any]) -> float:
    """Seconds of the fastest of three calls, fewer where one takes long."""
    seconds: list[float] = []
    while len(seconds) < REPEATS and sum(seconds) < ENOUGH:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The exponent p of seconds ∝ sizeᵖ, by least squares on logarithms.

    >>> round(slope([1, 2, 4], [3, 12, 48]), 6)
    2.0
    """
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def measure(setting: Setting) -> list[dict[str, Any]]:
    """Every sweep, with the slope of each piece of work over all sizes and over the upper half of them."""
    return [
        {
            "sweep": sweep.name,
            "unit": sweep.unit,
            "sizes": sweep.sizes,
            "work": [
                {
                    "name": name,
                    "seconds": seconds,
                    "slope": slope(sweep.sizes, seconds),
                    "upper": slope(sweep.sizes[len(sweep.sizes) // 2 :], seconds[len(sweep.sizes) // 2 :])
                    if len(sweep.sizes) > 3
                    else None,
                }
                for name, seconds in sweep.seconds.items()
            ],
        }
        for sweep in _sweeps(setting)
    ]


def _sweeps(setting: Setting) -> Iterator[Sweep]:
    count, steps = setting.effort.sweep, setting.effort.steps
    parameters = Sweep("parameters", "parameters, of two hidden layers on 1,024 examples")
    for width in WIDTHS[:count]:
        loss = _loss(f"2x{width}", 1024)
        parameters.add(loss.layout.size, {**_surfaces(loss, steps), **_curvature(loss)})
    yield parameters

    examples = Sweep("examples", "examples, with 2x100")
    for number in EXAMPLES[:count]:
        loss = _loss("2x100", number)
        examples.add(number, {**_surfaces(loss, steps), **_curvature(loss)})
    yield examples

    grids = Sweep("grid", "points of a surface, with 2x100 on 1,024 examples")
    loss = _loss("2x100", 1024)
    for side in GRIDS[:count]:
        grids.add(side**2, _surfaces(loss, side))
    yield grids

    networks = Sweep("networks", "networks of a group of 2x100")
    for members in NETWORKS[:count]:
        networks.add(members, {"training a group, an epoch": lambda members=members: _group(members)})
    yield networks


def _loss(architecture: str, examples: int) -> Loss:
    data = moons(examples)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(architecture, "relu", 2)
        train(model, data, rate=0.01, steps=200)
    return Loss.of(model.eval(), data, CRITERION)


def _surfaces(loss: Loss, steps: int) -> dict[str, Callable[[], Any]]:
    def surface(exact: bool) -> None:
        generator = torch.Generator().manual_seed(0)
        lossatlas.random_plane(loss, loss.theta, generator=generator, steps=steps, exact=exact)

    return {"surface": lambda: surface(False), "surface, exact=True": lambda: surface(True)}


def _curvature(loss: Loss) -> dict[str, Callable[[], Any]]:
    def largest() -> None:
        generator = torch.Generator().manual_seed(0)
        extremal_eigenpairs(Hessian(loss, loss.theta), loss.layout.size, largest=10, generator=generator)

    return {"ten largest eigenvalues": largest}


def _group(members: int) -> None:
    study = moons_study()
    study = study.model_copy(
        update={
            "model": study.model.model_copy(update={"architectures": ("2x100",), "activations": ("relu",)}),
            "training": study.training.model_copy(
                update={"seeds": tuple(range(members // 2)), "epochs": 1, "evaluate_every": 1}
            ),
        }
    )
    train_group(list(study.runs()), draws("moons", study.data), study.training)
