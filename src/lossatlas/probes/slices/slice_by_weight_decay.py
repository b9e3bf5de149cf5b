"""How does the landscape around the solution change with weight decay?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
import xarray as xr
from torch import Tensor

from lossatlas.numbers import loss_text, number
from lossatlas.parameters.curves import Affine, centered, grid
from lossatlas.parameters.directions import Biases, Normalization, random_directions
from lossatlas.parameters.subspaces import cosine, orthogonalize_by_tensor
from lossatlas.probes.call import with_keywords
from lossatlas.probes.probe import ODD, POSITIVE, Cost, Probe, Settings, Subject, Told, nodes
from lossatlas.probes.sampling import SURFACE_TOL, Losses, by_split, examples_of_plane, sample_grid
from lossatlas.probes.survey import Examples
from lossatlas.probes.telling import table
from lossatlas.probes.weight_decays import check_family, join_family, squared_norms
from lossatlas.splits import splits

VARIABLES = {
    "relative_length": {"long_name": "‖d‖ / ‖θ‖ of the directions", "units": "1"},
}


@dataclass(frozen=True)
class SliceByWeightDecaySettings(Settings):
    """Planes of the same two random directions around solutions at several weight decays."""

    radius: Annotated[float, POSITIVE] = 1.0
    """Half their side: at 1 every filter of the first network moves by its own norm."""
    steps: Annotated[int, ODD] = 51
    """Grid points along each axis, odd."""
    normalize: Normalization = "filter"
    """What of a direction has the norm of the weights: filter, layer or none."""
    exact: bool = False
    """Measure every node; else as few as the loss takes, with an error that is stated."""
    examples: Examples = "auto"
    """Of every node: auto (as many as the error takes), all, or a number."""


@with_keywords
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
    examples: Examples = "auto",
) -> xr.Dataset:
    """L(θ + αd₁ + βd₂) around the final weights of a network per weight decay, with the same d₁ and d₂ for all.

    The directions are drawn once, normalised to the network of the first weight decay (attribute `normalized_to`)
    and made orthogonal with their norms kept (Li et al. 2018, section 4), so that the surfaces differ by the networks
    alone. Networks trained with more weight decay are smaller, so the same step is a larger share of them, which
    alone changes their surface; `relative_length`, ‖d‖/‖θ‖ by weight decay, says how much larger. Loss and penalty as
    in `interpolate_by_weight_decay`. Costs `steps²` evaluations of each loss per weight decay with `exact`;
    without, mostly less than a tenth of that, for surfaces whose error is stated (`sampling.sample_grid`).

    Args:
        losses: one `Loss`, or a mapping of them by split.
        thetas: `(w, P)`, the centres, a row per weight decay.
        weight_decays: λ of each row, in units of the criterion per square of a parameter's.
        generator: of the directions, on the CPU.
        radius: the largest α and β.
        steps: grid points per axis, odd.
        normalize: what the directions are scaled to: "filter", "layer" or "none"; see `directions.random_directions`.
        biases: what becomes of tensors with one dimension: "zero" or "layer".
        surface_tol: the largest error to aim at, relative to the range of the loss; see `sampling.sample_grid`.
        exact: measure every node.
        examples: of every node: "auto", as many as an error of 2 `surface_tol` takes, "all", or a number; see
            `sampling.sample_grid`.

    Returns:
        loss and metrics `(weight_decay, alpha, beta)`; without a split, penalty `(weight_decay, alpha, beta)` and
        relative_length `(weight_decay,)`, from the root mean square of both norms. The cosine of d₁ and d₂ before
        and after is in the attributes `cosine_drawn` and `cosine`.

    Raises:
        ValueError: the rows are not as many as the weight decays, or a loss has a penalty.
    """
    check_family(losses, weight_decays, thetas=thetas)
    layout = next(iter(by_split(losses).values())).layout
    drawn = random_directions(layout, thetas[0], 2, generator=generator, normalize=normalize, biases=biases)
    directions = orthogonalize_by_tensor(layout, drawn)  # (2, P)
    axis = centered(radius, steps)
    axes = {"alpha": axis.numpy(), "beta": axis.numpy()}
    parts = []
    for theta in thetas:
        surface = sample_grid(
            losses,
            partial(Affine, theta, directions),
            axes,
            tol=surface_tol,
            exact=exact,
            examples=examples_of_plane(examples, exact=exact),
        )
        norms = squared_norms(torch.cat([theta[None], directions]), grid(axis, axis))
        parts.append(surface.assign(penalty=(tuple(axes), norms.reshape(steps, steps))))
    result = join_family(parts, weight_decays)
    lengths = directions.double().square().sum(-1).mean().sqrt() / thetas.double().norm(dim=-1)  # (w,)
    return result.assign(
        relative_length=("weight_decay", lengths.cpu().numpy(), VARIABLES["relative_length"])
    ).assign_attrs(
        probe="slice_by_weight_decay", normalize=normalize, biases=biases, normalized_to=float(weight_decays[0]),
        cosine_drawn=cosine(*drawn), cosine=cosine(*directions),
    )  # fmt: skip


def _tell(result: xr.Dataset, _: str) -> Told:
    split, part = next(iter(splits(result).items()))
    lines = [
        (f"{decay:g}", *map(loss_text, (plane.min(), plane.max())), number(float(length)))
        for decay, plane, length in zip(
            part.weight_decay.values, part.loss.values, part.relative_length.values, strict=True
        )
    ]
    headings = ("Weight decay", "Lowest", "Highest", "‖d‖ / ‖θ‖")
    return Told(tables=(table(f"The {split} loss on the grid, without the penalty.", headings, lines),))


def _cost(subject: Subject, settings: SliceByWeightDecaySettings) -> Cost:
    networks = 0 if subject.family is None else len(subject.family.weight_decays)
    return Cost(evaluations=networks * nodes(settings.steps, exact=settings.exact))


PROBE = Probe(
    slice_by_weight_decay,
    SliceByWeightDecaySettings,
    of="family",
    title="over two random directions at several weight decays",
    meaning=(
        "Loss of the data over the same two random directions around the final weights of networks that differ in "
        "their weight decay only."
    ),
    misleads=(
        "Networks trained with more weight decay are smaller, so that the same step is a larger share of them, which "
        "alone changes their surface."
    ),
    variables=VARIABLES,
    cost=_cost,
    tell=_tell,
    folder="regularization",
    standard=True,
)
