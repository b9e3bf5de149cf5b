"""How often intervals hold the truth: simulated studies whose truth is known (docs/design/statistics.md).

`python -m tests.study.analysis.test_coverage` prints the table of that page.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lossatlas.study.analysis.correlations import kendall_tau
from lossatlas.study.analysis.statistic import Statistic

CELLS = (1, 3, 10, 30)
STUDIES = 2000  # simulated for every number of the table: one of 0.95 is then known to ±0.010
AGAIN = 150  # simulated by the test, which compares
PAGE = Path(__file__).parents[3] / "docs" / "design" / "statistics.md"
NOISE: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {  # of mean 0 and variance 1
    "normal": lambda rng, shape: rng.normal(size=shape),
    "skewed": lambda rng, shape: (np.exp(rng.normal(size=shape)) - math.exp(0.5)) / math.sqrt(math.e * (math.e - 1)),
    "one in ten failed": lambda rng, shape: (  # five standard deviations higher
        (rng.normal(size=shape) + 5 * (rng.uniform(size=shape) < 0.1) - 0.5) / math.sqrt(3.25)
    ),
}


@dataclass(frozen=True)
class Design:
    """What varies beside the seeds, and how far: standard deviations, that of a seed being 1."""

    draws: int = 5
    seeds: int = 2
    draw: float = 0.0  # of a draw of the data, the same for all cells
    own: float = 0.0  # of a draw in each cell
    seed: float = 0.0  # of a seed number, the same on all draws: nothing in a study has it
    cell: float = 0.0  # of a cell, where cells are the sample


Simulated = tuple[Statistic, float]  # and the truth


@cache
def names(cells: int, draws: int, member: str, members: int) -> pd.DataFrame:
    levels = {"cell": range(cells), "data_seed": range(draws), member: range(members)}
    return pd.DataFrame(itertools.product(*levels.values()), columns=list(levels))


def of_networks(kind: str, cells: int, design: Design, rng: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray]:
    """Networks, and their values around 0."""
    shape = (cells, design.draws, design.seeds)
    parts = ((design.draw, (1, shape[1], 1)), (design.own, (*shape[:2], 1)), (design.seed, (1, 1, shape[2])))
    effects = sum(size * rng.normal(size=part) for size, part in (*parts, (design.cell, (cells, 1, 1))))
    return names(cells, design.draws, "seed", design.seeds), (NOISE[kind](rng, shape) + effects).ravel()


def means(kind: str, cells: int, design: Design, rng: np.random.Generator) -> Simulated:
    frame, values = of_networks(kind, cells, design, rng)
    return Statistic(frame, ("cell",), values), 0.0


def ratios(kind: str, cells: int, design: Design, rng: np.random.Generator) -> Simulated:
    """Of two means that go together: 1 to 4, with a spread of a quarter of each."""
    frame, values = of_networks(kind, cells, design, rng)
    bottom = 4 + values
    top = 1 + (values + rng.normal(size=len(values))) / 4
    return Statistic(frame, ("cell",), function=lambda weights: (weights @ top) / (weights @ bottom)), 0.25


def barriers(kind: str, cells: int, design: Design, rng: np.random.Generator) -> Simulated:
    """Of pairs: a sum of effects of their two networks, and as much that is their own."""
    frame, values = of_networks(kind, cells, design, rng)
    blocks = values.reshape(cells, design.draws, design.seeds)
    rows = list(itertools.combinations(range(design.seeds), 2))
    own = rng.normal(size=(cells, design.draws, len(rows)))
    pairs = np.stack([blocks[..., a] + blocks[..., b] for a, b in rows], axis=-1) + own
    frame = names(cells, design.draws, "pair", len(rows))
    ends = dict(zip(("seed_a", "seed_b"), np.array(rows)[frame.pair].T, strict=True))
    return Statistic(frame.assign(**ends), ("cell",), pairs.ravel()), 0.0


def shares(kind: str, cells: int, design: Design, rng: np.random.Generator) -> Simulated:
    """Of networks of which something holds: four of five, or 49 of 50; those of a cell and draw go together."""
    truth = {"four of five": 0.8, "49 of 50": 0.98}[kind]
    frame, effects = of_networks("normal", cells, design, rng)
    spread = math.sqrt(1 + design.draw**2 + design.own**2)
    return Statistic(frame, ("cell",), 1.0 * (effects < spread * stats.norm.ppf(truth)), share=True), truth


def taus(kind: str, cells: int, design: Design, rng: np.random.Generator) -> Simulated:
    """Of the means of cells, whose truths are half related and lie twice as far apart as seeds."""
    x = rng.normal(size=cells)
    y = 0.5 * x + math.sqrt(0.75) * rng.normal(size=cells)
    frame, _ = of_networks(kind, cells, design, rng)
    columns = [
        (2 * one[:, None, None] + of_networks(kind, cells, design, rng)[1].reshape(cells, design.draws, -1)).ravel()
        for one in (x, y)
    ]
    cell = frame.cell.to_numpy()

    def of(weights: np.ndarray) -> np.ndarray:
        found = []
        for row in weights:
            counts = np.bincount(cell, row)
            found.append(
                kendall_tau(*(np.bincount(cell, row * one)[counts > 0] / counts[counts > 0] for one in columns))
            )
        return np.array(found)

    return Statistic(frame, ("cell",), function=of, bounds=(-1.0, 1.0)), kendall_tau(x, y)


FIXED, CROSSED, NESTED = Design(), Design(draw=1.0, own=0.5), Design(own=1.0)
ONE_DRAW = Design(draws=1, seeds=3)
CONFIGURATIONS = Design(cell=1.0, own=0.5)
KINDS = {  # row of the table: how it is simulated, which noise, with which design, and which interval is asked
    **{f"mean, {kind}, draws of all cells": (means, kind, CROSSED, "draws") for kind in NOISE},
    **{f"mean, {kind}, draws of each cell": (means, kind, NESTED, "draws") for kind in NOISE},
    **{f"mean, {kind}, draws of no effect": (means, kind, FIXED, "draws") for kind in NOISE},
    **{f"mean, {kind}, one draw": (means, kind, ONE_DRAW, "draws") for kind in NOISE},
    "mean, normal, seeds alike on all draws": (means, "normal", Design(draw=1.0, seed=1.0), "draws"),
    **{f"mean, {kind}, cells as the sample": (means, kind, CONFIGURATIONS, "cells") for kind in NOISE},
    "pairs, normal, draws of all cells": (barriers, "normal", CROSSED, "draws"),
    **{f"pairs, {kind}, one draw": (barriers, kind, ONE_DRAW, "draws") for kind in NOISE},
    **{f"share, {kind}, draws of all cells": (shares, kind, CROSSED, "draws") for kind in ("four of five", "49 of 50")},
    **{f"share, {kind}, one draw": (shares, kind, ONE_DRAW, "draws") for kind in ("four of five", "49 of 50")},
    **{f"ratio, {kind}, draws of all cells": (ratios, kind, CROSSED, "draws") for kind in NOISE},
    "tau, normal, draws of all cells": (taus, "normal", CROSSED, "draws"),
    "tau, normal, cells as the sample": (taus, "normal", FIXED, "cells"),
}  # fmt: skip


def coverage(row: str, cells: int, studies: int = STUDIES) -> float:
    """The share of simulated studies whose interval holds the truth; NaN where there is no interval."""
    simulate, kind, design, over = KINDS[row]
    rng = np.random.default_rng(list(row.encode()))
    held = []
    for _ in range(studies):
        statistic, truth = simulate(kind, cells, design, rng)
        if over == "cells" and simulate is taus:
            truth = 2 / math.pi * math.asin(0.5 * 4 / (4 + 1 / (design.draws * design.seeds)))  # of the population
        found = statistic.over_seeds()[0] if over == "draws" else statistic.over_configurations()
        held.append(math.nan if math.isnan(found.low) else found.low - 1e-12 <= truth <= found.high + 1e-12)
    return float(np.mean(held))


@pytest.mark.slow
def test_intervals_over_five_draws_hold_the_mean_nineteen_times_in_twenty():
    """From three cells up, where draws differ: 0.93 to 0.97, and three standard errors of the simulation."""
    studies = 500
    for kind, draws, cells in itertools.product(NOISE, ("all cells", "each cell"), CELLS[1:]):
        held = coverage(f"mean, {kind}, draws of {draws}", cells, studies)
        assert 0.95 - held < 0.02 + 3 * math.sqrt(0.95 * 0.05 / studies), (kind, draws, cells, held)
        assert held - 0.95 < 0.02 + 3 * math.sqrt(0.95 * 0.05 / studies), (kind, draws, cells, held)


@pytest.mark.slow
@pytest.mark.parametrize("row", KINDS)
def test_the_page_says_how_often_every_interval_holds_the_truth(row):
    (line,) = [line for line in PAGE.read_text().splitlines() if line.startswith(f"| {row} |")]
    for cells, said in zip(CELLS, line.strip("| ").split(" | ")[1:], strict=True):
        held = coverage(row, cells, AGAIN)
        if said == "–":
            assert math.isnan(held)
        else:
            error = math.sqrt(max(float(said) * (1 - float(said)), 0.01) / AGAIN)
            assert abs(held - float(said)) < 3.5 * error, (cells, held, said)


def table(studies: int = STUDIES) -> str:
    """The coverage of every kind, as rows of Markdown."""
    lines = ["| interval | " + " | ".join(f"{cells} cells" if cells > 1 else "1 cell" for cells in CELLS) + " |"]
    lines.append("| --- |" + " ---: |" * len(CELLS))
    for row in KINDS:
        found = [coverage(row, cells, studies) for cells in CELLS]
        lines.append(f"| {row} | " + " | ".join("–" if math.isnan(one) else f"{one:.3f}" for one in found) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
