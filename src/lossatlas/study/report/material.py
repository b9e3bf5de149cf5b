"""What a report is written from: the tables of a study, and which files its store has. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import pandas as pd

from lossatlas.document.blocks import Block, Cell, Figure, FigureRow, Link, Text
from lossatlas.numbers import Row
from lossatlas.probes.probe import Of, Probe
from lossatlas.study.config import Run, Study
from lossatlas.study.models import Kind, parse_architecture
from lossatlas.study.records import Records
from lossatlas.study.report.grids import Column
from lossatlas.study.store import Store

Size = Literal["small", "large"]


@dataclass(frozen=True)
class Material:
    """A store and its tables, and what is read of them once for all pages; a table that is missing has no rows."""

    store: Store
    tables: dict[str, pd.DataFrame]

    @cached_property
    def records(self) -> Records:
        return Records(self.store)

    @property
    def study(self) -> Study:
        return self.store.study

    def rows(self, name: str) -> list[Row]:
        return list(self._rows.get(name, []))

    @cached_property
    def _rows(self) -> dict[str, list[Row]]:
        return {
            name: [{str(column): value for column, value in row.items()} for row in table.to_dict("records")]
            for name, table in self.tables.items()
        }

    @property
    def probes(self) -> list[Probe]:
        """What the study measures: those over weight decay only where it has several."""
        kinds: tuple[Of, ...] = ("model", "trajectory", "pair", "models")
        return self.study.probes.of(*kinds, *(("family",) if self.study.regularization.weight_decays else ()))

    # Runs of the matrix and of the regularization study ----------------------------------------------------------

    @cached_property
    def untrained(self) -> list[Run]:
        return [run for run in self.study.all_runs() if run not in self.records.metrics]

    @cached_property
    def diverged(self) -> list[Run]:
        return [run for run in self.study.all_runs() if self.records.diverged(run)]

    @property
    def more(self) -> str:
        """How many networks beside those of the matrix the study has, to be said after the number of those."""
        more = len(self.study.all_runs()) - len(list(self.study.runs()))
        return f" and {more} more for the regularization study" if more else ""

    # Runs of the matrix ------------------------------------------------------------------------------------------

    @cached_property
    def drawn(self) -> list[Run]:
        """Runs of the study's matrix that have figures: of the first draw, trained and not diverged."""
        runs = filter(self.study.of_first_draw, self.study.runs())
        return [run for run in runs if self.store.figure_folder(run).is_dir()]

    def example(
        self,
        size: Size,
        activation: str,
        optimizer: str | None = None,
        *,
        kind: Kind = "mlp",
        dataset: str | None = None,
    ) -> Run | None:
        """The first drawn run of the deepest and then widest network of its kind, or the shallowest and narrowest.

        A study without the activation shows its first one instead; without the optimizer or the data set there is
        no example.
        """
        activations = self.study.model.activations
        wanted = activation if activation in activations else activations[0]
        runs = [
            run
            for run in self.drawn
            if run.dataset == (dataset or self.study.data.datasets[0])
            and parse_architecture(run.architecture).kind == kind
            and run.activation == wanted
            and (optimizer is None or run.optimizer == optimizer)
        ]
        extreme = max if size == "large" else min
        return extreme(runs, key=lambda run: parse_architecture(run.architecture)[1:], default=None)

    def under_each_optimizer(self, size: Size, activation: str, *, kind: Kind = "mlp") -> list[Run]:
        found = [self.example(size, activation, optimizer, kind=kind) for optimizer in self.study.training.optimizers]
        return [run for run in found if run is not None]

    def run_of(self, row: Row) -> Run:
        return Run.model_validate({field: row[field] for field in Run.model_fields})

    def name(self, run: Run) -> str:
        """The name of a run; its weight decay where the study has several."""
        words = str(run)
        if len(self.study.training.weight_decays) == 1:
            words = words.replace(f" · weight decay {run.weight_decay:g}", "")
        if len(self.study.data.seeds) == 1:
            words = words.replace(f" · data seed {run.data_seed}", "")
        return words

    def target(self, path: Path) -> str:
        return path.relative_to(self.store.root).as_posix()

    def link(self, run: Run) -> Link:
        return Link(self.name(run), self.target(self.store.run_folder(run)))

    def seed_column(self) -> Column:
        """The seed of a run, which leads to its folder."""

        def cell(row: Row) -> Cell:
            folder = self.store.run_folder(self.run_of(row))
            several = len(self.study.data.seeds) > 1
            text = f"{row['data_seed']}/{row['seed']}" if several else str(row["seed"])
            return Cell(text, value=float(row["seed"]), target=self.target(folder))

        return Column("Data seed/seed" if len(self.study.data.seeds) > 1 else "Seed", cell, numeric=True)

    # Figures -----------------------------------------------------------------------------------------------------

    def figure(self, label: str, file: Path, caption: Text, *, run: Run | None = None) -> Figure | None:
        """The figure in `file`, if it has been drawn; `run` is what it came from."""
        if not file.is_file():
            return None
        return Figure(label, caption, self.target(file), self.target(self.store.run_folder(run)) if run else None)

    def figures_of(self, label: str, runs: Iterable[Run | None], *, probe: str, kind: str, what: str) -> list[Block]:
        """One figure of several runs, beside each other; empty when none has been drawn.

        Args:
            label: what the figures are called, with a number each.
            runs: each is shown once; None is left out.
            probe: the name of the function that measured what is shown.
            kind: which of its figures: "loss", "surface", ...
            what: says in words what is shown.
        """
        unique = list(dict.fromkeys(run for run in runs if run is not None))
        found = [
            self.figure(
                f"{label}-{index}",
                self.store.figure_file(run, probe, kind),
                (f"{what}: ", self.link(run), "."),
                run=run,
            )
            for index, run in enumerate(unique)
        ]
        return row_of(found)


def row_of(figures: Sequence[Figure | None]) -> list[Block]:
    there = tuple(figure for figure in figures if figure is not None)
    if len(there) < 2:
        return list(there)
    return [FigureRow(there)]
