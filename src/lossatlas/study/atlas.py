"""The wall of a study: the plane of every network as a small map, all on one scale of heights."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import xarray as xr

from lossatlas.document.pages import ASSETS
from lossatlas.execution.drawing import save
from lossatlas.execution.failures import recording
from lossatlas.figures import wall
from lossatlas.results.storage import read_result
from lossatlas.study.config import Run
from lossatlas.study.site.site import slug
from lossatlas.study.store import Store

PLANES = ("trajectory_plane", "random_plane", "eigenvector_plane")  # the first that a study has is shown
SPLIT = "train"
DPI, TILE_DPI = 200, 100
ROWS, COLUMNS = ("architecture",), ("optimizer", "activation")
SEPARATOR = " · "


@dataclass(frozen=True)
class Atlas:
    """What the wall of a store shows: a plane for each network of the first draw of the data."""

    store: Store

    @cached_property
    def probe(self) -> str:
        """The probe whose planes are shown; "" for a study that has none."""
        return next((name for name in PLANES if name in self.store.study.probes.run), "")

    @cached_property
    def planes(self) -> dict[Run, Path]:
        """The result of every network that has one, in the study's order."""
        if not self.probe:
            return {}
        runs = self.store.usable(filter(self.store.study.of_first_draw, self.store.study.runs()))
        files = {run: self.store.result_file(run, self.probe) for run in runs}
        return {run: file for run, file in files.items() if file.is_file()}

    def tile(self, run: Run) -> Path:
        return self.store.root / ASSETS / "wall" / f"{slug(run)}.png"

    @property
    def scale(self) -> Path:
        return self.store.root / ASSETS / "wall" / "scale.png"

    def image(self, dataset: str) -> Path:
        """The whole wall of a data set: networks of the first seed and weight decay."""
        return self.store.root / "figures" / f"dataset={dataset}" / "atlas.png"

    @cached_property
    def datasets(self) -> list[str]:
        return list(dict.fromkeys(run.dataset for run in self.planes))

    def drawn(self) -> Iterator[Path]:
        """Every file that the wall consists of."""
        yield self.scale
        yield from map(self.image, self.datasets)
        yield from map(self.tile, self.planes)

    @property
    def stale(self) -> bool:
        """Whether something is missing, or older than one of the planes."""
        if not self.planes:
            return False
        files = list(self.drawn())
        if not all(file.is_file() for file in files):
            return True
        newest = max(file.stat().st_mtime_ns for file in self.planes.values())
        return min(file.stat().st_mtime_ns for file in files) < newest


def draw_atlas(store: Store) -> dict[str, float]:
    """Draw the wall of a store: its small maps, their scale, and an image of each data set's."""
    start = time.perf_counter()
    with recording("atlas", store.root / "experiments"):
        _draw(Atlas(store))
    return {"atlas": time.perf_counter() - start}


def _draw(atlas: Atlas) -> None:
    results = {run: read_result(file) for run, file in atlas.planes.items()}
    named = {(str(run), ""): result for run, result in results.items()}
    scale = wall.shared_scale(named, split=SPLIT)
    save(wall.key(named, scale=scale, split=SPLIT), atlas.scale, dpi=DPI)
    for run, result in results.items():
        save(wall.thumbnail(result, scale=scale, split=SPLIT), atlas.tile(run), dpi=TILE_DPI)
    for dataset in atlas.datasets:
        cells = _cells({run: result for run, result in results.items() if run.dataset == dataset})
        model, training = atlas.store.study.model, atlas.store.study.training
        rows = model.grid()
        columns = [SEPARATOR.join(names) for names in itertools.product(training.optimizers, model.activations)]
        title = f"Training loss over the plane of each training path: {dataset}"
        figure = wall.wall(cells, rows, columns, title=title, split=SPLIT, scale=scale)
        save(figure, atlas.image(dataset), dpi=DPI)


def _cells(results: dict[Run, xr.Dataset]) -> dict[tuple[str, str], xr.Dataset]:
    """The first network of every row and column."""
    cells: dict[tuple[str, str], xr.Dataset] = {}
    for run, result in results.items():
        name = SEPARATOR.join(getattr(run, factor) for factor in ROWS)
        column = SEPARATOR.join(getattr(run, factor) for factor in COLUMNS)
        cells.setdefault((name, column), result)
    return cells
