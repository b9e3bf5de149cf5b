"""Directions in parameter space: random ones with the scale of the network, and those of given points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self, get_args

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


def adaptive_directions(layout: Layout, theta: Tensor, count: int, *, generator: torch.Generator) -> Tensor:
    """`(count, P)` directions |θ| ⊙ N(0, 1), every entry in proportion to its own weight (Kwon et al. 2021).

    The expected square of the length of every tensor is that of its norm in θ. In a network of homogeneous activations
    they scale along with the weights when layers or single units are scaled against each other.

    Args:
        layout: where the tensors lie in θ.
        theta: θ `(P,)`.
        count: directions.
        generator: of the draws, on the CPU.
    """
    layout.check(theta, single=True)
    check_generator(generator)
    draws = torch.randn(count, layout.size, generator=generator, dtype=torch.float64)
    return draws.mul_(theta.detach().cpu().abs()).to(theta.device, theta.dtype)


class Draw(Protocol):
    """What draws directions, such as `random_directions` with a layout and a point."""

    def __call__(self, count: int, /, *, generator: torch.Generator) -> Tensor:
        """So many directions, `(count, P)`.

        Args:
            count: how many.
            generator: of the draws, on the CPU.
        """
        ...


@dataclass(frozen=True)
class Surroundings:
    """Points around θ along random directions d, θ + length · d: `len` n, `[i:j]` -> `(j − i, P)`. Made with `of`.

    The directions are drawn together and kept. Where they would take more than `hardware.KEPT_DIRECTION_BYTES`, every
    one has a generator of its own, seeded by `generator`, and is drawn again whenever it is asked for; of points that
    follow each other along one direction, once.

    Args:
        theta: θ `(P,)`.
        draw: the directions.
        numbers: `(n,)` of int, along which of them each point lies.
        lengths: `(n,)`, how far, as a multiple of the direction: below 0 on the other side of θ, which is itself at 0.
        seeds: `(count,)`, of the directions that are not kept.
        kept: `(count, P)`, the directions that are; None where they are not.
    """

    theta: Tensor  # (P,)
    draw: Draw
    numbers: Tensor  # (n,)
    lengths: Tensor  # (n,)
    seeds: Tensor  # (count,)
    kept: Tensor | None  # (count, P)

    @classmethod
    def of(cls, theta: Tensor, draw: Draw, steps: Sequence[tuple[int, float]], *, generator: torch.Generator) -> Self:
        """The points at some steps along random directions.

        Args:
            theta: θ `(P,)`.
            draw: the directions.
            steps: number of the direction, from 0 up, and length, for every point.
            generator: of the draws, on the CPU.
        """
        numbers = torch.tensor([number for number, _ in steps])
        lengths = torch.tensor([length for _, length in steps], dtype=torch.float64)
        count = int(numbers.max()) + 1
        kept, seeds = None, torch.zeros(count, dtype=torch.int64)
        if 8 * count * theta.shape[-1] <= hardware.KEPT_DIRECTION_BYTES:
            kept = draw(count, generator=generator)
        else:
            seeds = torch.randint(2**62, (count,), generator=generator)
        return cls(theta, draw, numbers, lengths, seeds, kept)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: slice) -> Tensor:
        lengths = self.lengths[index, None].to(self.theta)  # (m, 1)
        if self.kept is not None:
            return torch.addcmul(self.theta, lengths, self.kept[self.numbers[index].to(self.kept.device)])
        points = torch.empty(len(lengths), len(self.theta), dtype=self.theta.dtype, device=self.theta.device)
        numbers, counts = self.numbers[index].unique_consecutive(return_counts=True)
        rows = zip(points.split(counts.tolist()), lengths.split(counts.tolist()), strict=True)
        for number, (some, far) in zip(numbers.tolist(), rows, strict=True):
            own = torch.Generator().manual_seed(int(self.seeds[number]))
            torch.addcmul(self.theta, far, self.draw(1, generator=own), out=some)
        return points


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
