"""Directions in parameter space: random ones with the scale of the network, and those of a trajectory."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lossatlas.parameters import Layout

Normalization = Literal["filter", "layer", "none"]
Biases = Literal["zero", "layer"]


def random_directions(
    layout: Layout,
    theta: Tensor,
    count: int,
    *,
    generator: torch.Generator,
    normalize: Normalization = "filter",
    biases: Biases = "zero",  # Li et al. 2018, released code: ignore=biasbn
) -> Tensor:
    """`(count, P)` Gaussian directions scaled to the network at θ (Li et al. 2018, section 4).

    Args:
        normalize: "filter" gives every row of a matrix (output neuron) and every output channel of a kernel the
            norm that it has in θ; "layer" does so for every tensor as a whole; "none" leaves N(0, 1).
        biases: what becomes of tensors with one dimension (biases, norm parameters): "zero", or "layer": scaled
            as one tensor. They have no filters.

    The directions are drawn on the CPU, so that a generator gives the same ones on every device.
    """
    layout.check(theta)
    draws = torch.randn(count, layout.size, generator=generator, dtype=torch.float64)
    if normalize == "none":
        scaled = draws
    else:
        wanted = layout.unflatten(theta.detach().to("cpu", torch.float64))
        scaled = layout.flatten(
            {name: _scaled(d, wanted[name], normalize, biases) for name, d in layout.unflatten(draws).items()}
        )
    if (scaled.abs().amax(-1) == 0).any():
        raise ValueError(
            f"a direction is zero: with biases={biases!r} no parameter that is not zero is left; "
            'wanted one with two dimensions, or biases="layer" or normalize="none"'
        )
    return scaled.to(theta.device, theta.dtype)


def orthogonalize(directions: Tensor) -> Tensor:
    """Gram-Schmidt that keeps each direction's norm: `(k, P)` -> `(k, P)`.

    Raises ValueError when a direction lies in the span of those before it.
    """
    basis: list[Tensor] = []
    for index, direction in enumerate(directions.to(torch.float64)):
        norm = direction.norm()
        rest = direction
        for _ in range(2):  # once more, for what rounding left behind
            for unit in basis:
                rest = rest - (rest @ unit) * unit
        if norm == 0 or rest.norm() < 1e-6 * norm:
            raise ValueError(f"direction {index} is zero or parallel to those before it: wanted independent ones")
        basis.append(rest / rest.norm())
    norms = directions.to(torch.float64).norm(dim=-1, keepdim=True)
    return (torch.stack(basis) * norms).to(directions.dtype)


def cosine(a: Tensor, b: Tensor) -> float:
    """Cosine of the angle between two directions, computed in float64."""
    a, b = a.double(), b.double()
    return float(a @ b / (a.norm() * b.norm()))


def principal_directions(points: Tensor, origin: Tensor, count: int = 2) -> tuple[Tensor, Tensor]:
    """The `count` leading directions of a trajectory about `origin`, and the share of variance of each.

    Singular vectors of the uncentred differences θ_i − origin (Li et al. 2018, section 7: origin is the final
    point, through which the plane passes), from their Gram matrix. `(t, P)` -> `(count, P)` orthonormal in
    float64, `(count,)`. The sign is such that the first point has positive coordinates.

    Raises ValueError when the differences span fewer than `count` dimensions.
    """
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


def _scaled(draws: Tensor, weight: Tensor, normalize: Normalization, biases: Biases) -> Tensor:
    """`draws` (count, *shape) with the norms of `weight` (*shape), by filter or as a whole."""
    if weight.ndim <= 1 and biases == "zero":
        return torch.zeros_like(draws)
    by_filter = normalize == "filter" and weight.ndim > 1
    rows = weight.shape[0] if by_filter else 1
    d = draws.reshape(len(draws), rows, -1)  # (count, rows, entries)
    norms = weight.reshape(rows, -1).norm(dim=-1)[:, None]  # (rows, 1)
    return (d * norms / d.norm(dim=-1, keepdim=True)).reshape(draws.shape)
