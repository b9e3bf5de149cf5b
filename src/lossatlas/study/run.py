"""A whole study: train, measure, draw, report; each stage does only what its store still lacks."""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lossatlas.execution.jobs import Job
from lossatlas.execution.processes import run_jobs, start_workers
from lossatlas.execution.progress import Progress
from lossatlas.study import figures as draw
from lossatlas.study import subjects as measure
from lossatlas.study.analysis import tables
from lossatlas.study.config import Run, Study
from lossatlas.study.models import parse_architecture
from lossatlas.study.report import summary
from lossatlas.study.report.write import write_report
from lossatlas.study.store import Store, claim, open_store
from lossatlas.study.training.stage import train_runs, versions


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
        try:
            yield
        finally:
            self.wall[name] = time.perf_counter() - start

    @property
    def peak_memory(self) -> int:
        """Bytes of the largest process so far: this one or a worker that has ended."""
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def run_study(
    study: Study,
    root: Path,
    *,
    figures: bool,
    workers: int,
    progress: Progress,
    formats: Sequence[draw.Format] = draw.PNG,
) -> Account:
    """Do a study in the folder `root`, or what is still missing of it. `formats` are those of the figures.

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
                _draw(store, pool, account, progress, formats)
        _write_tables(store, account, pages=figures)
        return _closed(account)


def report_study(root: Path, *, workers: int, progress: Progress, formats: Sequence[draw.Format] = draw.PNG) -> Account:
    """Tables, figures and pages again, from the store alone."""
    with claim(root, open_store(root).study, None) as store:
        account = Account(store)
        with start_workers(workers) as pool:
            _draw(store, pool, account, progress, formats)
        _write_tables(store, account, pages=True)
        return _closed(account)


def _draw(
    store: Store,
    pool: ProcessPoolExecutor,
    account: Account,
    progress: Progress,
    formats: Sequence[draw.Format],
) -> None:
    with account.stage("figures"):
        account.worked += run_jobs(pool, _drawing_jobs(store, formats), progress, "figures")


def _write_tables(store: Store, account: Account, *, pages: bool) -> None:
    with account.stage("tables"):
        written = tables.write_tables(store)
    if pages:
        with account.stage("report"):
            summary.write_pages(store, written)
            write_report(store, written)


def _closed(account: Account) -> Account:
    store = account.store
    account.diverged = [run for run in store.study.all_runs() if store.trained(run) and store.diverged(run)]
    account.failures = store.all_failures()
    return account


def _training_jobs(store: Store) -> Iterator[Job]:
    """A job for every group of which a member is missing: groups are trained, and trained again, as a whole."""
    for runs in _grouped(store.study.all_runs(), lambda run: run.group):
        if not all(store.trained(run) for run in runs):
            yield Job(train_runs, (store, runs), sum(map(_work, runs)))


def _measuring_jobs(store: Store) -> Iterator[Job]:
    study = store.study
    for run in store.converged(study.all_runs()):
        if measure.missing_probes(store, run):
            yield Job(measure.measure_run, (store, run), _work(run))
    for runs in _connected(store):
        if not (store.pair_folder(runs[0], runs[1]).parent / "barriers.json").is_file():
            yield Job(measure.connect_runs, (store, runs), 0.1 * len(runs) * _work(runs[0]))
    for runs in _regularized(store):
        if not all(map(Path.is_file, draw.regularization_results(store, runs[0]))):
            yield Job(measure.compare_weight_decays, (store, runs), 0.5 * len(runs) * _work(runs[0]))


def _drawing_jobs(store: Store, formats: Sequence[draw.Format]) -> Iterator[Job]:
    drawn = set(store.study.runs())  # of those that only the regularization study has there are surfaces that turn
    for run in store.converged(store.study.all_runs()):
        folders = draw.stale_figures(store, run, formats) if run in drawn else []
        if folders or draw.stale_planes(store, run):
            yield Job(draw.draw_run, (store, run, folders, formats), 0.3 + len(folders))
    for runs in _connected(store):
        if pairs := draw.stale_pairs(store, runs, formats):
            yield Job(draw.draw_pairs, (store, runs, formats), 0.5 * len(pairs))
    for runs in _regularized(store):
        if draw.stale_regularization(store, runs[0], formats):
            yield Job(draw.draw_regularization, (store, runs[0], formats), 2.0)


def _grouped(runs: Iterable[Run], key: Callable[[Run], Hashable]) -> list[list[Run]]:
    """Runs of equal key together, in the order in which the keys first come."""
    groups: dict[Hashable, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return list(groups.values())


def _connected(store: Store) -> list[list[Run]]:
    """Runs between which paths are measured: those that differ in their seed only, or in their optimizer only."""
    if "connectivity" not in store.study.probes.run:
        return []
    usable = store.converged(store.study.runs())
    groups = _grouped(usable, lambda run: run.configuration)
    if store.study.probes.connectivity.between_optimizers:
        groups += _grouped(usable, lambda run: (*run.group, run.weight_decay, run.seed))
    return [runs for runs in groups if len(runs) > 1]


def _regularized(store: Store) -> list[list[Run]]:
    """Runs that differ in their weight decay and seed only; a seed of which a network diverged is left out."""
    by_seed = _grouped(store.study.regularization_runs(), lambda run: (*run.group, run.optimizer, run.seed))
    whole = [run for runs in by_seed if store.converged(runs) == runs for run in runs]
    return _grouped(whole, lambda run: (*run.group, run.optimizer))


def _work(run: Run) -> float:
    """Relative cost of one forward pass: what grows with the network, and what does not."""
    kind, depth, width = parse_architecture(run.architecture)
    products = depth * width**2 * {"mlp": 1, "res": 2, "conv": 50}[kind]
    return 2e4 + 20 * depth * width + products
