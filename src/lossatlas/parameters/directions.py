"""Directions in parameter space: random ones with the scale of the network, and those of given points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self, get_args

import torch
from torch import Tensor

from lossatlas import hardware
from lossatlas.parameters.layout import Layout
from lossatlas.random_streams import check_generator

Normalization = Literal["filter", "layer", "none"]
Biases = Literal["zero", "layer"]


def random_directions(
    layout: Layout,
    theta: Tensor,
    count: int,
    *,
    generator: torch.Generator,
    normalize: Normalization = "filter",
    biases: Biases = "zero",  # Li et al. 2018, released code: ignore=biasbn
) -> Tensor:
    """`(count, P)` Gaussian directions scaled to the network at θ (Li et al. 2018, section 4).

    Args:
        layout: where the tensors lie in θ.
        theta: θ `(P,)`, whose norms they get.
        count: directions.
        generator: of the draws, on the CPU: it gives the same directions on every device.
        normalize: "filter" gives every row of a matrix (output neuron) and every output channel of a kernel the
            norm that it has in θ; "layer" does so for every tensor as a whole; "none" leaves N(0, 1).
        biases: what becomes of tensors with one dimension (biases, norm parameters): "zero", or "layer": scaled
            as one tensor. They have no filters.

    Raises:
        ValueError: another normalization, or a direction that is zero.
    """
    layout.check(theta, single=True)
    check_generator(generator)
    for what, said, known in (("normalize", normalize, Normalization), ("biases", biases, Biases)):
        if said not in get_args(known):
            raise ValueError(f"{what} is {said!r}: wanted one of {', '.join(map(repr, get_args(known)))}")
    draws = torch.randn(count, layout.size, generator=generator, dtype=torch.float64)
    if normalize != "none":
        wanted = layout.unflatten(theta.detach())
        for name, part in layout.unflatten(draws).items():
            # In place, tensor by tensor: a large network has room for few copies in float64.
            _scale(part, wanted[name].to("cpu", torch.float64), normalize, biases)
    if not bool(draws.any(-1).all()):
        raise ValueError(
            f"a direction is zero: with biases={biases!r} no parameter that is not zero is left; "
            'wanted one with two dimensions, or biases="layer" or normalize="none"'
        )
    return draws.to(theta.device, theta.dtype)


@dataclass(frozen=True)
class Surroundings:
    """θ itself, then points around it, θ + radius · d: `len` count + 1, `[i:j]` -> `(j − i, P)`. Made with `of`.

    The directions d are those of `random_directions`, drawn together and kept. Where they would take more than
    `hardware.KEPT_DIRECTION_BYTES`, every one has a generator of its own, seeded by `generator`, and is drawn again
    whenever it is asked for: a point at a time is in memory.

    Args:
        layout: where the tensors lie in θ.
        theta: θ `(P,)`.
        radius: length of the directions, relative to what `normalize` gives them.
        seeds: `(count,)`, of the directions that are not kept.
        points: `(count + 1, P)`, where they are kept.
        normalize: as in `random_directions`.
        biases: as in `random_directions`.
    """

    layout: Layout
    theta: Tensor  # (P,)
    radius: float
    seeds: Tensor  # (count,)
    points: Tensor | None  # (count + 1, P)
    normalize: Normalization
    biases: Biases

    @classmethod
    def of(
        cls,
        layout: Layout,
        theta: Tensor,
        count: int,
        *,
        generator: torch.Generator,
        radius: float,
        normalize: Normalization = "filter",
        biases: Biases = "zero",
    ) -> Self:
        """The points around θ in random directions.

        Args:
            layout: where the tensors lie in θ.
            theta: θ `(P,)`.
            count: directions.
            generator: of the draws, on the CPU.
            radius: length of the directions, relative to what `normalize` gives them.
            normalize: as in `random_directions`.
            biases: as in `random_directions`.
        """
        layout.check(theta)
        points, seeds = None, torch.zeros(count, dtype=torch.int64)
        if 8 * count * layout.size <= hardware.KEPT_DIRECTION_BYTES:
            drawn = random_directions(layout, theta, count, generator=generator, normalize=normalize, biases=biases)
            points = torch.cat([theta[None], theta + radius * drawn])
        else:
            seeds = torch.randint(2**62, (count,), generator=generator)
        return cls(layout, theta, radius, seeds, points, normalize, biases)

    def __len__(self) -> int:
        return len(self.seeds) + 1

    def __getitem__(self, index: slice) -> Tensor:
        if self.points is not None:
            return self.points[index]
        return torch.stack([self._point(number) for number in range(*index.indices(len(self)))])

    def _point(self, number: int) -> Tensor:
        if number == 0:
            return self.theta
        own = torch.Generator().manual_seed(int(self.seeds[number - 1]))
        (direction,) = random_directions(
            self.layout, self.theta, 1, generator=own, normalize=self.normalize, biases=self.biases
        )
        return direction.mul_(self.radius).add_(self.theta)


def _scale(draws: Tensor, weight: Tensor, normalize: Normalization, biases: Biases) -> None:
    """Give `draws` (count, *shape) the norms of `weight` (*shape), by filter or as a whole, in place."""
    if weight.ndim <= 1 and biases == "zero":
        draws.zero_()
        return
    by_filter = normalize == "filter" and weight.ndim > 1
    rows = weight.shape[0] if by_filter else 1
    d = draws.view(len(draws), rows, -1)  # (count, rows, entries)
    norms = weight.reshape(rows, -1).norm(dim=-1)[:, None]  # (rows, 1)
    lengths = d.norm(dim=-1, keepdim=True)
    d.mul_(norms).div_(lengths)
