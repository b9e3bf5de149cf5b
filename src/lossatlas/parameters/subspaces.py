"""Orthogonal bases, principal directions, planes through points, and projections on them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lossatlas.numerics.vectors import inner
from lossatlas.parameters.layout import Layout

FLAT = 1e-5  # of the longest extent of some points: with less across it they lie on a line, to float32's rounding


def orthogonalize(directions: Tensor) -> Tensor:
    """Gram-Schmidt that keeps each direction's norm: `(k, P)` -> `(k, P)`.

    Raises ValueError when a direction lies in the span of those before it.
    """
    turned = _float(directions)  # in place from here on: a large network has room for few copies
    norms = [_norm(row) for row in turned]
    for index, rest in enumerate(turned):
        for _ in range(2):  # once more, for what rounding left behind
            for unit in turned[:index]:
                rest.sub_(unit, alpha=float(inner(rest, unit)))
        left = _norm(rest)
        if left <= 1e-6 * norms[index]:
            raise ValueError(f"direction {index} is zero or parallel to those before it: wanted independent ones")
        rest.div_(left)
    for row, norm in zip(turned, norms, strict=True):
        row.mul_(norm)
    return turned.to(directions.dtype)


def orthogonalize_by_tensor(layout: Layout, directions: Tensor) -> Tensor:
    """Gram-Schmidt within every tensor that keeps each direction's norm there: `(k, P)` -> `(k, P)`.

    Scaling two layers of a ReLU network against each other then scales the directions along with the weights, and
    leaves a plane of them as it was; Gram-Schmidt over all of θ weighs the layers against each other. Tensors with
    fewer entries than directions are left to a last pass over all of θ, which is no change where there are none.

    Raises ValueError when a direction lies in the span of those before it.
    """
    turned = _float(directions)
    for part in layout.unflatten(turned).values():
        flat = part.view(len(directions), -1)
        if flat.shape[1] >= len(directions) and bool(flat.any(-1).all()):
            flat.copy_(orthogonalize(flat))
    return orthogonalize(turned).to(directions.dtype)


def cosine(a: Tensor, b: Tensor) -> float:
    """Cosine of the angle between two directions, computed in float64."""
    return float(inner(a, b)) / (_norm(a) * _norm(b))


def _float(directions: Tensor) -> Tensor:
    """A copy, in single precision at least."""
    return directions.to(torch.promote_types(directions.dtype, torch.float32), copy=True)


def _norm(vector: Tensor) -> float:
    return math.sqrt(float(inner(vector, vector)))


def principal_directions(points: Tensor, origin: Tensor, count: int = 2) -> tuple[Tensor, Tensor]:
    """The `count` leading directions of a trajectory about `origin`, and the share of variance of each.

    Singular vectors of the uncentred differences θ_i − origin (Li et al. 2018, section 7: origin is the final
    point, through which the plane passes), from their Gram matrix. `(t, P)` -> `(count, P)` orthonormal in
    float64, `(count,)`. The sign is such that the first point has positive coordinates.

    Raises ValueError when a point is not finite, or the differences span fewer than `count` dimensions.
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
    """The plane through three points, or of best fit to more: origin `(P,)`, axes `(2, P)`, shares of variance `(2,)`.

    Three: the origin is the first, the first axis leads to the second, and the third has a positive second coordinate
    (Gram-Schmidt on w₂ − w₁ and w₃ − w₁, as for figure 1 of Garipov et al. 2018). More: the origin is their mean, the
    axes are the two principal directions about it, with the first point at positive coordinates. The axes are
    orthonormal; the shares are those of the points' variance about their mean. `(m, P)` -> all in float64.

    Raises ValueError when the points lie on one line, to rounding.

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
    """Coordinates on orthonormal axes `(k, P)` about an origin, and how far off their span each point lies.

    The distance from the span is relative to that from the origin: 0 within it and at the origin, 1 at right angles.
    `(n, P)` -> `(n, k)`, `(n,)`, in float64 on the CPU, from one point at a time.
    """
    axes = axes.double()
    coordinates, off = [], []
    for point in points:
        difference = point.double() - origin
        place = axes @ difference
        length = difference.norm().clamp(min=torch.finfo(torch.float64).tiny)
        coordinates.append(place)
        off.append((difference - place @ axes).norm() / length)
    return torch.stack(coordinates).cpu(), torch.stack(off).cpu()
