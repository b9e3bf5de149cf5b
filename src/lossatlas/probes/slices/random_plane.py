"""What does the loss look like over two random directions?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
import xarray as xr
from torch import Tensor

from lossatlas.parameters.curves import Affine, centered
from lossatlas.parameters.directions import Biases, Normalization, random_directions
from lossatlas.parameters.subspaces import cosine, orthogonalize_by_tensor
from lossatlas.probes.call import with_keywords
from lossatlas.probes.other_models import warn_of_borrowed_buffers
from lossatlas.probes.probe import ODD, POSITIVE, Cost, Probe, Settings, nodes
from lossatlas.probes.sampling import SURFACE_TOL, Losses, by_split, examples_of_plane, sample_grid
from lossatlas.probes.survey import Examples
from lossatlas.probes.telling import told_of_plane


@dataclass(frozen=True)
class RandomPlaneSettings(Settings):
    """A plane of two random directions."""

    radius: Annotated[float, POSITIVE] = 1.0
    """Half its side: at 1 every filter moves by its own norm."""
    steps: Annotated[int, ODD] = 51
    """Grid points along each axis, odd."""
    normalize: Normalization = "filter"
    """What of a direction has the norm of the weights: filter, layer or none."""
    exact: bool = False
    """Measure every node; else as few as the loss takes, with an error that is stated."""
    examples: Examples = "auto"
    """Of every node: auto (as many as the error takes), all, or a number."""


@with_keywords
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
    examples: Examples = "auto",
) -> xr.Dataset:
    """L(θ + αd₁ + βd₂) on a square grid along two random directions (Li et al. 2018, section 4).

    The directions are normalised, then made orthogonal within every tensor with their norms kept there, so that a plane
    of a ReLU network does not change when its layers are scaled against each other. Costs `steps²` evaluations with
    `exact`; without, mostly less than a tenth of that, for a surface whose error is stated beside it
    (`sampling.sample_grid`).

    Args:
        losses: one `Loss`, or a mapping of them by split.
        theta: θ `(P,)`, the centre.
        generator: of the directions, on the CPU.
        radius: the largest α and β. With `normalize="filter"`, 1 moves every filter by its own norm.
        steps: grid points per axis, odd, so that the centre is θ itself.
        normalize: what the directions are scaled to: "filter", "layer" or "none"; see `directions.random_directions`.
        biases: what becomes of tensors with one dimension: "zero" or "layer".
        surface_tol: the largest error to aim at, relative to the range of the loss; see `sampling.sample_grid`.
        exact: measure every node.
        examples: of every node: "auto", as many as an error of 2 `surface_tol` takes, "all", or a number; see
            `sampling.sample_grid`.

    Returns:
        loss and metrics `(alpha, beta)`. The cosine of d₁ and d₂ before and after they were made orthogonal is in the
        attributes `cosine_drawn` and `cosine`.

    Raises:
        ValueError: an even number of steps, or a direction that is zero.
    """
    warn_of_borrowed_buffers(losses, {"θ": theta})
    layout = next(iter(by_split(losses).values())).layout
    drawn = random_directions(layout, theta, 2, generator=generator, normalize=normalize, biases=biases)
    directions = orthogonalize_by_tensor(layout, drawn)
    axis = centered(radius, steps)
    nodes = {"alpha": axis.numpy(), "beta": axis.numpy()}
    result = sample_grid(
        losses,
        partial(Affine, theta, directions),
        nodes,
        tol=surface_tol,
        exact=exact,
        examples=examples_of_plane(examples, exact=exact),
    )
    return result.assign_attrs(
        probe="random_plane", normalize=normalize, biases=biases, cosine_drawn=cosine(*drawn),
        cosine=cosine(*directions),
    )  # fmt: skip


PROBE = Probe(
    random_plane,
    RandomPlaneSettings,
    of="model",
    title="over two random directions",
    meaning=(
        "Loss over two random normalised directions, orthogonal to each other (Li et al. 2018). It does not change "
        "when the layers of a ReLU network are scaled against each other as wholes, but does when single units are."
    ),
    misleads=(
        "It is one draw of many: lines along several random directions show how draws differ. A sharp valley can look "
        "like a bowl."
    ),
    cost=lambda subject, settings: Cost(evaluations=nodes(settings.steps, exact=settings.exact)),
    tell=lambda result, _: told_of_plane(result, "Over a plane of random directions"),
    folder="random_slice",
    standard=True,
)
