"""Jobs, what they cost, and running them on a back-end: worker processes, or this process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lossatlas.execution.progress import Progress


@dataclass(frozen=True)
class Job:
    """A call that a back-end makes; it returns seconds by the name of what took them."""

    work: Callable[..., Mapping[str, float]]
    arguments: tuple[Any, ...]
    cost: float  # seconds, about; the costliest start first, and progress is measured in it


class Backend(Protocol):
    def run(self, jobs: Sequence[Job], tick: Callable[[float], None]) -> Iterator[tuple[Job, Mapping[str, float]]]:
        """Do every job, and give each with what it returned as soon as it is done.

        Args:
            jobs: in the order in which they are to start.
            tick: to be called with seconds of cost that are behind of a job that still runs, where that is known.
        """
        ...


class EvaluatedPoints:
    """What watched losses report to: it passes points on to whoever listens just now."""

    def __init__(self) -> None:
        self.listener: Callable[[int], None] = lambda count: None

    def __call__(self, count: int) -> None:
        self.listener(count)


class ThisProcess:
    """One job after the other, here: for what cannot be handed to another process, as somebody's own model.

    Args:
        evaluated: what the losses of the jobs report to.
        seconds: of the evaluation of a point.
    """

    def __init__(self, evaluated: EvaluatedPoints, seconds: float) -> None:
        self._evaluated, self._seconds = evaluated, seconds

    def run(self, jobs: Sequence[Job], tick: Callable[[float], None]) -> Iterator[tuple[Job, Mapping[str, float]]]:
        for job in jobs:
            left = job.cost

            def listen(count: int) -> None:
                nonlocal left
                behind = min(count * self._seconds, left)
                left -= behind
                tick(behind)

            self._evaluated.listener = listen
            yield job, job.work(*job.arguments)


def run_jobs(backend: Backend, jobs: Iterable[Job], progress: Progress, stage: str) -> Counter[str]:
    """Run every job, the costliest first; returns seconds by name. The first exception of a job ends the stage.

    Raises what a job raises, and WorkersDied where a worker process dies.
    """
    queue = sorted(jobs, key=lambda job: -job.cost)
    seconds: Counter[str] = Counter()
    if not queue:
        return seconds
    with progress.stage(stage, len(queue), sum(job.cost for job in queue)) as advance:
        ahead = 0.0  # cost of jobs that still run

        def tick(cost: float) -> None:
            nonlocal ahead
            ahead += cost
            advance(cost, 0)

        for job, took in backend.run(queue, tick):
            seconds.update(took)
            advance(job.cost - ahead)
            ahead = 0.0
    return seconds
