"""Is there a barrier between two solutions?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lossatlas.numbers import listed, loss_text
from lossatlas.parameters.curves import Segment
from lossatlas.probes.call import with_keywords
from lossatlas.probes.node_layout import layout_along
from lossatlas.probes.other_models import refuse_borrowed_buffers
from lossatlas.probes.probe import Column, Cost, Probe, Settings, Told, at_least
from lossatlas.probes.sampling import SURFACE_TOL, Losses, surveys_of, values_at
from lossatlas.probes.survey import Examples, Survey
from lossatlas.probes.telling import sample_text, table
from lossatlas.splits import splits

VARIABLES = {
    "barrier": {"long_name": "maximum on the path minus the larger end loss", "units": "criterion"},
    "barrier_resolution": {"long_name": "what the last refinement added to the barrier", "units": "criterion"},
    "barrier_error": {"long_name": "error of the barrier by the sample of examples", "units": "criterion"},
    "excess": {"long_name": "maximum above the line between the end losses", "units": "criterion"},
}


@dataclass(frozen=True)
class LinearConnectivitySettings(Settings):
    """The straight path between two solutions."""

    steps: Annotated[int, at_least(3)] = 25
    """Even points on the path, both ends included."""
    refinements: Annotated[int, at_least(0)] = 2
    """How often it is measured anew around its peaks."""
    examples: Examples = "auto"
    """Of every point: auto (as many as the error takes), all, or a number."""


REFINED = 4  # new points in each of the two intervals beside a peak


@with_keywords
def linear_connectivity(
    losses: Losses,
    start: Tensor,
    end: Tensor,
    *,
    steps: int = 25,
    refinements: int = 2,
    examples: Examples = "auto",
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
        examples: of every point, as in `sampling.sample_grid`: "auto", "all", or a number.

    Returns:
        loss and metrics `(alpha,)`; barrier, excess, and barrier_resolution, which is what the last refinement added to
        the barrier, NaN without one. All in units of the criterion. Where examples are sampled also their error, and
        barrier_error: how far the differences from the end are off, at all points at once in 95 of 100 draws.

    Raises:
        ValueError: fewer than three steps, ends that do not come from one architecture, or a module with statistics
            (batch norm) of which nobody said whose they are at the ends.
    """
    if steps < 3:
        raise ValueError(f"steps is {steps}: wanted at least 3, for the ends and one point between")
    alpha = np.linspace(0, 1, steps)
    refuse_borrowed_buffers(losses, {"start": start, "end": end})

    def at(places: np.ndarray) -> Segment:
        return Segment(start, end, torch.from_numpy(places[:, 0]))

    layout = layout_along(alpha[:, None], nodes=points(steps, refinements))
    surveys = surveys_of(losses, at, layout, examples=examples, tol=SURFACE_TOL)
    result = values_at(losses, alpha[:, None], at, {"alpha": alpha}, surveys)
    before = xr.full_like(_barrier(result), float("nan"))
    for _ in range(refinements):
        before = _barrier(result)
        new = np.setdiff1d(_around_peaks(result), result.alpha.values)
        if len(new):
            more = values_at(losses, new[:, None], at, {"alpha": new}, surveys)
            result = xr.concat(
                [result, more], "alpha", data_vars="minimal", coords="minimal", compat="override",
                combine_attrs="override",
            ).sortby("alpha")  # fmt: skip
    if surveys:  # the band of all points together
        every = result.alpha.values
        result = values_at(losses, every[:, None], at, {"alpha": every}, surveys)
        result = result.assign(barrier_error=_barrier_error(result, surveys))
    return result.assign(
        barrier=_barrier(result).assign_attrs(VARIABLES["barrier"]),
        excess=_above_line(result).max("alpha", skipna=False).assign_attrs(VARIABLES["excess"]),
        barrier_resolution=(_barrier(result) - before).assign_attrs(VARIABLES["barrier_resolution"]),
    ).assign_attrs(probe="linear_connectivity", evaluations=result.sizes["alpha"])


def points(steps: int, refinements: int) -> int:
    """Points of a path, about."""
    return steps + 4 * REFINED * refinements


def _barrier_error(result: xr.Dataset, surveys: Mapping[str, Survey]) -> xr.DataArray:
    """The largest error of a difference between a point of the path and its higher end, by split."""
    alpha, errors = result.alpha.values, []
    for split, part in splits(result).items():
        one = surveys.get(split)
        higher = alpha[0 if part.loss.values[0] >= part.loss.values[-1] else -1]
        ends = np.full((len(alpha), 1), higher)
        errors.append(0.0 if one is None else float(one.difference_errors(alpha[:, None], ends).max()))
    dims = ("split",) if "split" in result.dims else ()
    return xr.DataArray(
        np.array(errors).reshape([len(errors)] if dims else []), dims=dims, attrs=VARIABLES["barrier_error"]
    )


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
    errors = {split: float(part.barrier_error) for split, part in splits(result).items() if "barrier_error" in part}
    barriers = listed(
        [
            f"{line[1]} ({line[0]}" + (f", ± {loss_text(errors[line[0]])}" if errors.get(line[0]) else "") + ")"
            for line in lines
        ]
    )
    caption = f"Path to {other}. Resolution: what the last refinement added."
    headings = ("Data", "Barrier", "Resolution", "Above the line between the ends")
    return Told(
        f"The straight path to {other} has a barrier of {barriers}.",
        tables=(table(caption, headings, lines),),
        note=sample_text(result),
    )


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
    cost=lambda subject, settings: Cost(evaluations=points(settings.steps, settings.refinements)),
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
