"""How long work will take, from the time of a few evaluations and products before it starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from lossatlas.loss.few_examples import glimpse
from lossatlas.operators.hessian import Hessian
from lossatlas.probes.probe import Cost, Subject
from lossatlas.probes.survey import sampled_share

SHORT = 0.05  # seconds: shorter timings are repeated
MOST = 20  # repetitions


@dataclass(frozen=True)
class Times:
    """Seconds of one evaluation of the loss, of one product of the Hessian with a vector, and of one evaluation on a
    sample of the examples, all splits together.
    """

    evaluation: float = 0.0
    product: float = 0.0
    sampled: float = 0.0

    def seconds(self, cost: Cost) -> float:
        evaluation = self.sampled if cost.sampled else self.evaluation
        return cost.evaluations * evaluation + cost.products * self.product


def measure_times(subject: Subject, costs: Iterable[Cost]) -> Times:
    """Time one chunk of points, and a few products where any are wanted, on every split.

    Of a loss that takes long, on a few of its examples.

    Args:
        subject: whose losses are timed, at its own weights.
        costs: what is to be done: nothing is timed that none of them takes.
    """
    costs = list(costs)
    evaluation = sampled = product = 0.0
    for whole in subject.losses.values():
        loss = glimpse(whole)
        share = whole.examples / loss.examples
        points = subject.theta.expand(loss.chunk, -1)
        if any(cost.evaluations for cost in costs):
            took = share * seconds_of(lambda loss=loss, points=points: loss.evaluate(points)) / len(points)
            evaluation += took
            sampled += took * sampled_share(whole)
        if any(cost.products for cost in costs):
            # Most products of every probe are done in this precision, those in float64 check what was found.
            dtype = subject.sampled_dtype or loss.dtype
            hessian = Hessian(loss if loss.dtype is dtype else loss.to(dtype), subject.theta)
            vector = torch.ones_like(subject.theta)[None]
            product += share * seconds_of(lambda hessian=hessian, vector=vector: hessian(vector))
    return Times(evaluation, product, sampled)


def seconds_of(work: Callable[[], object]) -> float:
    """Of one call, after one that does what only the first call does."""
    work()
    start, calls = time.perf_counter(), 0
    while calls < MOST and (not calls or time.perf_counter() - start < SHORT):
        work()
        calls += 1
    return (time.perf_counter() - start) / calls
