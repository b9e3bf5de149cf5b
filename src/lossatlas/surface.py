"""From points to a labelled result: what every probe that draws a curve or a surface shares."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from lossatlas.loss import Loss, Points
from lossatlas.results import UNITS

Losses = Loss | Mapping[str, Loss]


def by_split(losses: Losses) -> dict[str, Loss]:
    """`{"train": loss, ...}` as it is, one loss as `{"": loss}`; all must have one parameter layout."""
    named = {"": losses} if isinstance(losses, Loss) else dict(losses)
    if not named:
        raise ValueError("got an empty mapping of losses: wanted at least one")
    first = next(iter(named.values()))
    for name, loss in named.items():
        if loss.layout != first.layout:
            raise ValueError(f"the loss {name!r} has other parameters than the first: wanted one architecture")
    return named


def join_splits(parts: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """One dataset with a leading `split` dimension; none where there was only the loss itself."""
    if list(parts) == [""]:
        return parts[""]
    return xr.concat(
        list(parts.values()), dim=xr.IndexVariable("split", list(parts)), combine_attrs="override",
        coords="minimal", compat="override", join="override",
    )  # fmt: skip


def sample(losses: Losses, points: Points, axes: Mapping[str, np.ndarray]) -> xr.Dataset:
    """Loss and metrics at `points`, laid out over the named `axes` (the last one fastest).

    Returns a dataset with one variable per quantity, dims `(split, *axes)`, or `axes` for a single loss. Its
    attributes hold those of the (first) loss and, where there are any, the number of losses that are `not_finite`.
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
