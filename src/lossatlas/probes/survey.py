"""A loss at many points from a sample of its examples: how many are drawn, and how far the means may be off."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from scipy.spatial import KDTree

from lossatlas import hardware
from lossatlas.loss.evaluation import Points
from lossatlas.loss.example_values import ExampleValues, check_examples
from lossatlas.loss.fidelity import SAMPLED_EXAMPLES
from lossatlas.loss.loss import Loss
from lossatlas.loss.single_examples import LinkedExamples
from lossatlas.numerics.two_phase import (
    Regression,
    band_factor,
    drawn,
    inclusion_probabilities,
    sample_sizes,
    standard_errors,
)
from lossatlas.probes.node_layout import NodeLayout
from lossatlas.work import answered, seconds_left

SMOOTH = ("loss", "penalty", "objective")  # metrics may have steps

Examples = Literal["auto", "all"] | int

CONFIDENCE = 0.95  # with which the error of a sample holds, at all points at once

# Standard errors in the band of a surface, about: what a sample is planned with before its own band is known.
PLANNED_BAND = 3.2

# Statistical error that a sample is planned for, in tolerances of the interpolation. With less, surfaces take more
# examples; with more, the larger part of the stated error is that of the sample.
ERROR_IN_TOLERANCES = 2.0

# Of the band: normal deviates are too few in the tails where a few examples make up a mean (docs/design/sampling.md).
TAIL_FACTOR = 1.2

# Units in the last place by which a mean differs where its examples stand in other batches.
ROUNDING = 16

# Examples of the first look, of a cheap model and of one that takes long. With fewer, sizes are planned from less.
FIRST_LOOK = (512, 128)

# Floating-point operations of the first look, from which it has the smaller number of examples.
LONG_LOOK = 10**11

# How many times larger a sample may become at a time. With more, what a few examples say of the spread decides more;
# with less, more samples are drawn on the way. Set by hand.
MOST_GROWTH = 8

# Of the error that is wanted, what a larger sample is planned for: the spread of a few examples is mostly too small.
ROOM = 0.9

# Examples of the first sample for each that has pilots. With fewer, rare hard examples are missed; with more, the pass
# over them at the centre costs more than the pilots.
CENTRE_SHARE = 4

# Examples of a sample at least: a regression on nine pilots wants several times as many. Set by hand.
MINIMAL_SAMPLE = 64

# Examples for each node that surfaces took, pilots shared out, to the usual error (docs/design/sampling.md): for
# estimates of time.
TYPICAL_EXAMPLES = 3000

# Nodes for which there is time at least where a call is to end early: with them the error of splines is some hundredths
# of the range, and examples are worth more than further nodes (docs/design/sampling.md).
FEW_NODES = 110

# Passes over all examples that a surface takes without a sample, about: its nodes above a rough surface.
PASSES_WITHOUT_SAMPLE = 40

At = Callable[[np.ndarray], Points]  # nodes (m, d), whose coordinates are anything that tells them apart -> points


class Survey:
    """The means of a loss and its metrics from a sample of the examples, at nodes of a grid.

    Args:
        loss: of all examples, which can be told apart.
        at: nodes -> points.
        layout: of the grid.
        sizes: examples of the first sample, with pilots, and at every node.
        rng: of the draws.
    """

    def __init__(
        self, loss: Loss, at: At, layout: NodeLayout, sizes: tuple[int, int, int], rng: np.random.Generator
    ) -> None:
        self.loss, self._at, self._layout = loss, at, layout
        self._nodes: dict[tuple[int, ...], np.ndarray] = {}  # (names, n) of every node that was measured
        first = np.sort(rng.choice(loss.examples, sizes[0], replace=False))
        centre = _values(loss, first, at(layout.pilots[:1]))[0]  # (names, n0)
        second_chances = inclusion_probabilities(centre[:1].T, sizes[1])
        second = drawn(second_chances, rng)
        pilots = _values(loss, first[second], at(layout.pilots))  # (k, names, n1)
        by_pilot = pilots[:, 0].T / second_chances[second, None]
        third_chances = inclusion_probabilities(by_pilot, sizes[2])
        third = drawn(third_chances, rng)
        self.pilot_examples, self.examples = len(second), len(third)
        self.regressions = [
            Regression(
                loss.examples, centre[name], second, second_chances, pilots[:, name].T, third, third_chances
            )
            for name in range(centre.shape[0])
        ]  # fmt: skip
        self._sample = ExampleValues(loss, torch.from_numpy(first[second[third]]))
        self._pilots = pilots[:, 0, third]

    def values(self, nodes: np.ndarray) -> np.ndarray:
        """The loss's quantities at `nodes` `(m, d)`, `(m, v)`."""
        keys = [*map(tuple, nodes.tolist())]
        new = [row for row, key in enumerate(keys) if key not in self._nodes]
        if new:
            for row, values in zip(new, self._sample(self._at(nodes[new])), strict=True):
                self._nodes[keys[row]] = values
        each = np.stack([self._nodes[key] for key in keys])  # (m, names, n)
        means = [regression.means(each[:, name]) for name, regression in enumerate(self.regressions)]
        return self._with_penalty(np.stack(means, -1), nodes)

    def errors_between(self) -> tuple[np.ndarray, tuple[float, float]]:
        """The means of the loss at the pilots and between them, and the largest standard error there: that of the last
        sample, and of those before it.
        """
        checks = self._sample(self._at(self._layout.checks))[:, 0]
        each = np.concatenate([self._pilots, checks])  # (k + c, n)
        own, earlier = (standard_errors(part).max() for part in self.regressions[0].covariances(each))
        return self.regressions[0].means(each), (float(own), float(earlier))

    def bands_at(self, nodes: np.ndarray) -> np.ndarray:
        """How far the quantities are off at most at `nodes` `(m, d)` that were measured, `(m, v)`; see `bands`."""
        measured, widths = self.bands()
        places = {tuple(node): row for row, node in enumerate(measured.tolist())}
        return widths[[places[tuple(node)] for node in nodes.tolist()]]

    def difference_errors(self, nodes: np.ndarray, others: np.ndarray) -> np.ndarray:
        """How far differences of the loss between `nodes` and `others`, `(m, d)` each, are off, all at once, `(m,)`.

        Both must have been measured. Smaller than the sum of both bands: the examples are the same.
        """
        first, second = (np.stack([self._nodes[tuple(n)][0] for n in some.tolist()]) for some in (nodes, others))
        own, earlier = self.regressions[0].covariances(first - second)
        factor = TAIL_FACTOR * band_factor(own + earlier, CONFIDENCE, np.random.default_rng(0))
        return factor * standard_errors(own + earlier)

    def bands(self) -> tuple[np.ndarray, np.ndarray]:
        """The nodes that were measured `(m, d)`, and how far the quantities there are off at most, `(m, v)`.

        That holds at all of them at once in `CONFIDENCE` of all draws of the sample. A metric with steps may change for
        examples that were not drawn though it does for none that was: one of those that count most is added.
        """
        nodes = np.array(list(self._nodes))
        each = np.stack(list(self._nodes.values()))  # (m, names, n)
        widths = []
        for name, regression in enumerate(self.regressions):
            own, earlier = regression.covariances(each[:, name])
            covariance = own + earlier
            if self.loss.names[name] not in SMOOTH:
                one = np.ptp(each[:, name]) * regression.weights.max()
                covariance = covariance + one**2 * np.eye(len(covariance))
            factor = TAIL_FACTOR * band_factor(covariance, CONFIDENCE, np.random.default_rng(0))
            rounding = ROUNDING * torch.finfo(self.loss.dtype).eps * np.abs(regression.means(each[:, name]))
            widths.append(factor * standard_errors(covariance) + rounding)
        if self.loss.penalty:
            widths += [np.zeros(len(nodes)), widths[0]]
        return nodes, np.stack(widths, -1)

    def _with_penalty(self, means: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        if not self.loss.penalty:
            return means
        points = self._at(nodes)
        penalties = [float(self.loss.penalty(theta)) for i in range(len(points)) for theta in points[i : i + 1]]
        added = np.array(penalties)
        return np.column_stack([means, added, means[:, 0] + added])


def survey(
    loss: Loss, at: At, layout: NodeLayout, *, examples: Examples, tol: float, share: float = 1.0
) -> Survey | None:
    """The survey of a loss over a grid; None where all examples are taken.

    With "auto" as many are drawn as the error takes, a fixed draw: `ERROR_IN_TOLERANCES` of `tol` of the loss's range
    at all nodes at once; or as many as there is time for (`work`). All are taken where that costs no more, and where
    examples cannot be told apart.

    Args:
        loss: of all examples.
        at: nodes -> points.
        layout: of the grid.
        examples: "auto", "all", or how many at every node.
        tol: of the interpolation, relative to the range.
        share: of the time that the call has left, for this loss.

    Raises:
        ValueError: a number of examples that there are not, or examples that cannot be told apart.
    """
    total = loss.examples
    if examples == "all":
        return None
    if examples == "auto":
        if total < SAMPLED_EXAMPLES or loss.operations < hardware.SAMPLED_OPERATIONS:
            return None
        try:
            check_examples(loss)
        except LinkedExamples:
            return None
        return _planned(loss, at, layout, ERROR_IN_TOLERANCES * tol, share)
    if not isinstance(examples, int) or not MINIMAL_SAMPLE <= examples <= total:
        raise ValueError(f"examples is {examples!r}: wanted 'auto', 'all', or {MINIMAL_SAMPLE} to {total:,}")
    if examples == total:
        return None
    try:
        check_examples(loss)
    except LinkedExamples as error:
        raise LinkedExamples(f"examples={examples}: {error}; wanted examples='all'") from error
    return Survey(loss, at, layout, nested_sizes(total, examples), _rng())


def sampled_share(loss: Loss) -> float:
    """Of all examples, about what a surface takes for each of its nodes, pilots included, where it may sample."""
    if loss.examples < SAMPLED_EXAMPLES or loss.operations < hardware.SAMPLED_OPERATIONS:
        return 1.0
    return min(1.0, TYPICAL_EXAMPLES / loss.examples)


def nested_sizes(total: int, sample: int, with_pilots: int | None = None) -> tuple[int, int, int]:
    """Examples of the first sample, with pilots, and at every node, of `total`."""
    pilots = min(total, 8 * sample if with_pilots is None else with_pilots)
    return min(total, CENTRE_SHARE * pilots), pilots, min(sample, pilots)


def _planned(loss: Loss, at: At, layout: NodeLayout, error: float, share: float) -> Survey | None:
    """The survey whose band is `error` of the range, or for which there is time; None: all examples cost less.

    From a first look at a few examples it grows, until the band at the pilots and between them is small enough.
    """
    total = loss.examples
    operations = loss.operations / total * (len(layout.pilots) + len(layout.checks))
    look = FIRST_LOOK[operations * FIRST_LOOK[0] > LONG_LOOK]
    sizes = nested_sizes(total, look // 2, look)
    start = time.perf_counter()
    while True:
        found = Survey(loss, at, layout, sizes, _rng())
        means, (own, earlier) = found.errors_between()
        wanted = error * np.ptp(means) / (PLANNED_BAND * TAIL_FACTOR)
        if not wanted > 0 or not np.isfinite(wanted):
            return None
        seconds = (time.perf_counter() - start) / _evaluations(sizes, layout, len(layout.checks))  # of an example
        if math.hypot(own, earlier) <= wanted or sizes[2] == total:
            return found
        with_pilots, sample = sample_sizes(
            earlier**2 / max(1 / sizes[1] - 1 / total, 1 / total**2) + own**2 * sizes[2],
            own**2 * sizes[2], population=total, error=ROOM * wanted, pilots=len(layout.pilots), nodes=layout.nodes,
        )  # fmt: skip
        largest = MOST_GROWTH * sizes[1]
        sample = max(min(sample, largest), MINIMAL_SAMPLE)
        sizes = nested_sizes(total, sample, max(min(with_pilots, largest), sample, sizes[1]))
        affordable = _affordable(sizes, layout, share * seconds_left() / seconds)
        if affordable != sizes:
            return found if affordable[2] <= found.examples else Survey(loss, at, layout, affordable, _rng())
        if _evaluations(sizes, layout, layout.nodes) >= PASSES_WITHOUT_SAMPLE * total:
            return None
        start = time.perf_counter()


def _evaluations(sizes: tuple[int, int, int], layout: NodeLayout, nodes: int) -> int:
    """Of single examples."""
    return sizes[0] + len(layout.pilots) * sizes[1] + nodes * sizes[2]


def _affordable(sizes: tuple[int, int, int], layout: NodeLayout, evaluations: float) -> tuple[int, int, int]:
    """As large a sample as so many evaluations of single examples allow, those that were chosen once in a folder."""
    wanted = _evaluations(sizes, layout, min(layout.nodes, FEW_NODES))
    smaller = min(1.0, evaluations / wanted)
    chosen = [max(MINIMAL_SAMPLE, int(smaller * size)) for size in sizes]
    kept = answered(torch.tensor(sizes), lambda: torch.tensor(chosen)).tolist()
    return kept[0], kept[1], kept[2]


def _rng() -> np.random.Generator:
    """The draw is always the same one."""
    return np.random.default_rng(0)


def _values(loss: Loss, rows: np.ndarray, points: Points) -> np.ndarray:
    """Of single examples in `rows` `(n,)`, `(m, names, n)`."""
    return ExampleValues(loss, torch.from_numpy(rows))(points)


def spread_to_all(nodes: np.ndarray, bands: np.ndarray, values: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """What is known of the error of a sample at some nodes, at all nodes of the grid, `(v, *shape)`.

    Of a node that was not measured the largest of the nearest three that were; relative to the value for quantities
    that are positive everywhere, since their errors grow with it.

    Args:
        nodes: that were measured, `(m, d)` of int.
        bands: their errors, `(m, v)`.
        values: at all nodes, `(v, *shape)`.
        positive: which of the quantities are, `(v,)` of bool.
    """
    shape = values.shape[1:]
    every = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, len(shape)) / shape
    flat = values.reshape(len(values), -1)  # (v, N)
    rows = np.ravel_multi_index(tuple(nodes.T), shape)
    scale = np.where(positive[:, None], flat, 1.0)
    relative = bands.T / scale[:, rows]  # (v, m)
    _, nearest = KDTree(nodes / shape).query(every, k=min(3, len(nodes)))
    nearest = nearest.reshape(len(every), -1)
    found = relative[:, nearest].max(-1) * scale
    found[:, rows] = bands.T
    return found.reshape(values.shape)
