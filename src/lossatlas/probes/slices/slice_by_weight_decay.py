"""How does the landscape around the solution change with weight decay?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import xarray as xr
from torch import Tensor

from lossatlas.parameters.curves import Affine, centered, grid
from lossatlas.parameters.directions import Biases, Normalization, random_directions
from lossatlas.parameters.subspaces import cosine, orthogonalize_by_tensor
from lossatlas.probes.sampling import SURFACE_TOL, Losses, by_split, sample_grid
from lossatlas.probes.weight_decays import check_family, join_family, squared_norms
from lossatlas.results.variables import UNITS


def slice_by_weight_decay(
    losses: Losses,
    thetas: Tensor,
    weight_decays: Sequence[float],
    *,
    generator: torch.Generator,
    radius: float = 1.0,  # Li et al. 2018
    steps: int = 51,
    normalize: Normalization = "filter",
    biases: Biases = "zero",
    surface_tol: float = SURFACE_TOL,
    exact: bool = False,
) -> xr.Dataset:
    """L(θ + αd₁ + βd₂) around the final weights of a network per weight decay, with the same d₁ and d₂ for all.

    The directions are drawn once, normalised to the network of the first weight decay (attribute `normalized_to`)
    and made orthogonal with their norms kept (Li et al. 2018, section 4), so that the surfaces differ by the networks
    alone. Networks trained with more weight decay are smaller, so the same step is a larger share of them, which
    alone changes their surface; `relative_length`, ‖d‖/‖θ‖ by weight decay, says how much larger. Loss and penalty as
    in `interpolate_by_weight_decay`. Costs `steps²` evaluations of each loss per weight decay with `exact`;
    without, mostly less than a tenth of that, for surfaces whose error is stated (`surface.sample_grid`).

    Args:
        thetas: `(w, P)`, a row per weight decay.
        normalize, biases: see `directions.random_directions`.

    Returns:
        loss and metrics `(weight_decay, alpha, beta)`; without a split, penalty `(weight_decay, alpha, beta)` and
        relative_length `(weight_decay,)`, from the root mean square of both norms. The cosine of d₁ and d₂ before
        and after is in the attributes `cosine_drawn` and `cosine`.
    """
    check_family(losses, weight_decays, thetas=thetas)
    layout = next(iter(by_split(losses).values())).layout
    drawn = random_directions(layout, thetas[0], 2, generator=generator, normalize=normalize, biases=biases)
    directions = orthogonalize_by_tensor(layout, drawn)  # (2, P)
    axis = centered(radius, steps)
    axes = {"alpha": axis.numpy(), "beta": axis.numpy()}
    parts = []
    for theta in thetas:
        surface = sample_grid(losses, partial(Affine, theta, directions), axes, tol=surface_tol, exact=exact)
        norms = squared_norms(torch.cat([theta[None], directions]), grid(axis, axis))
        parts.append(surface.assign(penalty=(tuple(axes), norms.reshape(steps, steps))))
    result = join_family(parts, weight_decays)
    lengths = directions.double().square().sum(-1).mean().sqrt() / thetas.double().norm(dim=-1)  # (w,)
    return result.assign(
        relative_length=("weight_decay", lengths.cpu().numpy(), UNITS["relative_length"])
    ).assign_attrs(
        probe="slice_by_weight_decay", normalize=normalize, biases=biases, normalized_to=float(weight_decays[0]),
        cosine_drawn=cosine(*drawn), cosine=cosine(*directions),
    )  # fmt: skip
