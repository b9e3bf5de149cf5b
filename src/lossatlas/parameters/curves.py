"""Lines and planes in parameter space as stacks of points that are made only when they are asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Segment:
    """(1 − α) start + α end at given α, both ends exact: `len` n, `[i:j]` -> `(j − i, P)`.

    Args:
        start: `(P,)`, the point at α = 0.
        end: `(P,)`, the point at α = 1.
        alpha: `(n,)`, without unit; values outside [0, 1] extend the line.

    Raises:
        ValueError: an end is no tensor, or they have unlike numbers of parameters.
    """

    start: Tensor  # (P,)
    end: Tensor  # (P,)
    alpha: Tensor  # (n,)

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            if not isinstance(given := getattr(self, name), Tensor):
                raise ValueError(
                    f"{name} is a {type(given).__name__}: wanted θ, a flat tensor; loss.layout.theta_of(module) and "
                    "loss.layout.flatten(state_dict) give one"
                )
        if self.start.shape != self.end.shape:
            raise ValueError(
                f"end has {self.end.numel()} parameters, start has {self.start.numel()}: "
                "both must come from the same architecture"
            )

    def __len__(self) -> int:
        return len(self.alpha)

    def __getitem__(self, index: slice) -> Tensor:
        return self.write(index, None)

    def write(self, index: slice, out: Tensor | None) -> Tensor:
        """The points of a slice `index`, `(m, P)`, in the memory of `out` `(m, P)`, or in fresh memory where that is
        None.
        """
        return torch.lerp(self.start, self.end, self.alpha[index, None].to(self.start), out=out)


@dataclass(frozen=True)
class Affine:
    """origin + coordinates · basis: `len` n, `[i:j]` -> `(j − i, P)`. Coordinate 0 gives the origin exactly.

    Args:
        origin: `(P,)`.
        basis: `(k, P)`, the directions.
        coordinates: `(n, k)`, in units of the directions.
    """

    origin: Tensor  # (P,)
    basis: Tensor  # (k, P)
    coordinates: Tensor  # (n, k)

    def __len__(self) -> int:
        return len(self.coordinates)

    def __getitem__(self, index: slice) -> Tensor:
        return self.write(index, None)

    def write(self, index: slice, out: Tensor | None) -> Tensor:
        """The points of a slice `index`, `(m, P)`, in the memory of `out` `(m, P)`, or in fresh memory where that is
        None.
        """
        return torch.addmm(self.origin, self.coordinates[index].to(self.basis), self.basis, out=out)


def centered(radius: float, steps: int) -> Tensor:
    """`steps` values from −`radius` to `radius` with 0 exactly in the middle, float64.

    Raises ValueError for an even number of steps or fewer than three, and where the radius is not above 0.

    >>> centered(1.0, 5)
    tensor([-1.0000, -0.5000,  0.0000,  0.5000,  1.0000], dtype=torch.float64)
    """
    if steps < 3 or steps % 2 == 0:
        raise ValueError(f"steps is {steps}: wanted an odd number of at least 3, so that the centre is measured")
    if not 0 < radius < math.inf:
        raise ValueError(f"radius is {radius}: wanted a number above 0")
    half = torch.linspace(0, radius, steps // 2 + 1, dtype=torch.float64)
    return torch.cat([-half.flip(0)[:-1], half])


def grid(*axes: Tensor) -> Tensor:
    """All combinations of the values of `axes`, `(n_i,)` each, the last axis fastest: `(n_1 · ... · n_k, k)`."""
    return torch.cartesian_prod(*axes).reshape(-1, len(axes))
