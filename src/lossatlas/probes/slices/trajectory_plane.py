"""Which way did the optimizer go? The loss over the plane that holds most of the trajectory."""

from __future__ import annotations

from functools import partial

import torch
import xarray as xr
from torch import Tensor

from lossatlas.parameters.curves import Affine
from lossatlas.parameters.subspaces import principal_directions, project
from lossatlas.probes.sampling import SURFACE_TOL, Losses, by_split, sample, sample_grid
from lossatlas.results.variables import UNITS


def trajectory_plane(
    losses: Losses,
    checkpoints: Tensor,
    *,
    steps: int = 51,
    margin: float = 0.3,
    surface_tol: float = SURFACE_TOL,
    exact: bool = False,
) -> xr.Dataset:
    """Loss over the plane of the two leading principal directions of a trajectory, through its last point.

    Singular vectors of the uncentred differences θ_i − θ_last (Li et al. 2018, section 7). The grid covers the
    projected path and `margin` times its extent on each side, and has the last point (0, 0) as one of its nodes.

    Args:
        checkpoints: `(t, P)` in the order of training, at least three.
        steps: grid points per axis.
        surface_tol, exact: see `surface.sample_grid`. Costs steps² + 2 t evaluations where every node is measured, and
            mostly less than a tenth of steps² where not.

    Returns:
        loss and metrics `(alpha, beta)`; along dim `checkpoint` the path's coordinates, how far each checkpoint
        lies off the plane (relative to its distance from the last point), its own loss `path_loss` and the loss
        of its projection `path_plane_loss`: where they differ, the picture does not show the trajectory's loss.
        `explained_variance` by `component`.
    """
    next(iter(by_split(losses).values())).layout.check(checkpoints)
    if checkpoints.ndim != 2 or len(checkpoints) < 3:
        raise ValueError(f"checkpoints have shape {tuple(checkpoints.shape)}: wanted (t, P) with t of at least 3")
    last = checkpoints[-1]
    axes, explained = principal_directions(checkpoints, last)
    path, off_plane = project(checkpoints, last, axes)  # (t, 2), (t,)
    alpha, beta = (_axis(values, steps, margin) for values in path.T)
    basis = axes.to(last)
    result = sample_grid(
        losses, partial(Affine, last, basis), {"alpha": alpha.numpy(), "beta": beta.numpy()},
        tol=surface_tol, exact=exact,
    )  # fmt: skip
    numbers = torch.arange(len(checkpoints)).numpy()
    own = sample(losses, checkpoints, {"checkpoint": numbers}).loss
    projected = sample(losses, Affine(last, basis, path), {"checkpoint": numbers}).loss
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
