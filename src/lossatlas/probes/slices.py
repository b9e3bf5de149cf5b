"""What does the loss look like along random directions?"""

from __future__ import annotations

import torch
import xarray as xr
from torch import Tensor

from lossatlas.directions import Biases, Normalization, cosine, orthogonalize, random_directions
from lossatlas.paths import Affine, centered, grid
from lossatlas.surface import Losses, by_split, sample


def random_line(
    losses: Losses,
    theta: Tensor,
    *,
    generator: torch.Generator,
    radius: float = 1.0,  # Li et al. 2018
    steps: int = 51,
    normalize: Normalization = "filter",
    biases: Biases = "zero",
) -> xr.Dataset:
    """L(θ + αd) for α in [−radius, radius] along one random direction d (Li et al. 2018, section 3).

    With `normalize="filter"` or `"layer"`, α = 1 moves every filter or layer by its own norm. `steps` is odd: the
    centre is θ itself. Costs `steps` evaluations. For the options see `directions.random_directions`.
    """
    layout = next(iter(by_split(losses).values())).layout
    direction = random_directions(layout, theta, 1, generator=generator, normalize=normalize, biases=biases)
    alpha = centered(radius, steps)
    result = sample(losses, Affine(theta, direction, alpha[:, None]), {"alpha": alpha.numpy()})
    return result.assign_attrs(normalize=normalize, biases=biases)


def random_plane(
    losses: Losses,
    theta: Tensor,
    *,
    generator: torch.Generator,
    radius: float = 1.0,  # Li et al. 2018
    steps: int = 25,
    normalize: Normalization = "filter",
    biases: Biases = "zero",
) -> xr.Dataset:
    """L(θ + αd₁ + βd₂) on a square grid along two random directions (Li et al. 2018, section 4).

    The directions are normalised, then made orthogonal with their norms kept; the cosine before and after is in
    the attributes `cosine_drawn` and `cosine`. Costs `steps²` evaluations. Dims `(alpha, beta)`.
    """
    layout = next(iter(by_split(losses).values())).layout
    drawn = random_directions(layout, theta, 2, generator=generator, normalize=normalize, biases=biases)
    directions = orthogonalize(drawn)
    axis = centered(radius, steps)
    result = sample(losses, Affine(theta, directions, grid(axis, axis)), {"alpha": axis.numpy(), "beta": axis.numpy()})
    return result.assign_attrs(
        normalize=normalize, biases=biases, cosine_drawn=cosine(*drawn), cosine=cosine(*directions)
    )
