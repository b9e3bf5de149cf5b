"""What does the loss look like over two random directions?"""

from __future__ import annotations

from functools import partial

import torch
import xarray as xr
from torch import Tensor

from lossatlas.parameters.curves import Affine, centered
from lossatlas.parameters.directions import Biases, Normalization, random_directions
from lossatlas.parameters.subspaces import cosine, orthogonalize_by_tensor
from lossatlas.probes.sampling import SURFACE_TOL, Losses, by_split, sample_grid


def random_plane(
    losses: Losses,
    theta: Tensor,
    *,
    generator: torch.Generator,
    radius: float = 1.0,  # Li et al. 2018
    steps: int = 51,
    normalize: Normalization = "filter",
    biases: Biases = "zero",
    surface_tol: float = SURFACE_TOL,
    exact: bool = False,
) -> xr.Dataset:
    """L(θ + αd₁ + βd₂) on a square grid along two random directions (Li et al. 2018, section 4).

    The directions are normalised, then made orthogonal within every tensor with their norms kept there, so that a plane
    of a ReLU network does not change when its layers are scaled against each other; the cosine before and after is in
    the attributes `cosine_drawn` and `cosine`. Dims `(alpha, beta)`. Costs `steps²` evaluations
    with `exact`; without, mostly less than a tenth of that, for a surface whose error is stated beside it
    (`surface.sample_grid`).
    """
    layout = next(iter(by_split(losses).values())).layout
    drawn = random_directions(layout, theta, 2, generator=generator, normalize=normalize, biases=biases)
    directions = orthogonalize_by_tensor(layout, drawn)
    axis = centered(radius, steps)
    nodes = {"alpha": axis.numpy(), "beta": axis.numpy()}
    result = sample_grid(losses, partial(Affine, theta, directions), nodes, tol=surface_tol, exact=exact)
    return result.assign_attrs(
        probe="random_plane", normalize=normalize, biases=biases, cosine_drawn=cosine(*drawn),
        cosine=cosine(*directions),
    )  # fmt: skip
