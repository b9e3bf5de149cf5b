"""Is there a barrier between two solutions?"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lossatlas.parameters.curves import Segment
from lossatlas.probes.sampling import Losses, sample
from lossatlas.results.variables import UNITS

REFINED = 4  # new points in each of the two intervals beside a peak


def linear_connectivity(
    losses: Losses, start: Tensor, end: Tensor, *, steps: int = 25, refinements: int = 2
) -> xr.Dataset:
    """Loss and metrics on the straight path between two solutions, and the height of its barrier.

    `barrier` is the maximum on the path minus the larger end loss; `excess` the maximum of what lies above the
    line between the end losses (Entezari et al. 2022). Both are 0 at least, since the ends are on the path. The
    path is measured at `steps` even values of α in [0, 1] (25: Ainsworth et al. 2023), then anew around every peak
    `refinements` times, so alpha is uneven. `barrier_resolution` is what the last refinement added to the barrier, NaN
    without one.
    """
    if steps < 3:
        raise ValueError(f"steps is {steps}: wanted at least 3, for the ends and one point between")
    result = _measure(losses, start, end, np.linspace(0, 1, steps))
    before = xr.full_like(_barrier(result), float("nan"))
    for _ in range(refinements):
        before = _barrier(result)
        new = np.setdiff1d(_around_peaks(result), result.alpha.values)
        if len(new):
            result = xr.concat([result, _measure(losses, start, end, new)], "alpha", combine_attrs="override").sortby(
                "alpha"
            )
    return result.assign(
        barrier=_barrier(result).assign_attrs(UNITS["barrier"]),
        excess=_above_line(result).max("alpha", skipna=False).assign_attrs(UNITS["excess"]),
        barrier_resolution=(_barrier(result) - before).assign_attrs(UNITS["barrier_resolution"]),
    ).assign_attrs(probe="linear_connectivity", evaluations=result.sizes["alpha"])


def _measure(losses: Losses, start: Tensor, end: Tensor, alpha: np.ndarray) -> xr.Dataset:
    return sample(losses, Segment(start, end, torch.from_numpy(alpha)), {"alpha": alpha})


def _barrier(result: xr.Dataset) -> xr.DataArray:
    ends = np.maximum(result.loss.isel(alpha=0, drop=True), result.loss.isel(alpha=-1, drop=True))
    return result.loss.max("alpha", skipna=False) - ends


def _above_line(result: xr.Dataset) -> xr.DataArray:
    first, last = result.loss.isel(alpha=0, drop=True), result.loss.isel(alpha=-1, drop=True)
    return result.loss - (first + result.alpha * (last - first))


def _around_peaks(result: xr.Dataset) -> np.ndarray:
    """New α between the peaks of both barriers, of every split, and their neighbours."""
    alpha = result.alpha.values
    fresh = []
    for curve in (result.loss, _above_line(result)):
        for peak in np.unique(np.nan_to_num(curve.values, nan=-np.inf).argmax(axis=curve.get_axis_num("alpha"))):
            for a, b in ((peak - 1, peak), (peak, peak + 1)):
                if a >= 0 and b < len(alpha):
                    fresh.append(np.linspace(alpha[a], alpha[b], REFINED + 2)[1:-1])
    return np.unique(np.concatenate(fresh))
