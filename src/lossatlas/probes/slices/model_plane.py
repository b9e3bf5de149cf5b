"""Where do several models lie? The loss over the plane through them, and their trajectories on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lossatlas.numbers import loss_text, number, percent_text
from lossatlas.parameters.curves import Affine
from lossatlas.parameters.subspaces import plane_through, project
from lossatlas.probes.call import with_keywords
from lossatlas.probes.other_models import refuse_borrowed_buffers, warn_of_borrowed_buffers
from lossatlas.probes.probe import NOT_NEGATIVE, Cost, Probe, Settings, Subject, Told, at_least, nodes
from lossatlas.probes.sampling import SURFACE_TOL, Losses, by_split, examples_of_plane, sample, sample_grid
from lossatlas.probes.survey import Examples
from lossatlas.probes.telling import sample_text, table
from lossatlas.results.variables import UNITS
from lossatlas.splits import splits

VARIABLES = {
    "model_alpha": {"long_name": "model's first coordinate", "units": "parameter"},
    "model_beta": {"long_name": "model's second coordinate", "units": "parameter"},
    "model_loss": {"long_name": "loss of the model itself", "units": "criterion"},
    "model_plane_loss": {"long_name": "loss at the model's projection on the plane", "units": "criterion"},
    "model_off_plane": {"long_name": "distance from the plane / distance from its origin", "units": "1"},
}


@dataclass(frozen=True)
class ModelPlaneSettings(Settings):
    """The plane through solutions."""

    steps: Annotated[int, at_least(2)] = 51
    """Grid points along each axis."""
    margin: Annotated[float, NOT_NEGATIVE] = 0.3
    """What the grid shows around the solutions, as a share of their extent."""
    exact: bool = False
    """Measure every node; else as few as the loss takes, with an error that is stated."""
    examples: Examples = "auto"
    """Of every node: auto (as many as the error takes), all, or a number."""


@with_keywords
def model_plane(
    losses: Losses,
    models: Tensor,
    *,
    names: Sequence[str] | None = None,
    trajectories: Mapping[str, Tensor] | None = None,
    steps: int = 51,
    margin: float = 0.3,
    surface_tol: float = SURFACE_TOL,
    exact: bool = False,
    examples: Examples = "auto",
) -> xr.Dataset:
    """Loss over the plane through three models, or over the plane of best fit to more of them.

    Three models: the first is the origin, α leads from the first to the second and β at right angles to that towards
    the third (Garipov et al. 2018, figure 1). More: the origin is their mean and the axes are the two principal
    directions about it. The axes are orthonormal, so that a distance in the plane is one in parameter space; the grid
    is a square with even steps that covers the models, the trajectories and `margin` times the larger extent around
    them. Models rarely fall on its nodes: they are measured by themselves.

    A trajectory is shown where its checkpoints fall on the plane. What leads to the plane from elsewhere moves mostly
    at right angles to it: read a path together with `path_off_plane`.

    Costs steps² + 2 (m + all t) evaluations of each loss with `exact`; without, mostly less than a tenth of steps².

    Args:
        losses: one `Loss`, or a mapping of them by split.
        models: `(m, P)` with m of at least 3.
        names: of the models; "model 1", "model 2", ... if left out.
        trajectories: checkpoints `(t, P)` by name, each with a t of its own.
        steps: grid points per axis.
        margin: what lies around models and trajectories, relative to their larger extent.
        surface_tol: the largest error to aim at, relative to the range of the loss; see `sampling.sample_grid`.
        exact: measure every node.
        examples: of every node: "auto", as many as an error of 2 `surface_tol` takes, "all", or a number; see
            `sampling.sample_grid`.

    Returns:
        loss and metrics `(alpha, beta)`. Along dim `model`, whose coordinate holds the names: model_alpha and
        model_beta; model_loss, of the model itself, and model_plane_loss, of its projection, which differ where the
        plane misses the model; model_off_plane, its distance from the plane relative to that from the origin.
        The same as path_... along dim `point`, whose coordinates `trajectory` and `checkpoint` say which checkpoint of
        which trajectory each is: `result.groupby("trajectory")`. explained_variance by `component` is the share of
        the models' variance along each axis.

    Raises:
        ValueError: the models lie on one straight line, or the module has statistics (batch norm) and nobody said whose
            they are at the models.

    >>> from lossatlas.loss import toys
    >>> corners = torch.tensor([[0.0, 0.0, 1.0], [3.0, 0.0, 1.0], [0.0, 4.0, 1.0]])
    >>> result = model_plane(toys.bowl(3), corners, steps=3, margin=0.0)
    >>> result.model_alpha.values, result.model_beta.values, result.model_loss.values
    (array([0., 3., 0.]), array([0., 0., 4.]), array([0.5, 5. , 8.5]))
    """
    paths = dict(trajectories or {})
    if steps < 2 or not margin >= 0:
        raise ValueError(f"steps is {steps} and margin is {margin}: wanted at least 2 and at least 0")
    layout = next(iter(by_split(losses).values())).layout
    for name, stack in [("models", models), *paths.items()]:
        layout.check(stack)
        if stack.ndim != 2 or not len(stack):
            raise ValueError(f"{name} has shape {tuple(stack.shape)}: wanted (n, {layout.size}), a row for every point")
    labels = _labels(names, len(models))
    refuse_borrowed_buffers(losses, dict(zip(labels, models, strict=True)))
    warn_of_borrowed_buffers(losses, {f"the path {name}": stack[0] for name, stack in paths.items()})
    origin, axes, explained = plane_through(models)
    examples = examples_of_plane(examples, exact=exact)

    def on_plane(coordinates: Tensor) -> Affine:
        return Affine(origin.to(models), axes.to(models), coordinates)

    def placed(stack: Tensor, prefix: str, dim: str) -> xr.Dataset:
        coordinates, off_plane = project(stack, origin, axes)  # (n, 2), (n,)
        own, projected = (
            sample(losses, points, {dim: np.arange(len(stack))}, examples=examples).loss.drop_vars(dim)
            for points in (stack, on_plane(coordinates))
        )
        values = {
            "alpha": (dim, coordinates[:, 0].numpy()), "beta": (dim, coordinates[:, 1].numpy()),
            "loss": own, "plane_loss": projected, "off_plane": (dim, off_plane.numpy()),
        }  # fmt: skip
        return xr.Dataset({f"{prefix}_{name}": value for name, value in values.items()})

    points = placed(models, "model", "model").assign_coords(model=labels)
    if paths:
        parts = [
            placed(stack, "path", "point").assign_coords(
                trajectory=("point", [name] * len(stack)), checkpoint=("point", np.arange(len(stack)))
            )
            for name, stack in paths.items()
        ]
        points = points.merge(
            xr.concat(parts, "point", coords="minimal", compat="override", join="override", combine_attrs="override")
        )
    for name, values in points.data_vars.items():
        values.attrs = dict({**UNITS, **VARIABLES}[str(name)])
    kinds = ("model", "path") if paths else ("model",)
    alpha, beta = (np.concatenate([points[f"{kind}_{axis}"] for kind in kinds]) for axis in ("alpha", "beta"))
    alpha, beta = _square(alpha, beta, steps=steps, margin=margin)
    nodes = {"alpha": alpha.numpy(), "beta": beta.numpy()}
    result = sample_grid(losses, on_plane, nodes, tol=surface_tol, exact=exact, examples=examples)
    for axis in ("alpha", "beta"):
        result[axis].attrs["units"] = "parameter"
    measured = len(models) + sum(map(len, paths.values()))
    return result.assign(points.data_vars).assign(
        explained_variance=("component", explained.cpu().numpy(), UNITS["explained_variance"])
    ).assign_attrs(
        probe="model_plane", margin=margin, evaluations=result.attrs["evaluations"] + 2 * measured,
        origin=labels[0] if len(models) == 3 else "mean of the models",
    )  # fmt: skip


def _labels(names: Sequence[str] | None, count: int) -> list[str]:
    labels = [f"model {number}" for number in range(1, count + 1)] if names is None else list(names)
    if len(set(labels)) != count or len(labels) != count:
        raise ValueError(f"names are {labels}: wanted one for each of {count} models, no two alike")
    return labels


def _square(alpha: np.ndarray, beta: np.ndarray, *, steps: int, margin: float) -> list[Tensor]:
    """Two axes of `steps` even values and one length, around all finite coordinates and their margins."""
    finite = np.stack([alpha, beta])[:, np.isfinite(alpha) & np.isfinite(beta)]  # (2, n)
    low, high = finite.min(1), finite.max(1)
    half = (0.5 + margin) * float((high - low).max())
    return [torch.linspace(at - half, at + half, steps, dtype=torch.float64) for at in (low + high) / 2]


def _cost(subject: Subject, settings: ModelPlaneSettings) -> Cost:
    return Cost(evaluations=nodes(settings.steps, exact=settings.exact) + 2 * (1 + len(subject.others)))


def _tell(result: xr.Dataset, _: str) -> Told:
    split, part = next(iter(splits(result).items()))
    lines = [
        (str(model), number(alpha), number(beta), loss_text(own), loss_text(projected), percent_text(distance))
        for model, alpha, beta, own, projected, distance in zip(
            part.model.values,
            *(part[f"model_{what}"].values for what in ("alpha", "beta", "loss", "plane_loss", "off_plane")),
            strict=True,
        )
    ]
    headings = ("Model", "α", "β", f"Its {split} loss", "Loss of its projection", "Off the plane")
    return Told(
        tables=(table("Where the solutions lie; off the plane: relative.", headings, lines),), note=sample_text(result)
    )


PROBE = Probe(
    model_plane,
    ModelPlaneSettings,
    of="models",
    title="over the plane through the solutions",
    meaning=(
        "Loss over the plane through this model and the other solutions. One scale for all: distances in the plane are "
        "distances between weights."
    ),
    misleads=("It is exact for three solutions. Of more it is the plane of best fit, on which they are projected."),
    variables=VARIABLES,
    cost=_cost,
    tell=_tell,
)
