"""Sentences and rows that several probes say of their results."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import xarray as xr

from lossatlas.numbers import MISSING, loss_text, percent_text
from lossatlas.probes.probe import Rows, Told
from lossatlas.splits import splits

BASIN = 0.1  # of the nodes of a plane: those where the loss is lowest


def table(caption: str, headings: Sequence[str], lines: Sequence[Sequence[str]]) -> Rows:
    return Rows(caption=caption, headings=tuple(headings), rows=tuple(map(tuple, lines)))


def basin_error(plane: xr.Dataset) -> float:
    """The largest error to expect of the loss over the loss itself, where it is lowest; NaN where it is not above zero.

    Args:
        plane: of one split; the tenth of its nodes with the lowest loss is what counts as the basin.
    """
    loss, error = plane.loss.values.ravel(), plane.loss_error.transpose(*plane.loss.dims).values.ravel()
    finite = np.isfinite(loss)
    basin = np.flatnonzero(finite)[np.argsort(loss[finite])[: math.ceil(BASIN * finite.sum())]]
    return float((error[basin] / loss[basin]).max()) if basin.size and loss[basin].min() > 0 else math.nan


def told_of_plane(result: xr.Dataset, where: str) -> Told:
    """The lowest and highest loss on the grid, and how far the nodes that were not measured may be off.

    `where` begins the sentence, such as "Over a plane of random directions".
    """
    lines, said = [], []
    for split, part in splits(result).items():
        loss, stated = (part[name].transpose("alpha", "beta") for name in ("loss", "loss_error"))
        middle = float(loss.sel(alpha=0, beta=0, method="nearest"))
        finite = np.isfinite(loss.values)
        if not finite.any():
            lines.append((split, loss_text(middle), *[MISSING] * 5, percent_text(1.0)))
            said.append(f"no point has a finite {split} loss")
            continue
        i, j = np.unravel_index(np.where(finite, loss.values, np.inf).argmin(), loss.shape)
        lowest, highest = float(loss.values[i, j]), float(loss.values[finite].max())
        place = f"({part.alpha.values[i]:.3g}, {part.beta.values[j]:.3g})"
        share = percent_text(1 - finite.mean())
        errors = (loss_text(float(stated.max())), _basin_text(part))
        lines.append((split, loss_text(middle), loss_text(lowest), place, loss_text(highest), *errors, share))
        error = float(stated.values[i, j])
        below = loss_text(middle - lowest) + (f" (± {loss_text(error)})" if error else "")
        said.append(
            f"the lowest {split} loss of the grid is {below} below the model's, at {place}"
            if lowest < middle
            else f"no point of the grid has a lower {split} loss than the model"
        )
    numbers = ("Loss at (0, 0)", "Lowest", "at (α, β)", "Highest", "Largest error", "In the basin", "Not finite")
    rows = table(_caption_of_plane(result), ("Data", *numbers), lines)
    return Told(f"{where}, {said[0]}.", tables=(rows,), note=sample_text(result))


def sample_text(result: xr.Dataset) -> str:
    """From how many examples a surface or a curve is, and how far it may be off for that; "" where it is of all."""
    if "sampled_examples" not in result:
        return ""
    said = []
    for split, part in splits(result).items():
        drawn, known, every = (int(part[name].max()) for name in ("sampled_examples", "pilot_examples", "all_examples"))
        if drawn < every:
            off = loss_text(float(part.loss_sampling_error.max()))
            said.append(
                f"The {split} loss is from {drawn:,} of {every:,} examples at every node and {known:,} at a few: it "
                f"may be off by {off} for that (at all nodes at once in 95 of 100 draws)."
            )
    return " ".join(said)


def _caption_of_plane(result: xr.Dataset) -> str:
    count, every = int(result.measured.sum()), result.measured.size
    if count == every:
        return "Loss on the grid, every node measured."
    split, part = next(iter(splits(result).items()))
    error = loss_text(float(part.loss_error.max()))
    return (
        f"Loss on the grid: splines through {count:,} of {every:,} nodes. The {split} loss may be off by {error}, in "
        f"the basin by {_basin_text(part)} of itself. Basin: the tenth of the nodes where it is lowest."
    )


def _basin_text(plane: xr.Dataset) -> str:
    error = basin_error(plane)
    return MISSING if math.isnan(error) else percent_text(error)
