"""Which way did the optimizer go? The loss over the plane that holds most of the trajectory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lossatlas.numbers import loss_text, percent_text
from lossatlas.parameters.curves import Affine
from lossatlas.parameters.subspaces import principal_directions, project
from lossatlas.probes.call import with_keywords
from lossatlas.probes.other_models import warn_of_borrowed_buffers
from lossatlas.probes.probe import NOT_NEGATIVE, Column, Cost, Probe, Settings, Subject, Told, at_least, nodes
from lossatlas.probes.sampling import SURFACE_TOL, Losses, by_split, examples_of_plane, sample, sample_grid
from lossatlas.probes.survey import Examples
from lossatlas.probes.telling import basin_error, told_of_plane
from lossatlas.results.variables import UNITS


@dataclass(frozen=True)
class TrajectoryPlaneSettings(Settings):
    """The plane of the training path."""

    steps: Annotated[int, at_least(3)] = 51
    """Grid points along each axis."""
    margin: Annotated[float, NOT_NEGATIVE] = 0.3
    """What the grid shows beside the path, as a share of its extent."""
    exact: bool = False
    """Measure every node; else as few as the loss takes, with an error that is stated."""
    examples: Examples = "auto"
    """Of every node: auto (as many as the error takes), all, or a number."""


@with_keywords
def trajectory_plane(
    losses: Losses,
    checkpoints: Tensor,
    *,
    steps: int = 51,
    margin: float = 0.3,
    surface_tol: float = SURFACE_TOL,
    exact: bool = False,
    examples: Examples = "auto",
) -> xr.Dataset:
    """Loss over the plane of the two leading principal directions of a trajectory, through its last point.

    Singular vectors of the uncentred differences θ_i − θ_last (Li et al. 2018, section 7). The grid covers the
    projected path and `margin` times its extent on each side, and has the last point (0, 0) as one of its nodes.
    Costs steps² + 2 t evaluations of each loss with `exact`; without, mostly less than a tenth of steps².

    Args:
        losses: one `Loss`, or a mapping of them by split.
        checkpoints: `(t, P)` in the order of training, at least three.
        steps: grid points per axis, at least three.
        margin: what lies around the path, relative to its extent along each axis.
        surface_tol: the largest error to aim at, relative to the range of the loss; see `sampling.sample_grid`.
        exact: measure every node.
        examples: of every node: "auto", as many as an error of 2 `surface_tol` takes, "all", or a number; see
            `sampling.sample_grid`.

    Returns:
        loss and metrics `(alpha, beta)`; along dim `checkpoint` the path's coordinates, how far each checkpoint
        lies off the plane (relative to its distance from the last point), its own loss `path_loss` and the loss
        of its projection `path_plane_loss`: where they differ, the picture does not show the trajectory's loss.
        `explained_variance` by `component`.

    Raises:
        ValueError: fewer than three checkpoints, or such as span fewer than two directions.
    """
    next(iter(by_split(losses).values())).layout.check(checkpoints)
    if checkpoints.ndim != 2 or len(checkpoints) < 3:
        raise ValueError(f"checkpoints have shape {tuple(checkpoints.shape)}: wanted (t, P) with t of at least 3")
    warn_of_borrowed_buffers(losses, {"the first checkpoint": checkpoints[0]})
    last, examples = checkpoints[-1], examples_of_plane(examples, exact=exact)
    axes, explained = principal_directions(checkpoints, last)
    path, off_plane = project(checkpoints, last, axes)  # (t, 2), (t,)
    alpha, beta = (_axis(values, steps, margin) for values in path.T)
    basis = axes.to(last)
    result = sample_grid(
        losses, partial(Affine, last, basis), {"alpha": alpha.numpy(), "beta": beta.numpy()},
        tol=surface_tol, exact=exact, examples=examples,
    )  # fmt: skip
    numbers = torch.arange(len(checkpoints)).numpy()
    own = sample(losses, checkpoints, {"checkpoint": numbers}, examples=examples).loss
    projected = sample(losses, Affine(last, basis, path), {"checkpoint": numbers}, examples=examples).loss
    for axis in ("alpha", "beta"):
        result[axis].attrs["units"] = "parameter"
    return result.assign(
        path_loss=own.assign_attrs(UNITS["path_loss"]),
        path_plane_loss=projected.assign_attrs(UNITS["path_plane_loss"]),
        path_alpha=("checkpoint", path[:, 0].numpy(), UNITS["path_alpha"]),
        path_beta=("checkpoint", path[:, 1].numpy(), UNITS["path_beta"]),
        off_plane=("checkpoint", off_plane.numpy(), UNITS["off_plane"]),
        explained_variance=("component", explained.cpu().numpy(), UNITS["explained_variance"]),
    ).assign_attrs(
        probe="trajectory_plane", margin=margin, evaluations=result.attrs["evaluations"] + 2 * len(checkpoints)
    )


def _axis(path: Tensor, steps: int, margin: float) -> Tensor:
    """`steps` even values with 0 among them, as close as covers the path and its margins."""
    if steps < 3:
        raise ValueError(f"steps is {steps}: wanted at least 3")
    low, high = float(path.min()), float(path.max())  # low <= 0 <= high: the last point is on the path
    left, right = margin * (high - low) - low, margin * (high - low) + high
    step, zero_at = min(
        (max(left / max(before, 1e-300), right / max(steps - 1 - before, 1e-300)), before) for before in range(steps)
    )
    return (torch.arange(steps, dtype=torch.float64) - zero_at) * step


def _cost(subject: Subject, settings: TrajectoryPlaneSettings) -> Cost:
    checkpoints = 0 if subject.trajectory is None else len(subject.trajectory)
    return Cost(evaluations=nodes(settings.steps, exact=settings.exact) + 2 * checkpoints)


def _tell(result: xr.Dataset, _: str) -> Told:
    shares = result.explained_variance.values
    farthest = float(result.off_plane.values[:-1].max())
    gap = float(np.abs(result.path_loss - result.path_plane_loss).max())
    words = (
        f"The plane of the training path holds {percent_text(float(shares.sum()))} of its variance; the checkpoint "
        f"farthest from it lies off it by {percent_text(farthest)} of its distance from the end, and losses of "
        f"checkpoints and of their projections differ by up to {loss_text(gap)}."
    )
    plane = told_of_plane(result, "Over the plane of the training path")
    return Told(words, (words,), plane.tables, note=plane.note)


def _relative_error(plane: xr.Dataset) -> float:
    """The largest stated error of the surface over its range."""
    extent = float(np.ptp(plane.loss.values))
    return float(plane.loss_error.max()) / extent if extent else 0.0


PROBE = Probe(
    trajectory_plane,
    TrajectoryPlaneSettings,
    of="trajectory",
    title="over the plane of the training path",
    meaning=(
        "Loss over the two leading principal directions of the checkpoints about the final weights (Li et al. 2018)."
    ),
    misleads=(
        "Paths of almost any kind put most of their variance into two such directions, so a large share is no sign "
        "of a simple path. Where a checkpoint lies off the plane, the picture does not show its loss."
    ),
    cost=_cost,
    tell=_tell,
    columns={
        "explained_variance": Column(
            "Share of the path in its plane", lambda plane: float(plane.explained_variance.values[:2].sum())
        ),
        "off_plane": Column(
            "Largest relative distance from that plane", lambda plane: float(plane.off_plane.max(skipna=False))
        ),
        "error": Column("Largest error to expect of that surface, of its range", _relative_error),
        "basin_error": Column("Largest error to expect where it is lowest, of the loss", basin_error),
    },
    fewest=3,
    folder="pca",
    standard=True,
)
