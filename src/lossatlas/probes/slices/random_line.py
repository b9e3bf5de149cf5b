"""What does the loss look like along random directions?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lossatlas.loss.fidelity import rough_losses
from lossatlas.numbers import counted, loss_text
from lossatlas.numerics.profiles import basin_width
from lossatlas.parameters.curves import Affine, centered
from lossatlas.parameters.directions import Biases, Normalization, random_directions
from lossatlas.probes.call import with_keywords
from lossatlas.probes.other_models import warn_of_borrowed_buffers
from lossatlas.probes.probe import ODD, POSITIVE, Column, Cost, Probe, Settings, Told, at_least
from lossatlas.probes.sampling import SURFACE_TOL, Losses, by_split, sample_grid
from lossatlas.probes.survey import Examples
from lossatlas.probes.telling import sample_text, table
from lossatlas.splits import splits

BASIN_RISE = 0.1  # nats above the centre: where the basin of a line ends


@dataclass(frozen=True)
class RandomLineSettings(Settings):
    """Lines along random directions."""

    radius: Annotated[float, POSITIVE] = 1.0
    """Half their length: at 1 every filter moves by its own norm."""
    steps: Annotated[int, ODD] = 51
    """Points on a line, odd."""
    draws: Annotated[int, at_least(1)] = 10
    """Random directions."""
    normalize: Normalization = "filter"
    """What of a direction has the norm of the weights: filter, layer or none."""


@with_keywords
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
    examples: Examples = "auto",
) -> xr.Dataset:
    """L(θ + αd) for α in [−radius, radius] along random directions d (Li et al. 2018, section 3).

    One line says what one direction shows; `draws` of them, each along a direction of its own, say how much that is by
    chance. Costs `draws` · `steps` evaluations of each loss, and one direction at a time in memory.
    With `exact=False` as few evaluations as give each line to within `surface_tol` of its range, with the error stated
    beside it (`sampling.sample_grid`): from 48 steps on, or 28 on so many examples that a sample of them pays.

    Args:
        losses: one `Loss`, or a mapping of them by split.
        theta: θ `(P,)`, the centre.
        generator: of the directions, on the CPU.
        radius: the largest α. With `normalize="filter"` or `"layer"`, α = 1 moves every filter or layer by its own
            norm.
        steps: points of each line, odd, so that the centre is θ itself.
        draws: directions.
        normalize: what the directions are scaled to: "filter", "layer" or "none"; see `directions.random_directions`.
        biases: what becomes of tensors with one dimension: "zero" or "layer".
        surface_tol: the largest error to aim at, relative to the range of the loss; see `sampling.sample_grid`.
        exact: measure every point.
        examples: of every node: "auto", as many as an error of 2 `surface_tol` takes, "all", or a number; see
            `sampling.sample_grid`.

    Returns:
        loss and metrics `(alpha,)`, and with more than one draw `(alpha, draw)`. The first draw is the line that the
        same generator gives with `draws=1`.

    Raises:
        ValueError: an even number of steps, or a direction that is zero.
    """
    if draws < 1:
        raise ValueError(f"draws is {draws}: wanted at least 1")
    warn_of_borrowed_buffers(losses, {"θ": theta})
    layout = next(iter(by_split(losses).values())).layout
    alpha = centered(radius, steps)
    axes = {"alpha": alpha.numpy()}
    rough = cache(lambda: rough_losses(by_split(losses), lambda: theta))  # the same for every draw
    lines = []
    for _ in range(draws):
        direction = random_directions(layout, theta, 1, generator=generator, normalize=normalize, biases=biases)
        on_line = partial(Affine, theta, direction)
        lines.append(sample_grid(losses, on_line, axes, tol=surface_tol, exact=exact, examples=examples, rough=rough))
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


def _tell(result: xr.Dataset, _: str) -> Told:
    lines, said = [], []
    radius = float(result.alpha.values[-1])
    for split, part in splits(result).items():
        middle = float(part.loss.sel(alpha=0, method="nearest").values.flat[0])
        rise = part.loss.isel(alpha=[0, -1]).mean("alpha").values.ravel() - middle  # (draw,)
        median, least, most = (loss_text(float(value)) for value in (np.median(rise), rise.min(), rise.max()))
        lines.append((split, loss_text(middle), median, least, most))
        said.append(f"the {split} loss rises by {median} (median; {least} to {most})")
    headings = ("Data", "Loss at the centre", "Median rise", "Smallest rise", "Largest rise")
    drawn = counted(result.sizes.get("draw", 1), "random direction")
    return Told(
        f"Along {drawn} {said[0]} at α = ±{radius:g}.",
        tables=(table("Rise of the loss at the ends of the lines, mean of both ends.", headings, lines),),
        note=sample_text(result),
    )


def _width(line: xr.Dataset) -> float:
    """Of the first draw's basin."""
    loss = line.loss.isel(draw=0) if "draw" in line.dims else line.loss
    return basin_width(line.alpha.values, loss.values, rise=BASIN_RISE)


PROBE = Probe(
    random_line,
    RandomLineSettings,
    of="model",
    title="along random directions",
    meaning=(
        "Loss along Gaussian directions, normalised so that networks of different weight scales can be compared "
        "(Li et al. 2018). The spread over several directions says how much of one picture is chance."
    ),
    misleads=(
        "Among many dimensions a random direction is nearly orthogonal to the few steep ones, so a line shows "
        "something like the mean curvature."
    ),
    cost=lambda subject, settings: Cost(evaluations=settings.steps * settings.draws),
    tell=_tell,
    columns={"width": Column("Width of the basin along a random direction", _width)},
    folder="random_slice",
    standard=True,
    every_draw={"steps": 21},
)
