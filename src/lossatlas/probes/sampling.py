"""From points to a labelled result: what every probe that draws a curve or a surface shares."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lossatlas.hardware import coarse_products
from lossatlas.loss.fidelity import rough_losses
from lossatlas.loss.loss import Loss, Points
from lossatlas.numerics.adaptive_grid import BASELINE_PAYS_FROM, FilledGrid, fill
from lossatlas.numerics.grid_samples import Grid
from lossatlas.probes.node_layout import NodeLayout, layout_along, layout_of
from lossatlas.probes.survey import SMOOTH, At, Examples, Survey, spread_to_all, survey
from lossatlas.results.variables import UNITS
from lossatlas.work import bounded

Losses = Loss | Mapping[str, Loss]

# Largest error of a surface, relative to its range. A smaller one takes more evaluations (docs/design/evaluation.md).
SURFACE_TOL = 0.01

# Floating-point operations between two looks at the clock where a call may end early. With more it ends later; with
# less fewer points are evaluated together.
NODES_OPERATIONS = 10**10


def by_split(losses: Losses) -> dict[str, Loss]:
    """`{"train": loss, ...}` as it is, one loss as `{"": loss}`.

    Args:
        losses: one `Loss`, or a mapping of them by split.

    Raises:
        TypeError: something that is no loss.
        ValueError: no loss at all, or losses of several parameter layouts.
    """
    named = {"": losses} if not isinstance(losses, Mapping) else dict(losses)
    for loss in named.values():
        if not isinstance(loss, Loss):
            raise TypeError(
                f"the loss is a {type(loss).__name__}: wanted a Loss, as Loss.of(module, data, criterion) makes it, or "
                "a mapping of names to such"
            )
    if not named:
        raise ValueError("got an empty mapping of losses: wanted at least one")
    first = next(iter(named.values()))
    for name, loss in named.items():
        if loss.layout != first.layout:
            raise ValueError(f"the loss {name!r} has other parameters than the first: wanted one architecture")
    return named


def join_splits(parts: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """One dataset with a leading `split` dimension, from `parts` by split; none where there was only the loss
    itself.
    """
    if list(parts) == [""]:
        return parts[""]
    return xr.concat(
        list(parts.values()), dim=xr.IndexVariable("split", list(parts)), combine_attrs="override",
        coords="minimal", compat="override", join="override",
    )  # fmt: skip


def sample(
    losses: Losses,
    points: Points,
    axes: Mapping[str, np.ndarray],
    *,
    examples: Examples = "all",
    tol: float = SURFACE_TOL,
) -> xr.Dataset:
    """Loss and metrics at `points`, laid out over the named `axes`. Costs an evaluation of each loss at every point.

    Args:
        losses: one `Loss`, or a mapping of them by split.
        points: `(n, P)`, or what makes them chunk by chunk (`parameters.curves`).
        axes: coordinates by name, whose lengths have the product n; the last one is the fastest.
        examples: of every point: "all", a number, or "auto"; as in `sample_grid`. The points should lie along a curve.
        tol: "auto" takes as many as an error of twice that takes, relative to the range of the loss at the points.

    Returns:
        one variable per quantity, dims `(split, *axes)`, or `axes` for a single loss, and what `sample_grid` gives of a
        sample. The attributes are those of the (first) loss and, where there are any, the number of losses that are
        `not_finite`.
    """
    rows = np.arange(len(points))[:, None]
    surveys = surveys_of(
        losses, lambda rows: Chosen(points, rows[:, 0]), layout_along(rows), examples=examples, tol=tol
    )
    return values_at(losses, rows, lambda _: points, axes, surveys)


def values_at(
    losses: Losses, nodes: np.ndarray, at: At, axes: Mapping[str, np.ndarray], surveys: Mapping[str, Survey]
) -> xr.Dataset:
    """Loss and metrics at `nodes`, laid out over the named `axes`, as `sample` gives them.

    Args:
        losses: one `Loss`, or a mapping of them by split.
        nodes: `(n, d)`.
        at: nodes -> points.
        axes: coordinates by name, whose lengths have the product n; the last one is the fastest.
        surveys: of those losses that are sampled, by split.
    """
    shape = tuple(len(values) for values in axes.values())
    coords = {name: (name, np.asarray(values), UNITS.get(name, {})) for name, values in axes.items()}
    parts = {}
    for split, loss in by_split(losses).items():
        one = surveys.get(split)
        values = _at_nodes(loss, one, nodes, at)
        off = np.zeros_like(values) if one is None else one.bands_at(nodes)
        variables: dict[str, Any] = {}
        for column, name in enumerate(loss.names):
            variables[name] = (tuple(axes), values[:, column].reshape(shape), UNITS.get(name, {}))
            if surveys:
                meaning = {"long_name": f"part of the error of the {name} that is of the sample of examples"}
                error = off[:, column].reshape(shape).astype(np.float32)
                variables[f"{name}_sampling_error"] = (tuple(axes), error, UNITS.get(name, {}) | meaning)
        variables |= examples_of(loss, one) if surveys else {}
        parts[split] = xr.Dataset(variables, coords, {"evaluations": len(nodes), **loss.attrs})
    result = join_splits(parts)
    lost = int((~np.isfinite(result.loss.values)).sum())
    return result.assign_attrs(not_finite=lost) if lost else result


@dataclass(frozen=True)
class Chosen:
    """Some of a stack of points, made when they are asked for.

    Args:
        points: all of them.
        rows: which, `(m,)` of int.
    """

    points: Points
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: slice) -> Tensor:
        return torch.cat([self.points[row : row + 1] for row in self.rows[index].tolist()])


def surveys_of(losses: Losses, at: At, layout: NodeLayout, *, examples: Examples, tol: float) -> dict[str, Survey]:
    """The surveys of those losses that are sampled, by split.

    Args:
        losses: one `Loss`, or a mapping of them by split.
        at: nodes -> points.
        layout: which nodes are asked first.
        examples, tol: as in `survey.survey`.
    """
    named = by_split(losses)
    found = {
        split: survey(loss, at, layout, examples=examples, tol=tol, share=1 / (len(named) - index))
        for index, (split, loss) in enumerate(named.items())
    }
    return {split: one for split, one in found.items() if one is not None}


def sample_grid(
    losses: Losses,
    place: Callable[[Tensor], Points],
    axes: Mapping[str, np.ndarray],
    *,
    tol: float = SURFACE_TOL,
    exact: bool = False,
    examples: Examples = "auto",
    rough: Callable[[], dict[str, Loss] | None] | None = None,
) -> xr.Dataset:
    """Loss and metrics on the grid of one or two named axes, measured at as few nodes as the loss takes.

    The loss, of every split, is right to within about `tol` of its range, and where it is positive and spans more than
    a factor of 5, its logarithm to within twice that (`adaptive_grid.fill`). A grid that cannot be interpolated is
    measured at every node.

    Of many examples a sample is drawn, the same one at every node (`survey`): what a surface costs then depends on the
    error alone. Where all are taken and evaluations are expensive, most nodes are those of a cheaper function
    (`fidelity.rough_losses`), of `rough_examples` examples (0: of all) at `rough_evaluations` nodes; `evaluations`
    counts those of the loss itself.

    Args:
        losses: one `Loss`, or a mapping of them by split.
        place: coordinates `(n, d)` on the axes -> the points there.
        axes: one or two axes by name, increasing.
        tol: the largest error to aim at, relative to the range of the loss.
        exact: measure every node.
        examples: of every node: "all", a number, or "auto", as many as an error of 2 `tol` of the range takes, where
            that is less work than all.
        rough: the cheaper functions, asked for where the grid has room for them; by itself those with the hardest
            examples at coordinate 0.

    Returns:
        as `sample`, and `measured`, which nodes were, over the axes; `<quantity>_error`, the largest deviation to
        expect at every node, in single precision: that of the splines, 0 where the node was measured, and that of the
        sample of examples, which is in `<quantity>_sampling_error` too and holds at all nodes at once in 95 of 100
        draws. On a logarithmic axis an error is log10(1 + error / value), up and down. `sampled_examples` and
        `pilot_examples` say of how many, by split. The attribute `filled` says in words how the grid came about.
    """
    shape = tuple(len(values) for values in axes.values())
    values = [np.asarray(axis, dtype=float) for axis in axes.values()]
    named = by_split(losses)
    first = next(iter(named.values()))

    def at(nodes: np.ndarray) -> Points:
        return place(torch.from_numpy(np.stack([axis[nodes[:, k]] for k, axis in enumerate(values)], -1)))

    def at_zero() -> Tensor:
        return place(torch.zeros(1, len(shape), dtype=torch.float64))[:1][0]

    grid = Grid.of(values)
    large = math.prod(shape) >= BASELINE_PAYS_FROM[len(shape)]
    layout = layout_of(grid, exact=exact)
    sampled = surveys_of(named, at, layout, examples=examples, tol=tol)

    def evaluate(nodes: np.ndarray) -> np.ndarray:
        return np.concatenate([_at_nodes(loss, sampled.get(split), nodes, at) for split, loss in named.items()], -1)

    cheap = None
    if exact:
        surfaces = FilledGrid.whole(evaluate(grid.nodes).T.reshape(-1, *shape), "every node was asked for")
    else:
        if large and not sampled:
            cheap = rough_losses(named, at_zero) if rough is None else rough()
        rough_values = None if cheap is None else lambda nodes: _coarse_values(cheap, at(nodes))
        smooth = [name in SMOOTH for loss in named.values() for name in loss.names]
        together = nodes_together(named, sampled) if bounded() else 0
        surfaces = fill(evaluate, values, smooth=smooth, tol=tol, rough=rough_values, together=together)
    quantities = iter(zip(surfaces.values, surfaces.error, strict=True))
    coords = {name: (name, np.asarray(axis), UNITS.get(name, {})) for name, axis in axes.items()}
    parts = {}
    for split, loss in named.items():
        own = [next(quantities) for _ in loss.names]
        of_sample = _sampling_errors(sampled.get(split), np.stack([surface for surface, _ in own]))
        variables: dict[str, Any] = {}
        for name, (surface, error), more in zip(loss.names, own, of_sample, strict=True):
            units = UNITS.get(name, {})
            variables[name] = (tuple(axes), surface, units)
            meaning = {"long_name": f"largest error of the {name} to expect at the node"}
            variables[f"{name}_error"] = (tuple(axes), (error + more).astype(np.float32), units | meaning)
            if sampled:
                meaning = {"long_name": f"part of the error of the {name} that is of the sample of examples"}
                variables[f"{name}_sampling_error"] = (tuple(axes), more.astype(np.float32), units | meaning)
        if sampled:
            variables |= examples_of(loss, sampled.get(split))
        parts[split] = xr.Dataset(variables, coords)
    count = int(surfaces.measured.sum())
    result = join_splits(parts).assign(measured=(tuple(axes), surfaces.measured, UNITS["measured"]))
    filled = surfaces.reason or f"splines through {count} nodes"
    attrs = {"evaluations": count, **first.attrs}
    if sampled:
        of = [f"{one.examples:,} of {one.loss.examples:,} examples" for one in sampled.values()]
        filled += f", each of {' and '.join(of)}"
    if cheap is not None:
        counts = [loss.examples for name, loss in cheap.items() if loss is not named[name]]
        attrs |= {"rough_evaluations": surfaces.rough_nodes, "rough_examples": max(counts, default=0)}
        if not surfaces.reason:
            filled += f", and {surfaces.rough_nodes} " + ("on a sample of the examples" if counts else "in bfloat16")
    attrs["filled"] = filled
    lost = int((~np.isfinite(result.loss.values)).sum())
    return result.assign_attrs(attrs | ({"not_finite": lost} if lost else {}))


def nodes_together(losses: Mapping[str, Loss], sampled: Mapping[str, Survey]) -> int:
    """How many nodes are measured before it is asked whether the call is to end: about half a second's.

    Args:
        losses: by split.
        sampled: the surveys of those that are sampled.
    """
    operations = 0.0
    for split, loss in losses.items():
        share = sampled[split].examples / loss.examples if split in sampled else 1.0
        operations += loss.operations * share
    many = max(1, int(NODES_OPERATIONS / max(operations, 1.0)))
    chunk = max(loss.chunk for loss in losses.values())
    return many // chunk * chunk or many  # whole chunks of points, where there is time for them


def examples_of_plane(examples: Examples, *, exact: bool) -> Examples:
    """What a plane takes: of one that is exact all, unless a number is asked for.

    Args:
        examples: as in `sample_grid`.
        exact: whether every node is measured.
    """
    return "all" if exact and examples == "auto" else examples


def _at_nodes(loss: Loss, sample: Survey | None, nodes: np.ndarray, at: At) -> np.ndarray:
    return _values({"": loss}, at(nodes)) if sample is None else sample.values(nodes)


def _sampling_errors(sample: Survey | None, surfaces: np.ndarray) -> np.ndarray:
    """Of all quantities of a loss, whose `surfaces` are `(v, *shape)`, at all nodes: likewise."""
    if sample is None:
        return np.zeros_like(surfaces)
    positive = np.nan_to_num(surfaces.reshape(len(surfaces), -1), nan=-1.0).min(1) > 0
    positive &= [name in SMOOTH for name in sample.loss.names]
    return spread_to_all(*sample.bands(), surfaces, positive)


def examples_of(loss: Loss, sample: Survey | None) -> dict[str, Any]:
    """Variables of a result that say of how many examples a loss is, in the `sample` or, where that is None, all."""
    counts = {
        "sampled_examples": loss.examples if sample is None else sample.examples,
        "pilot_examples": loss.examples if sample is None else sample.pilot_examples,
        "all_examples": loss.examples,
    }
    return {name: ((), count, UNITS[name]) for name, count in counts.items()}


def _values(losses: Mapping[str, Loss], points: Points) -> np.ndarray:
    """Every quantity of every split, `(m, v)`."""
    return np.stack([v.numpy() for loss in losses.values() for v in loss.evaluate(points).values()], -1)


def _coarse_values(losses: Mapping[str, Loss], points: Points) -> np.ndarray:
    with coarse_products(sum(loss.operations for loss in losses.values())):
        return _values(losses, points)
