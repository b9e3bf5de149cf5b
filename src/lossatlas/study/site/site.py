"""Where the pages of a report lie, what they are called, and how one leads to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from lossatlas.document.blocks import Cell, Figure, Link
from lossatlas.document.html import Links
from lossatlas.document.pages import ASSETS
from lossatlas.figures.plot import form
from lossatlas.numbers import general_text
from lossatlas.results.storage import read_result
from lossatlas.study.config import Run
from lossatlas.study.store import Store


@dataclass(frozen=True)
class Site:
    """The pages over one store, and the runs that have one: all of the study's."""

    store: Store

    @cached_property
    def runs(self) -> list[Run]:
        return self.store.study.all_runs()

    @cached_property
    def by_folder(self) -> dict[str, Run]:
        return {self.path(self.store.run_folder(run)): run for run in self.runs}

    @cached_property
    def varying(self) -> list[str]:
        """The fields of a run's name that are not the same for all."""
        return [name for name in Run.model_fields if len({getattr(run, name) for run in self.runs}) > 1]

    def path(self, file: Path) -> str:
        """A file of the store as targets name it."""
        return file.relative_to(self.store.root).as_posix()

    def run_at(self, target: str | None) -> Run | None:
        """The run whose folder a target is."""
        return None if target is None else self.by_folder.get(target.rstrip("/"))

    @cached_property
    def plane_probes(self) -> list[str]:
        """The probes of single runs whose results are planes, as the first result of each says."""
        found = []
        for probe in self.store.study.probes.of("model", "trajectory"):
            files = (self.store.result_file(run, probe.name) for run in self.runs)
            first = next((file for file in files if file.is_file()), None)
            if first is not None and form(read_result(first)) == "plane":
                found.append(probe.name)
        return found

    def planes(self, run: Run) -> list[str]:
        """The probes whose surfaces there are of a run."""
        return [name for name in self.plane_probes if self.store.result_file(run, name).is_file()]

    def plane_of(self, run: Run, image: str) -> str | None:
        """The surface that an image of a run shows, if it can be turned."""
        for plane in self.planes(run):
            figures = (self.store.figure_file(run, plane, kind) for kind in ("surface", "contour"))
            if image in map(self.path, figures):
                return plane
        return None

    def name(self, run: Run, *, without: Sequence[str] = ()) -> str:
        """What sets a run apart from the others of its study; its whole name when it is alone."""
        words = {
            "dataset": run.dataset,
            "architecture": run.architecture,
            "activation": run.activation,
            "optimizer": run.optimizer,
            "weight_decay": f"weight decay {general_text(run.weight_decay)}",
            "data_seed": f"data seed {run.data_seed}",
            "seed": f"seed {run.seed}",
        }
        return " · ".join(words[field] for field in self.varying if field not in without) or str(run)


def slug(run: Run) -> str:
    """A run's name as that of a file: its folder's, on one level."""
    name = f"{run.dataset}-{run.architecture}-{run.activation}-{run.optimizer}"
    return f"{name}-wd{general_text(run.weight_decay)}-data{run.data_seed}-seed{run.seed}"


def page_of(run: Run) -> str:
    return f"{ASSETS}/runs/{slug(run)}.html"


@dataclass(frozen=True)
class RunLinks(Links):
    """Folders of runs lead to their pages; the page `of` a run need not say where its figures come from."""

    site: Site
    of: Run | None = None

    @classmethod
    def over(cls, site: Site, of: Run | None = None) -> Self:
        return cls(site.store.root, site, of)

    def page(self, target: str) -> str:
        run = self.site.run_at(target)
        return page_of(run) if run else target

    def of_row(self, cells: tuple[Cell, ...]) -> str | None:
        """The one run that the cells lead to."""
        runs = {cell.target: run for cell in cells if (run := self.site.run_at(cell.target))}
        return next(iter(runs)) if len(set(runs.values())) == 1 else None

    def source(self, figure: Figure) -> tuple[str, str] | None:
        run = self.site.run_at(figure.run)
        told = [self.of, *(self.site.run_at(part.target) for part in figure.caption if isinstance(part, Link))]
        return (self.site.name(run), page_of(run)) if run and run not in told else None

    def surface(self, figure: Figure) -> tuple[str, str] | None:
        run = self.site.run_at(figure.run)
        plane = self.site.plane_of(run, figure.path) if run else None
        return (slug(run), plane) if run and plane else None
