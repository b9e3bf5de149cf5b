"""What can be measured of one model, and how finely."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

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
    """Of the curvature; auto: float64 below two million parameters."""
