"""A whole study: train, measure, draw, report; each stage does only what its store still lacks."""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lossatlas.execution.drawing import PNG, Format, stale
from lossatlas.execution.jobs import Backend, Job, run_jobs
from lossatlas.execution.measuring import missing
from lossatlas.execution.processes import start_workers
from lossatlas.execution.progress import Progress
from lossatlas.study import figures as figures_of
from lossatlas.study import manifest, subjects
from lossatlas.study.analysis import tables
from lossatlas.study.atlas import Atlas, draw_atlas
from lossatlas.study.config import Run, Study
from lossatlas.study.estimate import FIGURE_SECONDS, TILE_SECONDS, StudyEstimate
from lossatlas.study.report.write import write_report
from lossatlas.study.site import planes
from lossatlas.study.site.site import Site
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
    formats: Sequence[Format] = PNG,
    announce: Callable[[Mapping[str, float]], None] = lambda seconds: None,
    repaired: Callable[[Sequence[Path]], None] | None = None,
) -> Account:
    """Do a study in the folder `root`, or what is still missing of it.

    Args:
        study: what to do.
        root: folder of the store; made where it is not there.
        figures: draw figures and write the report too.
        workers: processes that work at once.
        progress: where progress is shown.
        formats: those of the figures.
        announce: is told about how many seconds each stage will take, before the work; not where nothing is to be done.
        repaired: is told which files were damaged, are deleted and will be made anew; None: they are an error.

    Raises InputError for what cannot be used, WorkersDied when a worker is killed, OSError when the disk is full.
    """
    with claim(root, study, versions()) as store:
        if repaired is not None:
            repaired(manifest.repair(store))
        store.check_checkpoints()
        manifest.check_manifest(root)
        account, estimate = Account(store), StudyEstimate(store)
        if stages := expected(store, estimate, figures=figures, workers=workers):
            announce(stages)
        with start_workers(workers) as pool:
            with account.stage("train"):
                account.worked += run_jobs(pool, _training_jobs(store, estimate), progress, "training")
            with account.stage("probes"):
                account.worked += run_jobs(pool, _measuring_jobs(store, estimate), progress, "probes")
            if figures:
                _draw(store, pool, account, progress, formats)
        manifest.write_manifest(root)
        _write_tables(store, account, pages=figures)
        return _closed(account)


def report_study(root: Path, *, workers: int, progress: Progress, formats: Sequence[Format] = PNG) -> Account:
    """Tables, figures and pages again, from the store alone.

    Args:
        root: folder of the store.
        workers: processes that work at once.
        progress: where progress is shown.
        formats: those of the figures.
    """
    with claim(root, open_store(root).study, None) as store:
        manifest.check_manifest(root)
        account = Account(store)
        with start_workers(workers) as pool:
            _draw(store, pool, account, progress, formats)
        _write_tables(store, account, pages=True)
        return _closed(account)


def expected(store: Store, estimate: StudyEstimate, *, figures: bool, workers: int) -> dict[str, float]:
    """Seconds that each stage will take, about; only stages with something to do.

    Networks that are still to be trained count as if none diverged, and what is still to be measured as if all of it
    were drawn.

    Args:
        store: what is there.
        estimate: of the costs of jobs.
        figures: whether figures are drawn.
        workers: processes that work at once.
    """
    study = store.study
    usable = [run for run in study.all_runs() if not store.trained(run) or not store.diverged(run)]
    matrix = [run for run in study.runs() if run in set(usable)]
    costs = {
        "training": [job.cost for job in _training_jobs(store, estimate)],
        "probes": [job.cost for job in _jobs_of_probes(store, estimate, usable, matrix)],
    }
    if figures:
        usable, matrix = (list(filter(study.of_first_draw, runs)) for runs in (usable, matrix))
        parts = [figures_of.of_run(store, run) for run in matrix]
        parts += [figures_of.of_pairs(store, runs) for runs in _connected(store, matrix)]
        parts += [figures_of.of_models(store, runs) for runs in _grouped(matrix, lambda run: run.siblings)]
        parts += [figures_of.of_family(store, runs[0]) for runs in _families(store, usable)]
        undrawn = [[one for one in part if not any(one.folder.glob(one.probe.figure("*")))] for part in parts]
        costs["figures"] = [FIGURE_SECONDS * len(some) for some in undrawn if some]
    return {stage: max(sum(some) / workers, max(some)) for stage, some in costs.items() if some}


def _draw(store: Store, pool: Backend, account: Account, progress: Progress, formats: Sequence[Format]) -> None:
    with account.stage("figures"):
        account.worked += run_jobs(pool, _drawing_jobs(store, formats), progress, "figures")


def _write_tables(store: Store, account: Account, *, pages: bool) -> None:
    with account.stage("tables"):
        written = tables.write_tables(store)
    if pages:
        with account.stage("report"):
            write_report(store, written)


def _closed(account: Account) -> Account:
    store = account.store
    account.diverged = [run for run in store.study.all_runs() if store.trained(run) and store.diverged(run)]
    account.failures = store.all_failures()
    return account


def _training_jobs(store: Store, estimate: StudyEstimate) -> Iterator[Job]:
    """A job for every group of which a member is missing: groups are trained, and trained again, as a whole."""
    for runs in _grouped(store.study.all_runs(), lambda run: run.group):
        if not all(store.trained(run) for run in runs):
            yield Job(train_runs, (store, runs), estimate.training(runs))


def _measuring_jobs(store: Store, estimate: StudyEstimate) -> Iterator[Job]:
    study = store.study
    yield from _jobs_of_probes(store, estimate, store.usable(study.all_runs()), store.usable(study.runs()))


def _jobs_of_probes(store: Store, estimate: StudyEstimate, every: list[Run], matrix: list[Run]) -> Iterator[Job]:
    """A job for every network, group of pairs, configuration and family with something still to be measured.

    Args:
        store: which says what is there.
        estimate: of costs.
        every: networks that are measured.
        matrix: those of them between which paths are measured.
    """
    for run in every:
        if todo := missing(subjects.of_run(store, run)):
            yield Job(subjects.measure_run, (store, run), estimate.run(run, [one.probe for one in todo]))
    for runs in _connected(store, matrix):
        if subjects.missing_pairs(store, runs):
            yield Job(subjects.connect_runs, (store, runs), estimate.pairs(runs))
    for runs in _grouped(matrix, lambda run: run.siblings):
        if todo := missing(subjects.of_models(store, runs)):
            yield Job(subjects.measure_models, (store, runs), estimate.run(runs[0], [one.probe for one in todo]))
    for runs in _families(store, every):
        if missing(subjects.of_family(store, runs)):
            yield Job(subjects.measure_family, (store, runs), estimate.family(runs))


def _drawing_jobs(store: Store, formats: Sequence[Format]) -> Iterator[Job]:
    first = store.study.of_first_draw
    matrix = store.usable(filter(first, store.study.runs()))
    every, site = store.usable(filter(first, store.study.all_runs())), Site(store)
    for run in matrix:  # the others, of the regularization study alone, have figures of their families
        drawings = stale(figures_of.of_run(store, run), formats)
        if drawings or planes.stale(site, run):
            yield Job(figures_of.draw_run, (store, run, drawings, formats), FIGURE_SECONDS * (1 + len(drawings)))
    others = [figures_of.of_pairs(store, runs) for runs in _connected(store, matrix)]
    others += [figures_of.of_models(store, runs) for runs in _grouped(matrix, lambda run: run.siblings)]
    others += [figures_of.of_family(store, runs[0]) for runs in _families(store, every)]
    if (atlas := Atlas(store)).stale:
        yield Job(draw_atlas, (store,), TILE_SECONDS * len(atlas.planes))
    for drawings in (stale(some, formats) for some in others):
        if drawings:
            yield Job(figures_of.draw_all, (drawings, formats), FIGURE_SECONDS * len(drawings))


def _grouped(runs: Iterable[Run], key: Callable[[Run], Hashable]) -> list[list[Run]]:
    """Runs of equal key together, in the order in which the keys first come."""
    groups: dict[Hashable, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return list(groups.values())


def _connected(store: Store, usable: Sequence[Run]) -> list[list[Run]]:
    """Runs between which paths are measured: those that differ in their seed only, or in their optimizer only."""
    probes = store.study.probes
    if not probes.of("pair"):
        return []
    groups = [runs for runs in _grouped(usable, lambda run: run.siblings) if store.study.probes_of(runs[0], "pair")]
    if probes.between_optimizers:
        first = filter(store.study.of_first_draw, usable)
        groups += _grouped(first, lambda run: (*run.group, run.weight_decay, run.seed))
    return [runs for runs in groups if len(runs) > 1]


def _families(store: Store, usable: Sequence[Run]) -> list[list[Run]]:
    """Runs that differ in their weight decay and seed only; a seed of which a network is not usable is left out."""
    study, known = store.study, set(usable)
    asked = [run for run in study.regularization_runs() if study.probes_of(run, "family")]
    by_seed = _grouped(asked, lambda run: (*run.group, run.optimizer, run.data_seed, run.seed))
    whole = [run for runs in by_seed if known.issuperset(runs) for run in runs]
    return _grouped(whole, lambda run: (*run.group, run.optimizer, run.data_seed))
