"""What can be measured of one model, and how finely."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from lossatlas.errors import InputError

Name = Literal[
    "interpolation", "random_line", "random_plane", "trajectory_plane", "connectivity", "model_plane", "spectrum",
    "density", "blocks", "eigenvector_plane", "sharpness",
]  # fmt: skip
PROBES: tuple[Name, ...] = get_args(Name)


@dataclass(frozen=True)
class Settings:
    """How finely things are measured; the defaults are those of the probes."""

    seed: int = 0
    """Of every random direction and vector."""
    steps: int = 51
    """Grid points along each axis of a plane, odd."""
    exact: bool = False
    """Measure every node of the planes; else as few as the loss takes, with an error that is stated."""
    radius: float = 1.0
    """Half the width of random slices: at 1 every filter moves by its own norm."""
    draws: int = 10
    """Random directions of the line."""
    eigenvalues: int = 10
    """Largest eigenvalues of the Hessian."""
    samples: int = 30
    """Random vectors of the trace and of the density."""
    tol: float = 1e-3
    """Residual of eigenvalues, relative to the largest."""
    precision: Literal["auto", "float32", "float64"] = "auto"
    """Of the curvature; auto: float64 below two million parameters, but the model's own for the density and the
    eigenvector plane."""

    def __post_init__(self) -> None:
        """Raises InputError, before any work, for what no probe can use."""
        if self.steps < 3 or self.steps % 2 == 0:
            raise InputError(f"steps is {self.steps}: wanted an odd number of at least 3")
        for name, least in (("draws", 1), ("eigenvalues", 1), ("samples", 2)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}: wanted at least {least}")
        for name in ("radius", "tol"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} is {getattr(self, name)}: wanted a number above 0")
