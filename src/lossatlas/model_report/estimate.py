"""How long the work will take, from the time of a few evaluations and products."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from lossatlas.model_report.measurements import Measurement, Subject
from lossatlas.operators.hessian import Hessian

SHORT = 0.05  # seconds: shorter timings are repeated
MOST = 20  # repetitions


@dataclass(frozen=True)
class Costs:
    """Seconds of one evaluation of the loss and of one product of the Hessian with a vector, all splits together."""

    evaluation: float
    product: float

    def seconds(self, measurement: Measurement) -> float:
        return measurement.evaluations * self.evaluation + measurement.products * self.product


def measure_costs(subject: Subject, wanted: Sequence[Measurement]) -> Costs:
    """Times one chunk of points, and a few products where any are wanted, on every split."""
    evaluation = product = 0.0
    for loss in subject.losses.values():
        points = subject.theta.expand(loss.chunk, -1)
        if any(measurement.evaluations for measurement in wanted):
            evaluation += _seconds(lambda loss=loss, points=points: loss.evaluate(points)) / len(points)
        if any(measurement.products for measurement in wanted):
            # Most products of every probe are done in this precision, those in float64 check what was found.
            dtype = subject.sampled_dtype or loss.dtype
            hessian = Hessian(loss if loss.dtype is dtype else loss.to(dtype), subject.theta)
            vector = torch.ones_like(subject.theta)[None]
            product += _seconds(lambda hessian=hessian, vector=vector: hessian(vector))
    return Costs(evaluation, product)


def _seconds(work: Callable[[], object]) -> float:
    """Of one call, after one that does what only the first call does."""
    work()
    start, calls = time.perf_counter(), 0
    while calls < MOST and (not calls or time.perf_counter() - start < SHORT):
        work()
        calls += 1
    return (time.perf_counter() - start) / calls
