"""The drawing stage: every figure of a study, from the results in its store alone."""

from __future__ import annotations

import io
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.figure import Figure

from lossatlas.figures import connectivity, interpolation, regularization, sharpness, slices, spectrum, trajectory_plane
from lossatlas.files import write_bytes
from lossatlas.results.storage import read_result
from lossatlas.study.config import Run
from lossatlas.study.site import planes as html_planes
from lossatlas.study.site.site import Site
from lossatlas.study.store import Store

DPI = 130
Format = Literal["png", "svg", "pdf"]
PNG: tuple[Format, ...] = ("png",)
# No dates and no random names: the same figure is the same bytes.
_METADATA: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
_RC: Any = {"svg.hashsalt": "lossatlas", "pdf.fonttype": 42}
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
_OF_WEIGHT_DECAYS = ("interpolation_surface.png", "interpolation_curves.png", "slices_contour.png")


def stale_figures(store: Store, run: Run, formats: Sequence[Format] = PNG) -> list[str]:
    """Folders of a run's figures of which a file is missing or older than what it shows."""
    return [
        folder
        for folder, kind in _OF_A_RUN.items()
        if _stale(
            _files(store.figure_folder(run) / folder, kind.names, formats),
            [store.run_folder(run) / source for source in kind.sources],
        )
    ]


def stale_planes(store: Store, run: Run) -> bool:
    """Whether the data of a run's surfaces that turn are missing or older than what they show."""
    return _stale([html_planes.planes_file(store, run)], html_planes.sources(Site(store), run))


def stale_pairs(store: Store, runs: Sequence[Run], formats: Sequence[Format] = PNG) -> list[tuple[Run, Run]]:
    """Pairs of runs whose connectivity figures are missing or too old."""
    return [
        (a, b)
        for a, b in itertools.combinations(runs, 2)
        if _stale(
            _files(store.pair_figure_folder(a, b), _OF_A_PAIR, formats), list(_pair_results(store, a, b).values())
        )
    ]


def regularization_results(store: Store, run: Run) -> list[Path]:
    """What the regularization study of a run's configuration leaves."""
    return [store.regularization_folder(run) / name for name in ("interpolation.nc", "slices.nc")]


def stale_regularization(store: Store, run: Run, formats: Sequence[Format] = PNG) -> bool:
    """Whether the figures over weight decay of a run's configuration are missing or too old."""
    surfaces = [f"slice_surface_wd={decay:g}.png" for decay in store.study.regularization.weight_decays]
    folder = store.regularization_figure_folder(run)
    return _stale(_files(folder, (*_OF_WEIGHT_DECAYS, *surfaces), formats), regularization_results(store, run))


def draw_run(store: Store, run: Run, folders: Sequence[str], formats: Sequence[Format] = PNG) -> dict[str, float]:
    """Draw these folders of a run's figures, and write its surfaces that turn where they are stale.

    What fails is recorded beside the run; the rest is drawn.
    """
    start = time.perf_counter()
    for folder in folders:
        kind = _OF_A_RUN[folder]
        with store.recording(f"figures of {folder}", store.run_folder(run)):
            for source in kind.sources:
                pages = kind.pages(read_result(store.run_folder(run) / source), str(run))
                _write(store.figure_folder(run) / folder, pages, formats)
    drawn = time.perf_counter()
    with store.recording("surfaces of the report", store.run_folder(run)):
        html_planes.write_planes_of(Site(store), run)
    return {"figures": drawn - start, "surfaces": time.perf_counter() - drawn}


def draw_pairs(store: Store, runs: Sequence[Run], formats: Sequence[Format] = PNG) -> dict[str, float]:
    """Draw the stale connectivity figures of runs that differ in their seed or in their optimizer only."""
    start = time.perf_counter()
    for a, b in stale_pairs(store, runs, formats):
        with store.recording("figures of connectivity", store.pair_folder(a, b).parent):
            results = {label: read_result(file) for label, file in _pair_results(store, a, b).items()}
            _write(store.pair_figure_folder(a, b), connectivity.pages(results, _pair_title(a, b)), formats)
    return {"figures": time.perf_counter() - start}


def draw_regularization(store: Store, run: Run, formats: Sequence[Format] = PNG) -> dict[str, float]:
    """Draw the figures over weight decay of a run's configuration."""
    start = time.perf_counter()
    with store.recording("figures of regularization", store.regularization_folder(run)):
        lines, planes = map(read_result, regularization_results(store, run))
        title = " · ".join((*run.group, run.optimizer))
        _write(store.regularization_figure_folder(run), regularization.pages(lines, planes, title), formats)
    return {"figures": time.perf_counter() - start}


def _write(folder: Path, pages: Pages, formats: Sequence[Format]) -> None:
    for name, figure in pages:
        for file in _files(folder, [name], formats):
            image, kind = io.BytesIO(), file.suffix[1:]
            with mpl.rc_context(_RC):
                figure.savefig(image, dpi=DPI, format=kind, metadata=_METADATA.get(kind))
            write_bytes(file, image.getvalue())


def _files(folder: Path, names: Sequence[str], formats: Sequence[Format]) -> list[Path]:
    """Figures named `<stem>.png` in these formats, and as PNG always, since the report shows that."""
    kinds = dict.fromkeys((*PNG, *formats))
    return [(folder / name).with_suffix(f".{kind}") for name in names for kind in kinds]


def _pair_title(a: Run, b: Run) -> str:
    if a.optimizer == b.optimizer:
        return str(a).replace(f"seed {a.seed}", f"seeds {a.seed} and {b.seed}")
    return str(a).replace(a.optimizer, f"{a.optimizer} and {b.optimizer}")


def _pair_results(store: Store, a: Run, b: Run) -> dict[str, Path]:
    folder = store.pair_folder(a, b)
    files = {"as trained": folder / "connectivity.nc", "aligned": folder / "connectivity_aligned.nc"}
    return {label: file for label, file in files.items() if file.is_file()}


def _stale(figures: list[Path], sources: list[Path]) -> bool:
    if not sources or not all(source.is_file() for source in sources):
        return False  # nothing to draw from: the probe was not asked for, or it failed
    newest = max(source.stat().st_mtime_ns for source in sources)
    return not all(figure.is_file() and figure.stat().st_mtime_ns >= newest for figure in figures)
