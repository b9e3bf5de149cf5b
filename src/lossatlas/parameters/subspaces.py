"""Orthogonal bases, principal directions, planes through points, and projections on them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lossatlas.numerics.vectors import inner
from lossatlas.parameters.layout import Layout

# Extent of some points at right angles to their longest one, relative to it, up to which they lie on a line. With less,
# the rounding of float32 would decide which plane they span.
FLAT = 1e-5

# Length of what is left of a direction without those before it, relative to its own, up to which it lies in their span.
# With less, rounding would be taken for a direction.
INDEPENDENT = 1e-6


def orthogonalize(directions: Tensor) -> Tensor:
    """Gram-Schmidt on `directions` that keeps the norm of each: `(k, P)` -> `(k, P)`.

    Every direction is made orthogonal twice, for what rounding left behind ("twice is enough"; Giraud et al. 2005).

    Raises:
        ValueError: a direction lies in the span of those before it.
    """
    orthogonal = _float(directions)  # in place from here on: a large network has room for few copies
    norms = [_norm(row) for row in orthogonal]
    for index, residual in enumerate(orthogonal):
        for _ in range(2):  # once more, for what rounding left behind
            for unit in orthogonal[:index]:
                residual.sub_(unit, alpha=float(inner(residual, unit)))
        length = _norm(residual)
        if length <= INDEPENDENT * norms[index]:
            raise ValueError(f"direction {index} is zero or parallel to those before it: wanted independent ones")
        residual.div_(length)
    for row, norm in zip(orthogonal, norms, strict=True):
        row.mul_(norm)
    return orthogonal.to(directions.dtype)


def orthogonalize_by_tensor(layout: Layout, directions: Tensor) -> Tensor:
    """Gram-Schmidt on `directions` within every tensor of the `layout`, norms kept there: `(k, P)` -> `(k, P)`.

    Scaling two layers of a ReLU network against each other then scales the directions along with the weights, and
    leaves a plane of them as it was; Gram-Schmidt over all of θ weighs the layers against each other. Tensors with
    fewer entries than directions are left to a last pass over all of θ, which is no change where there are none.

    Raises:
        ValueError: a direction lies in the span of those before it.
    """
    orthogonal = _float(directions)
    for part in layout.unflatten(orthogonal).values():
        flat = part.view(len(directions), -1)
        if flat.shape[1] >= len(directions) and bool(flat.any(-1).all()):
            flat.copy_(orthogonalize(flat))
    return orthogonalize(orthogonal).to(directions.dtype)


def cosine(a: Tensor, b: Tensor) -> float:
    """Cosine of the angle between two directions `a` and `b` `(P,)`, computed in float64."""
    return float(inner(a, b)) / (_norm(a) * _norm(b))


def _float(directions: Tensor) -> Tensor:
    """A copy, in single precision at least."""
    return directions.to(torch.promote_types(directions.dtype, torch.float32), copy=True)


def _norm(vector: Tensor) -> float:
    return math.sqrt(float(inner(vector, vector)))


def principal_directions(points: Tensor, origin: Tensor, count: int = 2) -> tuple[Tensor, Tensor]:
    """The leading directions of a trajectory about an origin, and the share of variance of each.

    Singular vectors of the uncentred differences θ_i − origin (Li et al. 2018, section 7: origin is the final
    point, through which the plane passes), from their Gram matrix. The sign is such that the first point has positive
    coordinates.

    Args:
        points: `(t, P)`, the trajectory.
        origin: `(P,)`.
        count: how many directions.

    Returns:
        directions `(count, P)`, orthonormal in float64, and shares `(count,)`.

    Raises:
        ValueError: a point is not finite, or the differences span fewer than `count` dimensions.
    """
    if not bool(torch.isfinite(points).all()):
        raise ValueError(
            "a point of the trajectory has parameters that are NaN or infinite: leave out what comes after training "
            "diverged"
        )
    differences = (points - origin).double()  # (t, P)
    values, vectors = torch.linalg.eigh(differences @ differences.T)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    # The Gram matrix squares the scale: below 1e-12 of the largest value there is rounding only.
    if len(values) < count or not values[count - 1] > 1e-12 * values[0]:
        raise ValueError(
            f"{len(points)} points span fewer than {count} directions about the origin: "
            "save more checkpoints along the trajectory"
        )
    axes = (vectors[:, :count].T @ differences) / values[:count, None].sqrt()  # (count, P)
    axes = torch.linalg.qr(axes.T).Q.T  # once more orthonormal, for what the square root lost
    signs = torch.where(axes @ differences[0] < 0, -1.0, 1.0).double()
    return axes * signs[:, None], values[:count] / values.sum()


def plane_through(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The plane through three `points`, or of best fit to more: origin `(P,)`, axes `(2, P)`, shares of variance
    `(2,)`.

    Three: the origin is the first, the first axis leads to the second, and the third has a positive second coordinate
    (Gram-Schmidt on w₂ − w₁ and w₃ − w₁, as for figure 1 of Garipov et al. 2018). More: the origin is their mean, the
    axes are the two principal directions about it, with the first point at positive coordinates. The axes are
    orthonormal; the shares are those of the points' variance about their mean. `(m, P)` -> all in float64.

    Raises:
        ValueError: the points lie on one line, to rounding, or one of them is not finite.

    >>> origin, axes, shares = plane_through(torch.tensor([[1.0, 1.0, 0.0], [3.0, 1.0, 0.0], [1.0, 1.0, 5.0]]))
    >>> axes.tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    if points.ndim != 2 or len(points) < 3:
        raise ValueError(f"got points of shape {tuple(points.shape)}: wanted (m, P) with m of at least 3, for a plane")
    if not bool(torch.isfinite(points).all()):
        raise ValueError("a point of the plane has parameters that are NaN or infinite: wanted finite ones")
    mean = points.double().mean(0)
    differences = points - mean  # (m, P), in float64
    extents = torch.linalg.eigvalsh(differences @ differences.T).clamp(min=0).sqrt()
    rounding = 4 * torch.finfo(points.dtype).eps * float(points.norm(dim=-1).max())
    if not float(extents[-2]) > max(FLAT * float(extents[-1]), rounding):
        raise ValueError(f"the {len(points)} points lie on one line: wanted three at least that span a plane")
    if len(points) == 3:
        origin = points[0].double()
        axes = torch.nn.functional.normalize(orthogonalize(points[1:] - origin), dim=-1)
    else:
        origin, (axes, _) = mean, principal_directions(points, mean)
    return origin, axes, (differences @ axes.T).square().sum(0) / differences.square().sum()


def project(points: Tensor, origin: Tensor, axes: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates of points on a plane or another subspace, and how far off it each of them lies.

    Args:
        points: `(n, P)`; one at a time is in float64.
        origin: `(P,)`.
        axes: `(k, P)`, orthonormal.

    Returns:
        coordinates `(n, k)` in parameter units; and `(n,)` the distance from the span relative to that from the origin:
        0 within it and at the origin, 1 at right angles. In float64 on the CPU.
    """
    axes = axes.double()
    coordinates, distances = [], []
    for point in points:
        difference = point.double() - origin
        place = axes @ difference
        length = difference.norm().clamp(min=torch.finfo(torch.float64).tiny)
        coordinates.append(place)
        distances.append((difference - place @ axes).norm() / length)
    return torch.stack(coordinates).cpu(), torch.stack(distances).cpu()
