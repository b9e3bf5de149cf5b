"""From points to a labelled result: what every probe that draws a curve or a surface shares."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lossatlas.hardware import coarse_products
from lossatlas.loss.fidelity import rough_losses
from lossatlas.loss.loss import Loss, Points
from lossatlas.numerics.adaptive_grid import BASELINE_PAYS_FROM, FilledGrid, fill
from lossatlas.results.variables import UNITS

Losses = Loss | Mapping[str, Loss]

SMOOTH = ("loss", "penalty", "objective")  # metrics may have steps
# Largest error of a surface, relative to its range. A smaller one takes more evaluations (docs/design/evaluation.md).
SURFACE_TOL = 0.01


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


def sample(losses: Losses, points: Points, axes: Mapping[str, np.ndarray]) -> xr.Dataset:
    """Loss and metrics at `points`, laid out over the named `axes`. Costs an evaluation of each loss at every point.

    Args:
        losses: one `Loss`, or a mapping of them by split.
        points: `(n, P)`, or what makes them chunk by chunk (`parameters.curves`).
        axes: coordinates by name, whose lengths have the product n; the last one is the fastest.

    Returns:
        one variable per quantity, dims `(split, *axes)`, or `axes` for a single loss. The attributes are those of the
        (first) loss and, where there are any, the number of losses that are `not_finite`.
    """
    shape = tuple(len(values) for values in axes.values())
    coords = {name: (name, np.asarray(values), UNITS.get(name, {})) for name, values in axes.items()}
    parts = {}
    for split, loss in by_split(losses).items():
        variables = {
            name: (tuple(axes), values.numpy().reshape(shape), UNITS.get(name, {}))
            for name, values in loss.evaluate(points).items()
        }
        parts[split] = xr.Dataset(variables, coords, {"evaluations": len(points), **loss.attrs})
    result = join_splits(parts)
    lost = int((~np.isfinite(result.loss.values)).sum())
    return result.assign_attrs(not_finite=lost) if lost else result


def sample_grid(
    losses: Losses,
    place: Callable[[Tensor], Points],
    axes: Mapping[str, np.ndarray],
    *,
    tol: float = SURFACE_TOL,
    exact: bool = False,
    rough: Callable[[], dict[str, Loss] | None] | None = None,
) -> xr.Dataset:
    """Loss and metrics on the grid of one or two named axes, measured at as few nodes as the loss takes.

    The loss, of every split, is right to within about `tol` of its range, and where it is positive and spans more than
    a factor of 5, its logarithm to within twice that (`adaptive_grid.fill`). A grid that cannot be interpolated is
    measured at every node.

    Where evaluations are expensive most nodes are those of a cheaper function (`fidelity.rough_losses`), of
    `rough_examples` examples (0: of all) at `rough_evaluations` nodes; `evaluations` counts those of the loss itself.

    Args:
        losses: one `Loss`, or a mapping of them by split.
        place: coordinates `(n, d)` on the axes -> the points there.
        axes: one or two axes by name, increasing.
        tol: the largest error to aim at, relative to the range of the loss.
        exact: measure every node.
        rough: the cheaper functions, asked for where the grid has room for them; by itself those with the hardest
            examples at coordinate 0.

    Returns:
        as `sample`, and `measured`, which nodes were, over the axes; `<quantity>_error`, the largest deviation to
        expect at every node, 0 where it was measured, in single precision. On a logarithmic axis that is
        log10(1 + error / value), up and down. The attribute `filled` says in words how the grid came about.
    """
    shape = tuple(len(values) for values in axes.values())
    values = [np.asarray(axis, dtype=float) for axis in axes.values()]
    named = by_split(losses)
    first = next(iter(named.values()))

    def at(nodes: np.ndarray) -> Points:
        return place(torch.from_numpy(np.stack([axis[nodes[:, k]] for k, axis in enumerate(values)], -1)))

    def at_zero() -> Tensor:
        return place(torch.zeros(1, len(shape), dtype=torch.float64))[:1][0]

    cheap = None
    if exact:
        every = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, len(shape))
        surfaces = FilledGrid.whole(_values(named, at(every)).T.reshape(-1, *shape), "every node was asked for")
    else:
        smooth = [name in SMOOTH for loss in named.values() for name in loss.names]
        if math.prod(shape) >= BASELINE_PAYS_FROM[len(shape)]:
            cheap = rough_losses(named, at_zero) if rough is None else rough()
        surfaces = fill(
            lambda nodes: _values(named, at(nodes)), values, smooth=smooth, tol=tol,
            rough=None if cheap is None else lambda nodes: _coarse_values(cheap, at(nodes)),
        )  # fmt: skip
    quantities = iter(zip(surfaces.values, surfaces.error, strict=True))
    coords = {name: (name, np.asarray(axis), UNITS.get(name, {})) for name, axis in axes.items()}
    parts = {}
    for split, loss in named.items():
        variables = {}
        for name, (surface, error) in zip(loss.names, quantities, strict=False):
            variables[name] = (tuple(axes), surface, UNITS.get(name, {}))
            meaning = {"long_name": f"largest error of the {name} to expect at the node"}
            variables[f"{name}_error"] = (tuple(axes), error.astype(np.float32), UNITS.get(name, {}) | meaning)
        parts[split] = xr.Dataset(variables, coords)
    count = int(surfaces.measured.sum())
    result = join_splits(parts).assign(measured=(tuple(axes), surfaces.measured, UNITS["measured"]))
    filled = surfaces.reason or f"splines through {count} nodes"
    attrs = {"evaluations": count, **first.attrs}
    if cheap is not None:
        sampled = [loss.examples for name, loss in cheap.items() if loss is not named[name]]
        attrs |= {"rough_evaluations": surfaces.rough_nodes, "rough_examples": max(sampled, default=0)}
        if not surfaces.reason:
            filled += f", and {surfaces.rough_nodes} " + ("on a sample of the examples" if sampled else "in bfloat16")
    attrs["filled"] = filled
    lost = int((~np.isfinite(result.loss.values)).sum())
    return result.assign_attrs(attrs | ({"not_finite": lost} if lost else {}))


def _values(losses: Mapping[str, Loss], points: Points) -> np.ndarray:
    """Every quantity of every split, `(m, v)`."""
    return np.stack([v.numpy() for loss in losses.values() for v in loss.evaluate(points).values()], -1)


def _coarse_values(losses: Mapping[str, Loss], points: Points) -> np.ndarray:
    with coarse_products(sum(loss.operations for loss in losses.values())):
        return _values(losses, points)
