"""Sentences and rows that several probes say of their results."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from lossatlas.numbers import MISSING, loss_text, percent_text
from lossatlas.probes.probe import Rows, Told
from lossatlas.splits import splits


def table(caption: str, headings: Sequence[str], lines: Sequence[Sequence[str]]) -> Rows:
    return Rows(caption=caption, headings=tuple(headings), rows=tuple(map(tuple, lines)))


def told_of_plane(result: xr.Dataset, where: str) -> Told:
    """The lowest and highest loss on the grid, and how far the nodes that were not measured may be off.

    `where` begins the sentence, such as "Over a plane of random directions".
    """
    lines, said = [], []
    for split, part in splits(result).items():
        loss = part.loss.transpose("alpha", "beta")
        middle = float(loss.sel(alpha=0, beta=0, method="nearest"))
        finite = np.isfinite(loss.values)
        if not finite.any():
            lines.append((split, loss_text(middle), MISSING, MISSING, MISSING, MISSING, percent_text(1.0)))
            said.append(f"no point has a finite {split} loss")
            continue
        i, j = np.unravel_index(np.where(finite, loss.values, np.inf).argmin(), loss.shape)
        lowest, highest = float(loss.values[i, j]), float(loss.values[finite].max())
        place = f"({part.alpha.values[i]:.3g}, {part.beta.values[j]:.3g})"
        share = percent_text(1 - finite.mean())
        error = loss_text(float(part.loss_error))
        lines.append((split, loss_text(middle), loss_text(lowest), place, loss_text(highest), error, share))
        known = bool(part.measured.transpose("alpha", "beta").values[i, j])
        below = loss_text(middle - lowest) + ("" if known else f" (± {error})")
        said.append(
            f"the lowest {split} loss of the grid is {below} below the model's, at {place}"
            if lowest < middle
            else f"no point of the grid has a lower {split} loss than the model"
        )
    headings = ("Data", "Loss at (0, 0)", "Lowest", "at (α, β)", "Highest", "Largest error", "Not finite")
    count, every = int(result.measured.sum()), result.measured.size
    caption = (
        "Loss on the grid, every node measured."
        if count == every
        else f"Loss on the grid: {count:,} of {every:,} nodes measured, the others filled by splines. Largest error: "
        "what to expect at those."
    )
    return Told(f"{where}, {said[0]}.", tables=(table(caption, headings, lines),))
