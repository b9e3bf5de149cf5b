"""How does the landscape change with weight decay?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lossatlas.directions import Biases, Normalization, cosine, orthogonalize_by_tensor, random_directions
from lossatlas.paths import Affine, Segment, centered, grid
from lossatlas.results import UNITS
from lossatlas.surface import SURFACE_TOL, Losses, by_split, sample, sample_grid


def interpolate_by_weight_decay(
    losses: Losses, starts: Tensor, ends: Tensor, weight_decays: Sequence[float], *, steps: int = 51
) -> xr.Dataset:
    """Loss and metrics on the straight line from initial to final weights, for a network per weight decay.

    The loss is that of the data alone, and must come without a penalty of its own. Beside it stands `penalty`, λ‖θ‖²/2
    over all of θ, whose gradient λθ is what the `weight_decay=λ` of torch.optim's SGD and Adam adds (AdamW's does not:
    it is no term of the loss); their sum is what was trained. Costs `steps` evaluations of each loss per weight decay.

    Args:
        starts, ends: `(w, P)`, a row per weight decay.

    Returns:
        loss and metrics `(weight_decay, alpha)`, penalty `(weight_decay, alpha)`, which has no split.

    >>> from lossatlas import toys
    >>> ends = torch.tensor([[2.0], [1.0]])
    >>> result = interpolate_by_weight_decay(toys.bowl(1), torch.zeros(2, 1), ends, (0, 0.5), steps=3)
    >>> result.loss.values
    array([[0.   , 0.5  , 2.   ],
           [0.   , 0.125, 0.5  ]])
    >>> result.penalty.values
    array([[0.    , 0.    , 0.    ],
           [0.    , 0.0625, 0.25  ]])
    """
    _check(losses, weight_decays, starts=starts, ends=ends)
    if steps < 2:
        raise ValueError(f"steps is {steps}: wanted at least 2, for the two ends")
    alpha = torch.linspace(0, 1, steps, dtype=torch.float64)
    parts = []
    for start, end in zip(starts, ends, strict=True):
        line = sample(losses, Segment(start, end, alpha), {"alpha": alpha.numpy()})
        norms = _squared_norms(torch.stack([start, end - start]), alpha[:, None])
        parts.append(line.assign(penalty=("alpha", norms)))
    return _joined(parts, weight_decays).assign_attrs(probe="interpolate_by_weight_decay")


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
    _check(losses, weight_decays, thetas=thetas)
    layout = next(iter(by_split(losses).values())).layout
    drawn = random_directions(layout, thetas[0], 2, generator=generator, normalize=normalize, biases=biases)
    directions = orthogonalize_by_tensor(layout, drawn)  # (2, P)
    axis = centered(radius, steps)
    axes = {"alpha": axis.numpy(), "beta": axis.numpy()}
    parts = []
    for theta in thetas:
        surface = sample_grid(losses, partial(Affine, theta, directions), axes, tol=surface_tol, exact=exact)
        norms = _squared_norms(torch.cat([theta[None], directions]), grid(axis, axis))
        parts.append(surface.assign(penalty=(tuple(axes), norms.reshape(steps, steps))))
    result = _joined(parts, weight_decays)
    lengths = directions.double().square().sum(-1).mean().sqrt() / thetas.double().norm(dim=-1)  # (w,)
    return result.assign(
        relative_length=("weight_decay", lengths.cpu().numpy(), UNITS["relative_length"])
    ).assign_attrs(
        probe="slice_by_weight_decay", normalize=normalize, biases=biases, normalized_to=float(weight_decays[0]),
        cosine_drawn=cosine(*drawn), cosine=cosine(*directions),
    )  # fmt: skip


def _check(losses: Losses, weight_decays: Sequence[float], **stacks: Tensor) -> None:
    if any(loss.penalty for loss in by_split(losses).values()):
        raise ValueError(
            "the loss has a penalty of its own: wanted one made without weight_decay and penalty, "
            "since the penalty here is that of each of weight_decays"
        )
    values = np.asarray(weight_decays, dtype=float)
    if not values.size or not (np.isfinite(values) & (values >= 0)).all() or np.unique(values).size < values.size:
        raise ValueError(f"weight_decays is {tuple(weight_decays)}: wanted finite numbers from 0 up, no two alike")
    for name, stack in stacks.items():
        if stack.ndim != 2 or len(stack) != values.size:
            raise ValueError(
                f"{name} has shape {tuple(stack.shape)}: wanted ({values.size}, P), a row for every weight decay"
            )


def _joined(parts: list[xr.Dataset], weight_decays: Sequence[float]) -> xr.Dataset:
    """The results of all weight decays, of which each has ‖θ‖² as its `penalty`, along a dimension."""
    parts = [
        part.assign(penalty=(weight_decay / 2 * part.penalty).assign_attrs(UNITS["penalty"]))
        for part, weight_decay in zip(parts, weight_decays, strict=True)
    ]
    values = xr.IndexVariable("weight_decay", np.asarray(weight_decays, dtype=float), UNITS["weight_decay"])
    joined = xr.concat(parts, values, coords="minimal", compat="override", join="override", combine_attrs="override")
    return joined.transpose("split", "weight_decay", ..., missing_dims="ignore").assign_attrs(
        evaluations=sum(part.attrs["evaluations"] for part in parts)
    )


def _squared_norms(rows: Tensor, coordinates: Tensor) -> np.ndarray:
    """‖r₀ + Σ cᵢ rᵢ‖² of rows r `(k + 1, P)` at coordinates c `(n, k)`, from inner products, `(n,)` in float64."""
    gram = (rows.double() @ rows.double().T).cpu()  # (k + 1, k + 1)
    weights = torch.cat([torch.ones(len(coordinates), 1, dtype=torch.float64), coordinates.double()], dim=-1)
    return torch.einsum("ni,ij,nj->n", weights, gram, weights).clamp(min=0).numpy()
