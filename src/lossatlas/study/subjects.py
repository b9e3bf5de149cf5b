"""The measuring stage: every probe around every run of the store, each result a file of its own."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from lossatlas.alignment.weight_matching import align
from lossatlas.files import write_json
from lossatlas.loss.loss import Loss
from lossatlas.parameters.layout import Layout
from lossatlas.probes.connectivity.linear_connectivity import linear_connectivity
from lossatlas.probes.curvature.spectrum import spectrum
from lossatlas.probes.sharpness.epsilon_sharpness import epsilon_sharpness
from lossatlas.probes.slices.interpolate import interpolate
from lossatlas.probes.slices.interpolate_by_weight_decay import interpolate_by_weight_decay
from lossatlas.probes.slices.random_line import random_line
from lossatlas.probes.slices.random_plane import random_plane
from lossatlas.probes.slices.slice_by_weight_decay import slice_by_weight_decay
from lossatlas.probes.slices.trajectory_plane import trajectory_plane
from lossatlas.random_streams import stream
from lossatlas.results.storage import to_json, write_result
from lossatlas.study import models
from lossatlas.study.config import Run
from lossatlas.study.datasets import make_task
from lossatlas.study.models import parse_architecture
from lossatlas.study.store import Store
from lossatlas.study.training.ensemble import losses_of

Seconds = dict[str, float]


class _Site:
    """A network as the probes see it: its losses on both splits, and what the store has of it."""

    def __init__(self, store: Store, run: Run) -> None:
        task = make_task(run.dataset, store.study.data)
        self.store = store
        self.losses: dict[str, Loss] = losses_of(models.build(run.architecture, run.activation, task.dimension), task)
        self.layout: Layout = self.losses["train"].layout

    def trajectory(self, run: Run) -> Tensor:
        return self.store.trajectory(run, self.layout)  # (t, P)

    def final(self, run: Run) -> Tensor:
        return self.store.final(run, self.layout)  # (P,)


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
    """Straight paths between every two runs, which differ in their seed or in their optimizer only; their barriers."""
    start = time.perf_counter()
    file = store.pair_folder(runs[0], runs[1]).parent / "barriers.json"
    with store.recording("connectivity", file.parent):
        site = _Site(store, runs[0])
        pairs = [entry for a, b in itertools.combinations(runs, 2) for entry in _paths_between(site, a, b)]
        write_json(file, {"definitions": _BARRIER_DEFINITIONS, "pairs": pairs})
    return {"connectivity": time.perf_counter() - start}


def compare_weight_decays(store: Store, runs: Sequence[Run]) -> Seconds:
    """The regularization study of one configuration: what weight decay does to its paths and slices.

    `runs` are one network per weight decay, for one seed or more.
    """
    start = time.perf_counter()
    folder = store.regularization_folder(runs[0])
    with store.recording("regularization", folder):
        _regularization(store, runs, folder)
    return {"regularization": time.perf_counter() - start}


# One function per probe ----------------------------------------------------------------------------------------


def _interpolation(store: Store, run: Run, site: _Site) -> None:
    settings = store.study.probes.interpolation
    trajectory = site.trajectory(run)
    result = interpolate(site.losses, trajectory[0], trajectory[-1], steps=settings.steps)
    write_result(store.run_folder(run) / "interpolation" / "interpolation.nc", result)


def _random_slice(store: Store, run: Run, site: _Site) -> None:
    settings = store.study.probes.random_slice
    common: dict[str, Any] = {"radius": settings.radius, "normalize": settings.normalize}
    folder = store.run_folder(run) / "random_slice"
    line = random_line(
        site.losses, site.final(run), generator=stream(run.seed, "random line"), steps=settings.line_steps, **common
    )
    write_result(folder / "slice1d.nc", line)
    plane = random_plane(
        site.losses, site.final(run), generator=stream(run.seed, "random plane"), steps=settings.plane_steps,
        exact=settings.exact, **common,
    )  # fmt: skip
    write_result(folder / "slice2d.nc", plane)


def _pca(store: Store, run: Run, site: _Site) -> None:
    settings = store.study.probes.pca
    result = trajectory_plane(
        site.losses, site.trajectory(run), steps=settings.steps, margin=settings.margin, exact=settings.exact
    )
    write_result(store.run_folder(run) / "pca" / "plane.nc", result)


def _hessian(store: Store, run: Run, site: _Site) -> None:
    settings = store.study.probes.hessian
    result = spectrum(
        site.losses,
        site.final(run),
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
        site.final(run),
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


_BARRIER_DEFINITIONS = {
    "barrier": "maximum loss on the straight path minus the larger end loss",
    "excess": "maximum height of the path above the line between the end losses",
    "barrier_resolution": "what the last refinement around the peak added to the barrier",
    "aligned": "whether the second network's neurons were permuted to match the first's",
}


def _paths_between(site: _Site, a: Run, b: Run) -> Iterator[dict[str, Any]]:
    """The path from a to b, as trained and, with one hidden layer, after aligning b's neurons with a's."""
    settings = site.store.study.probes.connectivity
    folder = site.store.pair_folder(a, b)
    start, end = site.final(a), site.final(b)
    ends = {"connectivity.nc": end}
    if parse_architecture(a.architecture)[:2] == ("mlp", 1):
        ends["connectivity_aligned.nc"] = align(site.layout, start, end)
    for name, target in ends.items():
        result = linear_connectivity(site.losses, start, target, steps=settings.steps, refinements=settings.refinements)
        write_result(folder / name, result)
        yield {
            "pair": folder.name,
            "seeds": [a.seed, b.seed],
            "optimizers": [a.optimizer, b.optimizer],
            "aligned": name == "connectivity_aligned.nc",
            "distance": float((start - target).norm()),
            **{
                f"{split}_{measure}": float(result[measure].sel(split=split))
                for measure in ("barrier", "excess", "barrier_resolution")
                for split in site.losses
            },
        }


def _regularization(store: Store, runs: Sequence[Run], folder: Path) -> None:
    probes = store.study.probes
    site = _Site(store, runs[0])
    lines: list[xr.Dataset] = []
    planes: list[xr.Dataset] = []
    seeds: list[int] = []
    for seed, members in _by_seed(runs).items():
        decays = [run.weight_decay for run in members]
        trajectories = [site.trajectory(run) for run in members]
        starts, ends = (torch.stack([points[k] for points in trajectories]) for k in (0, -1))  # (w, P)
        lines.append(interpolate_by_weight_decay(site.losses, starts, ends, decays, steps=probes.interpolation.steps))
        planes.append(
            slice_by_weight_decay(
                site.losses,
                ends,
                decays,
                generator=stream(seed, "random plane"),
                radius=probes.random_slice.radius,
                steps=probes.random_slice.plane_steps,
                normalize=probes.random_slice.normalize,
                exact=probes.random_slice.exact,
            )
        )
        seeds.append(seed)
    for name, results in (("interpolation.nc", lines), ("slices.nc", planes)):
        joined = xr.concat(results, dim=xr.IndexVariable("seed", seeds), combine_attrs="drop_conflicts")
        write_result(folder / name, joined)


def _by_seed(runs: Sequence[Run]) -> dict[int, list[Run]]:
    seeds: dict[int, list[Run]] = {}
    for run in runs:
        seeds.setdefault(run.seed, []).append(run)
    return seeds
