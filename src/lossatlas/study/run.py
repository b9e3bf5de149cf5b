"""A whole study: train, measure, draw, report; each stage does only what its store still lacks."""

from __future__ import annotations

import itertools
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lossatlas.study import draw, measure, summary, tables
from lossatlas.study.config import Run, Study, parse_architecture
from lossatlas.study.progress import Progress
from lossatlas.study.store import Store, claim, open_store
from lossatlas.study.train import train_runs, versions
from lossatlas.study.workers import Job, run_jobs, start_workers


@dataclass
class Account:
    """What the work took, and how it ended."""

    store: Store
    wall: dict[str, float] = field(default_factory=dict)  # seconds by stage
    worked: Counter[str] = field(default_factory=Counter)  # the workers' seconds by what they did
    diverged: list[Run] = field(default_factory=list)
    failures: dict[Path, dict[str, str]] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.wall[name] = time.perf_counter() - start

    @property
    def peak_memory(self) -> int:
        """Bytes of the largest process so far: this one or a worker that has ended."""
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def run_study(study: Study, root: Path, *, figures: bool, workers: int, progress: Progress) -> Account:
    """Do a study in the folder `root`, or what is still missing of it.

    Raises InputError for what cannot be used, WorkersDied when a worker is killed, OSError when the disk is full.
    """
    with claim(root, study, versions()) as store:
        store.check_checkpoints()
        account = Account(store)
        with start_workers(workers) as pool:
            with account.stage("train"):
                account.worked += run_jobs(pool, _training_jobs(store), progress, "training")
            with account.stage("probes"):
                account.worked += run_jobs(pool, _measuring_jobs(store), progress, "probes")
            if figures:
                _draw(store, pool, account, progress)
        _write_tables(store, account, pages=figures)
        return _closed(account)


def report_study(root: Path, *, workers: int, progress: Progress) -> Account:
    """Tables, figures and pages again, from the store alone."""
    there = open_store(root)
    with claim(root, there.study, versions()) as store:
        account = Account(store)
        with start_workers(workers) as pool:
            _draw(store, pool, account, progress)
        _write_tables(store, account, pages=True)
        return _closed(account)


def _draw(store: Store, pool: ProcessPoolExecutor, account: Account, progress: Progress) -> None:
    with account.stage("figures"):
        account.worked += run_jobs(pool, _drawing_jobs(store), progress, "figures")


def _write_tables(store: Store, account: Account, *, pages: bool) -> None:
    with account.stage("tables and pages" if pages else "tables"):
        written = tables.write_tables(store)
        if pages:
            summary.write_pages(store, written)


def _closed(account: Account) -> Account:
    store = account.store
    account.diverged = [run for run in store.study.runs() if store.trained(run) and store.diverged(run)]
    account.failures = store.all_failures()
    return account


def _training_jobs(store: Store) -> Iterator[Job]:
    """A job for every group of which a member is missing: groups are trained, and trained again, as a whole."""
    for _, group in itertools.groupby(store.study.runs(), key=lambda run: run.group):
        runs = list(group)
        if not all(store.trained(run) for run in runs):
            yield Job(train_runs, (store, runs), sum(map(_work, runs)))


def _measuring_jobs(store: Store) -> Iterator[Job]:
    usable = store.converged_runs()
    for run in usable:
        if measure.missing_probes(store, run):
            yield Job(measure.measure_run, (store, run), _work(run))
    if "connectivity" in store.study.probes.run:
        for runs in _configurations(usable):
            if len(runs) > 1 and not store.barriers_file(runs[0]).is_file():
                yield Job(measure.connect_runs, (store, runs), 0.1 * len(runs) * _work(runs[0]))


def _drawing_jobs(store: Store) -> Iterator[Job]:
    usable = store.converged_runs()
    for run in usable:
        if stale := draw.stale_figures(store, run):
            yield Job(draw.draw_run, (store, run), float(len(stale)))
    for runs in _configurations(usable):
        if stale_pairs := draw.stale_pairs(store, runs):
            yield Job(draw.draw_pairs, (store, runs), float(len(stale_pairs)))


def _configurations(runs: list[Run]) -> Iterator[list[Run]]:
    for _, members in itertools.groupby(runs, key=lambda run: run.configuration):
        yield list(members)


def _work(run: Run) -> float:
    """Relative cost of one forward pass: what grows with the network, and what does not."""
    depth, width = parse_architecture(run.architecture)
    return 2e4 + 20 * depth * width + (depth - 1) * width**2
