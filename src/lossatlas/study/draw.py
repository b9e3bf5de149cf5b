"""The drawing stage: every figure of a study, from the results in its store alone."""

from __future__ import annotations

import io
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from lossatlas.figures import connectivity, interpolation, sharpness, slices, spectrum, trajectory_plane
from lossatlas.study.config import Run
from lossatlas.study.store import Store, pair_name, read_result, write_bytes

DPI = 130
Pages = Iterator[tuple[str, Figure]]


@dataclass(frozen=True)
class _Kind:
    """One folder of figures: the results it is drawn from, what draws a result, and the files that come out."""

    sources: tuple[str, ...]
    pages: Callable[..., Pages]
    names: tuple[str, ...]


_OF_A_RUN = {
    "interpolation": _Kind(
        ("interpolation/interpolation.nc",),
        interpolation.pages,
        ("interpolation_loss.png", "interpolation_accuracy.png"),
    ),
    "random_slice": _Kind(
        ("random_slice/slice1d.nc", "random_slice/slice2d.nc"),
        slices.pages,
        (
            "slice1d_loss.png",
            "slice1d_accuracy.png",
            "slice2d_contour.png",
            "slice2d_surface.png",
            "slice2d_accuracy.png",
        ),
    ),
    "pca": _Kind(("pca/plane.nc",), trajectory_plane.pages, ("plane_contour.png", "plane_surface.png")),
    "hessian": _Kind(("hessian/spectrum.json",), spectrum.pages, ("hessian_spectrum.png",)),
    "sharpness": _Kind(("sharpness/sharpness.json",), sharpness.pages, ("sharpness_hist.png",)),
}
_OF_A_PAIR = ("connectivity_loss.png", "connectivity_accuracy.png")


def stale_figures(store: Store, run: Run) -> list[str]:
    """Folders of a run's figures of which a file is missing or older than what it shows."""
    return [
        folder
        for folder, kind in _OF_A_RUN.items()
        if _stale(
            [store.figure_folder(run) / folder / name for name in kind.names],
            [store.run_folder(run) / source for source in kind.sources],
        )
    ]


def stale_pairs(store: Store, runs: Sequence[Run]) -> list[tuple[Run, Run]]:
    """Pairs of one configuration's runs whose connectivity figures are missing or too old."""
    return [
        (a, b)
        for a, b in itertools.combinations(runs, 2)
        if _stale([_pair_figures(store, a, b) / name for name in _OF_A_PAIR], list(_pair_results(store, a, b).values()))
    ]


def draw_run(store: Store, run: Run) -> dict[str, float]:
    """Draw what is stale of a run. A figure that fails is recorded beside the run; the others are drawn."""
    start = time.perf_counter()
    for folder in stale_figures(store, run):
        kind = _OF_A_RUN[folder]
        with store.recording(f"figures of {folder}", store.run_folder(run)):
            for source in kind.sources:
                _write(
                    store.figure_folder(run) / folder, kind.pages(read_result(store.run_folder(run) / source), str(run))
                )
    return {"figures": time.perf_counter() - start}


def draw_pairs(store: Store, runs: Sequence[Run]) -> dict[str, float]:
    """Draw the stale connectivity figures of one configuration."""
    start = time.perf_counter()
    for a, b in stale_pairs(store, runs):
        with store.recording("figures of connectivity", store.barriers_file(a).parent):
            results = {label: read_result(file) for label, file in _pair_results(store, a, b).items()}
            title = str(a).replace(f"seed {a.seed}", f"seeds {a.seed} and {b.seed}")
            _write(_pair_figures(store, a, b), connectivity.pages(results, title))
    return {"figures": time.perf_counter() - start}


def _write(folder: Path, pages: Pages) -> None:
    for name, figure in pages:
        image = io.BytesIO()
        figure.savefig(image, dpi=DPI, format=Path(name).suffix[1:])
        write_bytes(folder / name, image.getvalue())


def _pair_figures(store: Store, a: Run, b: Run) -> Path:
    return store.configuration_figure_folder(a) / "connectivity" / pair_name(a, b)


def _pair_results(store: Store, a: Run, b: Run) -> dict[str, Path]:
    folder = store.pair_folder(a, b)
    files = {"as trained": folder / "connectivity.nc", "aligned": folder / "connectivity_aligned.nc"}
    return {label: file for label, file in files.items() if file.is_file()}


def _stale(figures: list[Path], sources: list[Path]) -> bool:
    if not sources or not all(source.is_file() for source in sources):
        return False  # nothing to draw from: the probe was not asked for, or it failed
    newest = max(source.stat().st_mtime_ns for source in sources)
    return not all(figure.is_file() and figure.stat().st_mtime_ns >= newest for figure in figures)
