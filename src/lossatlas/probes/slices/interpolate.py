"""What does the loss do on the straight line between two points?"""

from __future__ import annotations

from functools import partial

import torch
import xarray as xr
from torch import Tensor

from lossatlas.loss.fidelity import rough_losses
from lossatlas.parameters.curves import Segment
from lossatlas.probes.sampling import SURFACE_TOL, Losses, by_split, sample_grid


def interpolate(
    losses: Losses,
    start: Tensor,
    end: Tensor,
    *,
    steps: int = 51,
    surface_tol: float = SURFACE_TOL,
    exact: bool = True,
) -> xr.Dataset:
    """Loss and metrics on the straight line from `start` to `end`, both ends included.

    L((1 − α) start + α end) at `steps` even values of α in [0, 1] (Goodfellow et al. 2015, section 3).
    Costs `steps` evaluations of each loss. With `exact=False` as few as give the curve to within `surface_tol` of its
    range, with the error stated beside it (`surface.sample_grid`): from 48 steps on, or 28 on so many examples
    that a sample of them pays. Units: those of the criterion.

    Raises ValueError when the ends do not come from one architecture, or `steps` is below 2.

    >>> from lossatlas.loss import toys
    >>> interpolate(toys.bowl(2), torch.zeros(2), torch.ones(2), steps=3).loss.values
    array([0.  , 0.25, 1.  ])
    """
    if steps < 2:
        raise ValueError(f"steps is {steps}: wanted at least 2, for the two ends")
    alpha = torch.linspace(0, 1, steps, dtype=torch.float64)
    line = Segment(start, end, alpha)
    result = sample_grid(
        losses, partial(_points, start, end), {"alpha": alpha.numpy()}, tol=surface_tol, exact=exact,
        rough=lambda: rough_losses(by_split(losses), lambda: line[-1:][0]),  # what is hard for the start is everything
    )  # fmt: skip
    return result.assign_attrs(probe="interpolate")


def _points(start: Tensor, end: Tensor, coordinates: Tensor) -> Segment:
    return Segment(start, end, coordinates[:, 0])
