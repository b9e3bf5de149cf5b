"""How long work will take, from the time of a few evaluations and products before it starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from lossatlas.operators.hessian import Hessian
from lossatlas.probes.probe import Cost, Subject

SHORT = 0.05  # seconds: shorter timings are repeated
MOST = 20  # repetitions


@dataclass(frozen=True)
class Times:
    """Seconds of one evaluation of the loss and of one product of the Hessian with a vector, all splits together."""

    evaluation: float = 0.0
    product: float = 0.0

    def seconds(self, cost: Cost) -> float:
        return cost.evaluations * self.evaluation + cost.products * self.product


def measure_times(subject: Subject, costs: Iterable[Cost]) -> Times:
    """Time one chunk of points, and a few products where any are wanted, on every split.

    Args:
        subject: whose losses are timed, at its own weights.
        costs: what is to be done: nothing is timed that none of them takes.
    """
    costs = list(costs)
    evaluation = product = 0.0
    for loss in subject.losses.values():
        points = subject.theta.expand(loss.chunk, -1)
        if any(cost.evaluations for cost in costs):
            evaluation += seconds_of(lambda loss=loss, points=points: loss.evaluate(points)) / len(points)
        if any(cost.products for cost in costs):
            # Most products of every probe are done in this precision, those in float64 check what was found.
            dtype = subject.sampled_dtype or loss.dtype
            hessian = Hessian(loss if loss.dtype is dtype else loss.to(dtype), subject.theta)
            vector = torch.ones_like(subject.theta)[None]
            product += seconds_of(lambda hessian=hessian, vector=vector: hessian(vector))
    return Times(evaluation, product)


def seconds_of(work: Callable[[], object]) -> float:
    """Of one call, after one that does what only the first call does."""
    work()
    start, calls = time.perf_counter(), 0
    while calls < MOST and (not calls or time.perf_counter() - start < SHORT):
        work()
        calls += 1
    return (time.perf_counter() - start) / calls
