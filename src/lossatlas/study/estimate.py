"""What a study will take, before it starts: a few evaluations, products and epochs are timed for each architecture.

Times are those of one thread, as workers have it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from lossatlas.execution.estimate import Times, measure_times
from lossatlas.probes.probe import Cost, Probe, Subject
from lossatlas.study.config import Run
from lossatlas.study.datasets import draws, make_task
from lossatlas.study.store import Store
from lossatlas.study.subjects import example
from lossatlas.study.training.ensemble import train_group

FIGURE_SECONDS = 0.25  # of one result's figures, about: 700 of the moons study took two workers 78 s (Xeon)
TILE_SECONDS = 0.15  # of reading a plane and drawing its small map twice, about
EPOCHS = (1, 3)  # of training that are timed: the difference is without what only the first epoch does


class StudyEstimate:
    """Seconds of the jobs of a study, of one thread. What was timed once is not timed again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._examples: dict[tuple[str, str], Subject] = {}
        self._times: dict[tuple[str, int], Times] = {}  # by architecture and dimension of the data
        self._epochs: dict[tuple[str, int], float] = {}  # seconds of an epoch of one network in a group

    def training(self, runs: Sequence[Run]) -> float:
        """Of a group of runs that train together."""
        return self._store.study.training.epochs * self._epoch(runs[0]) * len(runs)

    def run(self, run: Run, probes: Sequence[Probe]) -> float:
        """Of these probes around one network, or of one pair or family of such networks."""
        subject, study = self._example(run), self._store.study
        costs = [probe.cost(subject, study.settings_of(run, probe)) for probe in probes]
        return sum(self._times_of(run).seconds(cost) for cost in costs)

    def pairs(self, runs: Sequence[Run]) -> float:
        """Of what is measured between every two of these runs."""
        return len(runs) * (len(runs) - 1) / 2 * self.run(runs[0], self._store.study.probes_of(runs[0], "pair"))

    def family(self, runs: Sequence[Run]) -> float:
        """Of what is measured over the weight decays of a configuration."""
        seeds = len({run.seed for run in runs})
        return seeds * self.run(runs[0], self._store.study.probes_of(runs[0], "family"))

    def _dimension(self, run: Run) -> int:
        return make_task(run.dataset, self._store.study.data, run.data_seed).dimension

    def _example(self, run: Run) -> Subject:
        key = (run.dataset, run.architecture)
        if key not in self._examples:
            self._examples[key] = example(self._store, run)
        return self._examples[key]

    def _times_of(self, run: Run) -> Times:
        subject = self._example(run)
        key = (run.architecture, self._dimension(run))
        if key not in self._times:
            with _one_thread():
                self._times[key] = measure_times(subject, [Cost(evaluations=1, products=1)])
        return self._times[key]

    def _epoch(self, run: Run) -> float:
        study = self._store.study
        key = (run.architecture, self._dimension(run))
        if key not in self._epochs:
            group = [one for one in study.all_runs() if one.group == run.group]
            tasks = draws(run.dataset, study.data)
            took = []
            for epochs in EPOCHS:
                start = time.perf_counter()
                with _one_thread():
                    train_group(group, tasks, study.training.model_copy(update={"epochs": epochs}))
                took.append(time.perf_counter() - start)
            more = (took[1] - took[0]) / (EPOCHS[1] - EPOCHS[0])  # of an epoch; noise may leave nothing of a short one
            self._epochs[key] = (more if more > 0 else took[1] / EPOCHS[1]) / len(group)
        return self._epochs[key]


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
