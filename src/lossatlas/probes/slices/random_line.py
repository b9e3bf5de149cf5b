"""What does the loss look like along random directions?"""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lossatlas.loss.fidelity import rough_losses
from lossatlas.parameters.curves import Affine, centered
from lossatlas.parameters.directions import Biases, Normalization, random_directions
from lossatlas.probes.sampling import SURFACE_TOL, Losses, by_split, sample_grid


def random_line(
    losses: Losses,
    theta: Tensor,
    *,
    generator: torch.Generator,
    radius: float = 1.0,  # Li et al. 2018
    steps: int = 51,
    draws: int = 1,
    normalize: Normalization = "filter",
    biases: Biases = "zero",
    surface_tol: float = SURFACE_TOL,
    exact: bool = True,
) -> xr.Dataset:
    """L(θ + αd) for α in [−radius, radius] along random directions d (Li et al. 2018, section 3).

    One line says what one direction shows; `draws` of them, each along a direction of its own, say how much that is by
    chance. With `normalize="filter"` or `"layer"`, α = 1 moves every filter or layer by its own norm. `steps` is odd:
    the centre is θ itself. Costs `draws` · `steps` evaluations of each loss, and one direction at a time in memory.
    With `exact=False` as few evaluations as give each line to within `surface_tol` of its range, with the error stated
    beside it (`surface.sample_grid`): from 48 steps on, or 28 on so many examples that a sample of them pays.
    For the options see `directions.random_directions`.

    Returns:
        loss and metrics `(alpha,)`, and with more than one draw `(alpha, draw)`. The first draw is the line that the
        same generator gives with `draws=1`.
    """
    if draws < 1:
        raise ValueError(f"draws is {draws}: wanted at least 1")
    layout = next(iter(by_split(losses).values())).layout
    alpha = centered(radius, steps)
    axes = {"alpha": alpha.numpy()}
    rough = cache(lambda: rough_losses(by_split(losses), lambda: theta))  # the same for every draw
    lines = []
    for _ in range(draws):
        direction = random_directions(layout, theta, 1, generator=generator, normalize=normalize, biases=biases)
        on_line = partial(Affine, theta, direction)
        lines.append(sample_grid(losses, on_line, axes, tol=surface_tol, exact=exact, rough=rough))
    result = lines[0] if draws == 1 else _by_draw(lines)
    return result.assign_attrs(probe="random_line", normalize=normalize, biases=biases)


def _by_draw(lines: list[xr.Dataset]) -> xr.Dataset:
    """The lines along a last dimension `draw`, with their counts added up."""
    joined = xr.concat(
        lines, xr.IndexVariable("draw", np.arange(len(lines))), coords="minimal", compat="override", join="override",
        combine_attrs="drop_conflicts",
    ).transpose(..., "draw")  # fmt: skip
    lost = int((~np.isfinite(joined.loss.values)).sum())
    counted = [name for name in ("evaluations", "rough_evaluations") if name in lines[0].attrs]
    counts = {name: sum(line.attrs[name] for line in lines) for name in counted}
    if not joined.measured.all():
        joined.attrs.pop("filled", None)  # each line from nodes of its own
    return joined.assign_attrs(counts | ({"not_finite": lost} if lost else {}))
