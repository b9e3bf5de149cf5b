"""Is there a barrier between two solutions?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lossatlas.numbers import listed, loss_text
from lossatlas.parameters.curves import Segment
from lossatlas.probes.other_models import refuse_borrowed_buffers
from lossatlas.probes.probe import Column, Cost, Probe, Settings, Told, at_least
from lossatlas.probes.sampling import Losses, sample
from lossatlas.probes.telling import table
from lossatlas.splits import splits

VARIABLES = {
    "barrier": {"long_name": "maximum on the path minus the larger end loss", "units": "criterion"},
    "barrier_resolution": {"long_name": "what the last refinement added to the barrier", "units": "criterion"},
    "excess": {"long_name": "maximum above the line between the end losses", "units": "criterion"},
}


@dataclass(frozen=True)
class LinearConnectivitySettings(Settings):
    """The straight path between two solutions."""

    steps: Annotated[int, at_least(3)] = 25
    """Even points on the path, both ends included."""
    refinements: Annotated[int, at_least(0)] = 2
    """How often it is measured anew around its peaks."""


REFINED = 4  # new points in each of the two intervals beside a peak


def linear_connectivity(
    losses: Losses, start: Tensor, end: Tensor, *, steps: int = 25, refinements: int = 2
) -> xr.Dataset:
    """Loss and metrics on the straight path between two solutions, and the height of its barrier.

    `barrier` is the maximum on the path minus the larger end loss; `excess` the maximum of what lies above the line
    between the end losses (Entezari et al. 2022). Both are 0 at least, since the ends are on the path. Costs `steps`
    evaluations of each loss, and for each refinement 8 at most for every peak.

    Args:
        losses: one `Loss`, or a mapping of them by split.
        start: `(P,)`, the solution at α = 0.
        end: `(P,)`, the solution at α = 1.
        steps: even values of α in [0, 1], at least three (25: Ainsworth et al. 2023).
        refinements: how often the path is measured anew around every peak, so that alpha is uneven.

    Returns:
        loss and metrics `(alpha,)`; barrier, excess, and barrier_resolution, which is what the last refinement added to
        the barrier, NaN without one. All in units of the criterion.

    Raises:
        ValueError: fewer than three steps, ends that do not come from one architecture, or a module with statistics
            (batch norm) of which nobody said whose they are at the ends.
    """
    if steps < 3:
        raise ValueError(f"steps is {steps}: wanted at least 3, for the ends and one point between")
    alpha = np.linspace(0, 1, steps)
    line = Segment(start, end, torch.from_numpy(alpha))
    refuse_borrowed_buffers(losses, {"start": start, "end": end})
    result = sample(losses, line, {"alpha": alpha})
    before = xr.full_like(_barrier(result), float("nan"))
    for _ in range(refinements):
        before = _barrier(result)
        new = np.setdiff1d(_around_peaks(result), result.alpha.values)
        if len(new):
            result = xr.concat([result, _measure(losses, start, end, new)], "alpha", combine_attrs="override").sortby(
                "alpha"
            )
    return result.assign(
        barrier=_barrier(result).assign_attrs(VARIABLES["barrier"]),
        excess=_above_line(result).max("alpha", skipna=False).assign_attrs(VARIABLES["excess"]),
        barrier_resolution=(_barrier(result) - before).assign_attrs(VARIABLES["barrier_resolution"]),
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


def _tell(result: xr.Dataset, other: str) -> Told:
    lines = [
        (split, *(loss_text(float(part[what])) for what in ("barrier", "barrier_resolution", "excess")))
        for split, part in splits(result).items()
    ]
    barriers = listed([f"{line[1]} ({line[0]})" for line in lines])
    caption = f"Path to {other}. Resolution: what the last refinement added."
    headings = ("Data", "Barrier", "Resolution", "Above the line between the ends")
    return Told(f"The straight path to {other} has a barrier of {barriers}.", tables=(table(caption, headings, lines),))


PROBE = Probe(
    linear_connectivity,
    LinearConnectivitySettings,
    of="pair",
    title="between solutions",
    meaning=(
        "Loss on the straight line to another solution. The barrier is the maximum on the path minus the larger end "
        "loss."
    ),
    misleads=(
        "Solutions with a barrier may be joined by a curved path (Garipov et al. 2018; Draxler et al. 2018), or by a "
        "straight one once their neurons are put in the same order (Entezari et al. 2022; Ainsworth et al. 2023)."
    ),
    variables=VARIABLES,
    cost=lambda subject, settings: Cost(evaluations=settings.steps + 4 * REFINED * settings.refinements),
    tell=_tell,
    columns={
        "barrier": Column("Barrier", lambda path: float(path.barrier)),
        "excess": Column("Excess", lambda path: float(path.excess)),
        "barrier_resolution": Column("Resolution of the barrier", lambda path: float(path.barrier_resolution)),
    },
    folder="connectivity",
    standard=True,
    every_draw={},
)
