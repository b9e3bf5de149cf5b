"""How the eigenvalues of a symmetric matrix are distributed, from a few products with random vectors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lossatlas.numerics.lanczos import NEGLIGIBLE, Product

BASIS_BYTES = 2**29  # of the bases of the draws that advance together
POINTS_PER_SIGMA = 5
TAILS = 6  # σ beyond the outermost node, where the grid ends: 2e-9 of a node's mass is lost

Scale = Literal["linear", "log"]


@dataclass(frozen=True)
class Quadrature:
    """Nodes λ and weights w per draw, each draw of total weight 1: tr f(A) / P ≈ mean over draws of Σ w f(λ)."""

    nodes: Tensor  # (draws, m)
    weights: Tensor  # (draws, m)
    products: int

    def mean(self, values: Tensor) -> tuple[float, float]:
        """The mean over the spectrum of f, given at the nodes, and its standard error over the draws."""
        each = (self.weights * values).sum(-1)
        return float(each.mean()), float(each.std() / len(each) ** 0.5)


@dataclass(frozen=True)
class Density:
    """A spectral density of total mass 1 over an axis u, which is λ itself or asinh(λ / 2ε) / ln 10."""

    eigenvalues: Tensor  # (g,), λ at the points of the grid
    axis: Tensor  # (g,), u at these points, evenly spaced
    density: Tensor  # (g,), per unit of u
    error: Tensor  # (g,), standard error over the draws
    sigma: float  # standard deviation of the Gaussian that every eigenvalue is broadened with, in units of u


def quadrature(
    product: Product,
    size: int,
    *,
    draws: int = 10,  # Ghorbani et al. 2019
    steps: int = 80,  # Ghorbani et al. 2019: 80 to 100
    generator: torch.Generator,
    deflate: tuple[Tensor, Tensor] | None = None,
    device: torch.device | str = "cpu",
) -> Quadrature:
    """Stochastic Lanczos quadrature (Ubaru, Chen and Saad 2017; Ghorbani, Krishnan and Xiao 2019).

    Each draw is a random direction, and `steps` Lanczos steps from it with full re-orthogonalisation. The eigenvalues
    of their averaged Gauss rule (`_averaged`) are its nodes, the squared first components of its eigenvectors the
    weights. Exact for polynomials up to degree 2 · steps in the sense of vᵀf(A)v; the outermost nodes may lie a little
    outside the spectrum. Draws advance together, as many as their bases fit 512 MiB.

    `deflate` are eigenvalues `(k,)` with their vectors `(k, P)`: they become nodes of weight 1 / P each, and the draws
    are made in what is left, so that outliers carry no sampling error. Costs `draws` · `steps` products.

    >>> found = quadrature(lambda rows: 3 * rows, 5, draws=2, generator=torch.Generator().manual_seed(0))
    >>> found.mean(found.nodes)[0]
    3.0
    """
    if draws < 2:
        raise ValueError(f"draws is {draws}: wanted at least 2, for a standard error")
    if steps < 1:
        raise ValueError(f"steps is {steps}: wanted at least 1")
    values, vectors = (torch.zeros(0), torch.zeros(0, size)) if deflate is None else deflate
    values, vectors = values.double().cpu(), vectors.to(device, torch.float64)
    rest = size - len(values)
    steps = min(steps, rest)
    nodes, weights = values.expand(draws, -1), torch.full((draws, len(values)), 1 / size, dtype=torch.float64)
    products = 0
    if rest:
        starts = torch.randn(draws, size, generator=generator, dtype=torch.float64)
        at_once = max(1, BASIS_BYTES // (8 * size * (steps + 1)))
        parts = [_lanczos(product, part.to(device), steps, vectors) for part in starts.split(at_once)]
        ritz, first = (torch.cat(part) for part in zip(*parts, strict=True))
        nodes, weights = torch.cat([nodes, ritz], -1), torch.cat([weights, first * (rest / size)], -1)
        products = draws * steps
    return Quadrature(nodes, weights, products)


def broaden(
    spectrum: Quadrature, *, scale: Scale = "linear", width: float = 0.01, linear_below: float = 1e-4
) -> Density:
    """The density, each node a Gaussian on the axis u, on a grid fine enough for it.

    Args:
        scale: "linear": u = λ, the density is per unit of λ. "log": u = asinh(λ / 2ε) / ln 10, about ± log₁₀(|λ| / ε):
            the density is per decade; bulk and outliers can be read off one axis.
        width: standard deviation (not variance) of the Gaussian, relative to the range of the nodes in u.
        linear_below: ε relative to the largest |λ|, where the log axis becomes linear.
    """
    largest = float(spectrum.nodes.abs().max())
    unit = 2 * linear_below * (largest or 1.0)
    warped = torch.asinh(spectrum.nodes / unit) / math.log(10) if scale == "log" else spectrum.nodes
    low, high = float(warped.min()), float(warped.max())
    span = high - low
    if span <= 1e-9 * max(abs(low), abs(high)):  # one eigenvalue: any width will do
        span = max(abs(low), abs(high)) or 1.0
    sigma = width * span
    points = 1 + math.ceil(POINTS_PER_SIGMA * (1 / width + 2 * TAILS))  # whatever the spectrum
    axis = torch.linspace(low - TAILS * sigma, high + TAILS * sigma, points, dtype=torch.float64)
    each = torch.stack([_gaussians(axis, *draw, sigma) for draw in zip(warped, spectrum.weights, strict=True)])
    eigenvalues = unit * torch.sinh(axis * math.log(10)) if scale == "log" else axis
    return Density(eigenvalues, axis, each.mean(0), each.std(0) / len(each) ** 0.5, sigma)


def spectral_density(
    product: Product,
    size: int,
    *,
    draws: int = 10,
    steps: int = 80,
    generator: torch.Generator,
    deflate: tuple[Tensor, Tensor] | None = None,
    scale: Scale = "linear",
    width: float = 0.01,
    device: torch.device | str = "cpu",
) -> Density:
    """`quadrature`, then `broaden`."""
    found = quadrature(product, size, draws=draws, steps=steps, generator=generator, deflate=deflate, device=device)
    return broaden(found, scale=scale, width=width)


def _gaussians(axis: Tensor, nodes: Tensor, weights: Tensor, sigma: float) -> Tensor:
    bumps = torch.exp(-0.5 * ((axis[:, None] - nodes) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
    return bumps @ weights  # (g,)


def _lanczos(product: Product, starts: Tensor, steps: int, outside: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and weights `(d, 2 steps − 1)` from starts `(d, P)`, all of it orthogonal to the rows of `outside`.

    In the precision of the product, single at least. The known part of an image, along the last two vectors and what is
    outside, goes first; what remains along the others is rounding, for which one pass over the whole basis is enough.
    """
    draws, size = starts.shape
    diagonal, couplings = torch.zeros(2, draws, steps, dtype=torch.float64)
    rows = starts - (starts @ outside.T) @ outside
    length = rows.norm(dim=-1, keepdim=True)
    alive = torch.ones(draws, 1, dtype=torch.bool, device=starts.device)
    basis = starts.new_empty(0)
    for step in range(steps):
        rows = torch.where(alive, rows / length, 0.0)
        image = product(rows)
        image = image.to(torch.promote_types(image.dtype, torch.float32))
        if not step:
            outside, rows = outside.to(image), rows.to(image)
            basis = image.new_empty(draws, steps, size)
        basis[:, step] = rows
        whole = image.norm(dim=-1, keepdim=True)
        if not torch.isfinite(whole).all():
            raise ValueError("the product with a vector is not finite: is the loss NaN or infinite at this point?")
        diagonal[:, step] = (image * rows).sum(-1).cpu()
        image = torch.addmm(image, image @ outside.T, outside, alpha=-1)
        known = basis[:, : step + 1]
        for last in (known[:, -2:], known):
            image = torch.baddbmm(image[:, None], image[:, None] @ last.mT, last, alpha=-1)[:, 0]
        image = torch.addmm(image, image @ outside.T, outside, alpha=-1)
        rows, length = image, image.norm(dim=-1, keepdim=True)
        alive = alive & (length > NEGLIGIBLE[image.dtype] * whole)  # else the Krylov space is complete
        couplings[:, step] = torch.where(alive, length, 0.0)[:, 0].cpu()
    return _averaged(diagonal, couplings, complete=steps + len(outside) == size)


def _averaged(diagonal: Tensor, couplings: Tensor, *, complete: bool) -> tuple[Tensor, Tensor]:
    """Nodes and weights `(d, 2m − 1)` of the generalized averaged Gauss rule (Spalević 2007) of m Lanczos steps.

    The first m steps, and the first m − 1 once more in reverse behind them: exact for polynomials up to degree 2m, and
    with nodes between those of Gauss's rule. Costs no further product. Where the steps are as many as dimensions,
    `complete`, Gauss's own m nodes are the spectrum; where a space is complete before, what stands behind has weight 0.
    """
    m = diagonal.shape[-1]
    if complete or m == 1:
        couplings = couplings[:, : m - 1]
    else:
        diagonal = torch.cat([diagonal, diagonal[:, :-1].flip(-1)], -1)
        couplings = torch.cat([couplings, couplings[:, : m - 2].flip(-1)], -1)
    nodes, vectors = torch.linalg.eigh(torch.diag_embed(diagonal) + torch.diag_embed(couplings, -1))
    return nodes, vectors[:, 0] ** 2
