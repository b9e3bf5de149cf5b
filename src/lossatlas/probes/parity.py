"""Opposite steps from a point: the even part of what they change, which curvature makes, and the odd one of slope."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lossatlas.parameters.directions import Draw, Surroundings
from lossatlas.probes.sampling import Losses, sample


@dataclass(frozen=True)
class Parity:
    """Loss and metrics q at pairs θ ± δ, over `sample` and after `split`, as two parts of how they change.

    Args:
        even: ½(q(θ + δ) + q(θ − δ)) − q(θ), by quantity.
        odd: ½(q(θ + δ) − q(θ − δ)), by quantity.
    """

    even: xr.Dataset
    odd: xr.Dataset

    def mean(self) -> tuple[xr.DataArray, xr.DataArray]:
        """The mean of the loss's even part, and its standard error."""
        even = self.even.loss
        return even.mean("sample", skipna=False), even.std("sample", ddof=1, skipna=False) / even.sizes["sample"] ** 0.5

    def odd_size(self) -> xr.DataArray:
        """Root mean square of the loss's odd part, whose mean over both sides is 0."""
        return (self.odd.loss**2).mean("sample", skipna=False) ** 0.5

    def lowered(self) -> xr.DataArray:
        """Share of the steps, both sides counted, that lower the loss; NaN where a step's loss is."""
        rises = xr.concat([self.even.loss + self.odd.loss, self.even.loss - self.odd.loss], "side")
        return (rises < 0).where(rises.notnull()).mean(("side", "sample"), skipna=False)

    def largest(self) -> tuple[xr.DataArray, xr.DataArray]:
        """The largest rise of the loss over both sides, and the share of that draw's odd part in it.

        The share is above 1 where the even part takes something away, and NaN where nothing rises.
        """
        rises = self.even.loss + abs(self.odd.loss)
        place = rises.argmax("sample", skipna=False)
        largest = rises.isel(sample=place)
        return largest, (abs(self.odd.loss).isel(sample=place) / largest).where(largest > 0)


def opposite_steps(
    losses: Losses, theta: Tensor, draw: Draw, pairs: Mapping[float, int], *, generator: torch.Generator
) -> tuple[dict[float, Parity], dict[str, Any]]:
    """What changes at opposite steps of several lengths along the same random directions, and the attributes of that.

    Costs twice as many evaluations as there are pairs, and one at θ.

    Args:
        losses: one `Loss`, or a mapping of them by split.
        theta: θ `(P,)`.
        draw: the directions.
        pairs: by length, in lengths of a direction, how many; those are the first of the directions.
        generator: of the draws, on the CPU.
    """
    steps = [
        (number, sign * length)
        for number in range(max(pairs.values()))
        for length, count in pairs.items()
        if number < count
        for sign in (1, -1)
    ]
    points = Surroundings.of(theta, draw, [(0, 0.0), *steps], generator=generator)
    values = sample(losses, points, {"sample": np.arange(len(points))}).drop_vars("sample")
    here, lengths = values.isel(sample=0), points.lengths.numpy()
    found = {}
    for length in pairs:
        up, down = (values.isel(sample=np.flatnonzero(lengths == signed)) for signed in (length, -length))
        found[length] = Parity((up + down) / 2 - here, (up - down) / 2)
    return found, values.attrs
