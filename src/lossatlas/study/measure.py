"""The measuring stage: every probe around every run of the store, each result a file of its own."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lossatlas.alignment import align
from lossatlas.loss import Loss
from lossatlas.parameters import Layout
from lossatlas.probes.connectivity import linear_connectivity
from lossatlas.probes.interpolation import interpolate
from lossatlas.probes.sharpness import epsilon_sharpness
from lossatlas.probes.slices import random_line, random_plane
from lossatlas.probes.spectrum import spectrum
from lossatlas.probes.trajectory_plane import trajectory_plane
from lossatlas.results import to_json
from lossatlas.study import models
from lossatlas.study.config import Run, parse_architecture
from lossatlas.study.datasets import make_task
from lossatlas.study.random_streams import stream
from lossatlas.study.store import Store, pair_name, write_json, write_result
from lossatlas.study.trainer import losses_of

Seconds = dict[str, float]


class _Site:
    """One run as the probes see it: its losses and its checkpoints, read when first asked for."""

    def __init__(self, store: Store, run: Run) -> None:
        task = make_task(run.dataset, store.study.data)
        self.model = models.build(run.architecture, run.activation, task.dimension)
        self.losses: dict[str, Loss] = losses_of(self.model, task)
        self.layout: Layout = self.losses["train"].layout
        self.trajectory = store.trajectory(run, self.layout)
        self.final = self.trajectory[-1]


def files_of_probe(store: Store, run: Run) -> dict[str, list[Path]]:
    """The files that each probe of a single run leaves, by probe, for the probes that the study wants."""
    folder = store.run_folder(run)
    files = {
        "interpolation": [folder / "interpolation" / "interpolation.nc"],
        "random_slice": [folder / "random_slice" / "slice1d.nc", folder / "random_slice" / "slice2d.nc"],
        "pca": [folder / "pca" / "plane.nc"],
        "hessian": [folder / "hessian" / "spectrum.json"],
        "sharpness": [folder / "sharpness" / "sharpness.json"],
    }
    return {probe: paths for probe, paths in files.items() if probe in store.study.probes.run}


def missing_probes(store: Store, run: Run) -> list[str]:
    return [probe for probe, files in files_of_probe(store, run).items() if not all(map(Path.is_file, files))]


def measure_run(store: Store, run: Run) -> Seconds:
    """Do the probes of a run that are missing. A probe that fails is recorded beside it; the others go on."""
    site = _Site(store, run)
    seconds: Seconds = {}
    for probe in missing_probes(store, run):
        start = time.perf_counter()
        with store.recording(probe, store.run_folder(run)):
            _PROBES[probe](store, run, site)
        seconds[probe] = time.perf_counter() - start
    return seconds


def connect_runs(store: Store, runs: Sequence[Run]) -> Seconds:
    """Straight paths between every pair of one configuration's seeds, and their barriers."""
    start = time.perf_counter()
    with store.recording("connectivity", store.barriers_file(runs[0]).parent):
        _connectivity(store, runs)
    return {"connectivity": time.perf_counter() - start}


# One function per probe ----------------------------------------------------------------------------------------


def _interpolation(store: Store, run: Run, site: _Site) -> None:
    settings = store.study.probes.interpolation
    result = interpolate(site.losses, site.trajectory[0], site.final, steps=settings.steps)
    write_result(store.run_folder(run) / "interpolation" / "interpolation.nc", result)


def _random_slice(store: Store, run: Run, site: _Site) -> None:
    settings = store.study.probes.random_slice
    common: dict[str, Any] = {"radius": settings.radius, "normalize": settings.normalize}
    folder = store.run_folder(run) / "random_slice"
    line = random_line(
        site.losses, site.final, generator=stream(run.seed, "random line"), steps=settings.line_steps, **common
    )
    write_result(folder / "slice1d.nc", line)
    plane = random_plane(
        site.losses, site.final, generator=stream(run.seed, "random plane"), steps=settings.plane_steps, **common
    )
    write_result(folder / "slice2d.nc", plane)


def _pca(store: Store, run: Run, site: _Site) -> None:
    settings = store.study.probes.pca
    result = trajectory_plane(site.losses, site.trajectory, steps=settings.steps, margin=settings.margin)
    write_result(store.run_folder(run) / "pca" / "plane.nc", result)


def _hessian(store: Store, run: Run, site: _Site) -> None:
    settings = store.study.probes.hessian
    result = spectrum(
        site.losses,
        site.final,
        generator=stream(run.seed, "hessian"),
        k=min(settings.eigenvalues, site.layout.size - 1),
        samples=settings.samples,
        tol=settings.tol,
        max_products=settings.max_products,
    )
    write_json(store.run_folder(run) / "hessian" / "spectrum.json", to_json(result))


def _sharpness(store: Store, run: Run, site: _Site) -> None:
    settings = store.study.probes.sharpness
    result = epsilon_sharpness(
        site.losses,
        site.final,
        generator=stream(run.seed, "sharpness"),
        radius=settings.radius,
        samples=settings.samples,
    )
    write_json(store.run_folder(run) / "sharpness" / "sharpness.json", to_json(result))


_PROBES: dict[str, Callable[[Store, Run, _Site], None]] = {
    "interpolation": _interpolation,
    "random_slice": _random_slice,
    "pca": _pca,
    "hessian": _hessian,
    "sharpness": _sharpness,
}


def _connectivity(store: Store, runs: Sequence[Run]) -> None:
    settings = store.study.probes.connectivity
    task = make_task(runs[0].dataset, store.study.data)
    model = models.build(runs[0].architecture, runs[0].activation, task.dimension)
    losses = losses_of(model, task)
    layout = losses["train"].layout
    ends = {run: store.final(run, layout) for run in runs}
    barriers = []
    for a, b in itertools.combinations(runs, 2):
        targets = {False: ends[b]}
        if parse_architecture(a.architecture)[0] == 1:
            targets[True] = align(layout, ends[a], ends[b])
        for aligned, end in targets.items():
            result = linear_connectivity(losses, ends[a], end, steps=settings.steps, refinements=settings.refinements)
            name = "connectivity_aligned.nc" if aligned else "connectivity.nc"
            write_result(store.pair_folder(a, b) / name, result)
            barriers.append(
                {
                    "pair": pair_name(a, b),
                    "seeds": [a.seed, b.seed],
                    "aligned": aligned,
                    "distance": float((ends[a] - end).norm()),
                    **{
                        f"{split}_{measure}": float(result[measure].sel(split=split))
                        for measure in ("barrier", "excess", "barrier_resolution")
                        for split in losses
                    },
                }
            )
    write_json(
        store.barriers_file(runs[0]),
        {
            "definitions": {
                "barrier": "maximum loss on the straight path minus the larger end loss",
                "excess": "maximum height of the path above the line between the end losses",
                "barrier_resolution": "what the last refinement around the peak added to the barrier",
                "aligned": "whether the second network's neurons were permuted to match the first's",
            },
            "pairs": barriers,
        },
    )
