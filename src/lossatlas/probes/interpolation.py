"""What does the loss do on the straight line between two points?"""

from __future__ import annotations

import torch
import xarray as xr
from torch import Tensor

from lossatlas.paths import Segment
from lossatlas.surface import Losses, sample


def interpolate(losses: Losses, start: Tensor, end: Tensor, *, steps: int = 51) -> xr.Dataset:
    """Loss and metrics on the straight line from `start` to `end`, both ends included.

    L((1 − α) start + α end) at `steps` even values of α in [0, 1] (Goodfellow et al. 2015, section 3).
    Costs `steps` evaluations of each loss. Units: those of the criterion.

    Raises ValueError when the ends do not come from one architecture, or `steps` is below 2.

    >>> from lossatlas import toys
    >>> interpolate(toys.bowl(2), torch.zeros(2), torch.ones(2), steps=3).loss.values
    array([0.  , 0.25, 1.  ])
    """
    if steps < 2:
        raise ValueError(f"steps is {steps}: wanted at least 2, for the two ends")
    alpha = torch.linspace(0, 1, steps, dtype=torch.float64)
    result = sample(losses, Segment(start, end, alpha), {"alpha": alpha.numpy()})
    return result.assign_attrs(probe="interpolate")
