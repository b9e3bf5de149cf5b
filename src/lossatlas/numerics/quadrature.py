"""How the eigenvalues of a symmetric matrix are distributed, from a few products with random vectors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lossatlas.hardware import QUADRATURE_BASIS_BYTES
from lossatlas.numerics.krylov_basis import BREAKDOWN, NOT_FINITE
from lossatlas.numerics.lanczos import Product
from lossatlas.work import Stopped, cut_short

# Points of the grid of a density for each standard deviation of its Gaussians: sums over them are exact to rounding.
# With fewer a mass differs from 1; with more only the grid is longer.
POINTS_PER_SIGMA = 5

# Standard deviations beyond the outermost node, where the grid ends: 2e-9 of a node's mass is lost. With fewer more is
# lost; with more only the grid is longer.
TAILS = 6

# Of the largest |u|: a range of nodes below it is rounding, and the spectrum one eigenvalue. It only decides the width.
ONE_EIGENVALUE = 1e-9

# Steps of a draw, from which what there is gives a density, where a call is to end. Set by hand.
FEWEST_STEPS = 10

Scale = Literal["linear", "log"]


@dataclass(frozen=True)
class Quadrature:
    """Nodes λ and weights w per draw, each draw of total weight 1: tr f(A) / P ≈ mean over draws of Σ w f(λ)."""

    nodes: Tensor  # (draws, m)
    weights: Tensor  # (draws, m)
    products: int  # rows multiplied

    def mean(self, values: Tensor) -> tuple[float, float]:
        """The mean over the spectrum of a function, and its standard error over the draws.

        Args:
            values: of the function at the nodes, `(draws, m)`.
        """
        per_draw = (self.weights * values).sum(-1)
        return float(per_draw.mean()), float(per_draw.std() / len(per_draw) ** 0.5)


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

    Each draw is a random direction, and `steps` Lanczos steps from it with full re-orthogonalization. The eigenvalues
    of their averaged Gauss rule (Spalević 2007) are its nodes, the squared first components of its eigenvectors the
    weights. Exact for polynomials up to degree 2 · steps in the sense of vᵀf(A)v; the outermost nodes may lie a little
    outside the spectrum. Draws advance together, as many as their bases fit 512 MiB. Costs `draws` · `steps` products.

    Args:
        product: rows `(n, P)` -> rows `(n, P)`, their products with a symmetric matrix.
        size: P, rows and columns of the matrix.
        draws: random directions, 2 at least; the standard error is over them.
        steps: Lanczos steps from each, no more than dimensions are used.
        generator: of the directions, on the CPU.
        deflate: eigenvalues `(k,)` with their vectors `(k, P)`: they become nodes of weight 1 / P each, and the draws
            are made in what is left, so that outliers carry no sampling error.
        device: of the directions.

    Raises:
        ValueError: fewer than 2 draws or 1 step, or a product that is not finite.

    >>> spectrum = quadrature(lambda rows: 3 * rows, 5, draws=2, generator=torch.Generator().manual_seed(0))
    >>> spectrum.mean(spectrum.nodes)[0]
    3.0
    """
    if draws < 2:
        raise ValueError(f"draws is {draws}: wanted at least 2, for a standard error")
    if steps < 1:
        raise ValueError(f"steps is {steps}: wanted at least 1")
    eigenvalues, eigenvectors = (torch.zeros(0), torch.zeros(0, size)) if deflate is None else deflate
    eigenvalues, eigenvectors = eigenvalues.double().cpu(), eigenvectors.to(device, torch.float64)
    dimensions = size - len(eigenvalues)  # of what is left
    steps = min(steps, dimensions)
    nodes = eigenvalues.expand(draws, -1)
    weights = torch.full((draws, len(eigenvalues)), 1 / size, dtype=torch.float64)
    products = 0
    if dimensions:
        starts = torch.randn(draws, size, generator=generator, dtype=torch.float64)
        together = max(1, QUADRATURE_BASIS_BYTES // (torch.float64.itemsize * size * (steps + 1)))
        rules = []
        for some in starts.split(together):
            rule = _lanczos_rule(product, some.to(device), steps, eigenvectors)
            if rules and rule[0].shape[1:] != rules[0][0].shape[1:]:  # the call is to end: fewer steps, left out
                break
            rules.append(rule)
        ritz_values, squares = (torch.cat([rule[part] for rule in rules]) for part in (0, 1))
        draws = len(ritz_values)
        if draws < 2:
            raise Stopped
        nodes, weights = nodes[:draws], weights[:draws]
        nodes, weights = torch.cat([nodes, ritz_values], -1), torch.cat([weights, squares * (dimensions / size)], -1)
        products = draws * rules[0][2]
    return Quadrature(nodes, weights, products)


def broaden(
    spectrum: Quadrature, *, scale: Scale = "linear", width: float = 0.01, linear_below: float = 1e-4
) -> Density:
    """The density, each node a Gaussian on the axis u, on a grid fine enough for it.

    Args:
        spectrum: nodes and weights of every draw.
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
    if span <= ONE_EIGENVALUE * max(abs(low), abs(high)):  # any width will do
        span = max(abs(low), abs(high)) or 1.0
    sigma = width * span
    points = 1 + math.ceil(POINTS_PER_SIGMA * (1 / width + 2 * TAILS))  # whatever the spectrum
    axis = torch.linspace(low - TAILS * sigma, high + TAILS * sigma, points, dtype=torch.float64)
    densities = torch.stack([_gaussians(axis, *draw, sigma) for draw in zip(warped, spectrum.weights, strict=True)])
    return Density(
        eigenvalues=unit * torch.sinh(axis * math.log(10)) if scale == "log" else axis,
        axis=axis,
        density=densities.mean(0),
        error=densities.std(0) / len(densities) ** 0.5,
        sigma=sigma,
    )


def _gaussians(axis: Tensor, nodes: Tensor, weights: Tensor, sigma: float) -> Tensor:
    gaussians = torch.exp(-0.5 * ((axis[:, None] - nodes) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
    return gaussians @ weights  # (g,)


def _lanczos_rule(product: Product, starts: Tensor, steps: int, deflated: Tensor) -> tuple[Tensor, Tensor, int]:
    """Nodes and weights `(d, 2 steps − 1)` from starts `(d, P)`, all of it orthogonal to the rows `deflated` `(k, P)`;
    and the steps, which are fewer where the call is to end.

    In the precision of the product, single at least. The known part of an image, along the last two vectors and what is
    deflated, goes first; what remains along the others is rounding, for which one pass over the whole basis is enough.
    """
    draws, size = starts.shape
    alphas, betas = torch.zeros(2, draws, steps, dtype=torch.float64)  # diagonal and off-diagonal of T
    rows = starts - (starts @ deflated.T) @ deflated
    lengths = rows.norm(dim=-1, keepdim=True)
    active = torch.ones(draws, 1, dtype=torch.bool, device=starts.device)
    basis = starts.new_empty(0)
    for step in range(steps):
        rows = torch.where(active, rows / lengths, 0.0)
        try:
            images = product(rows)
        except Stopped:
            if step < FEWEST_STEPS:
                raise
            cut_short()
            return *_averaged_gauss_rule(alphas[:, :step], betas[:, :step], complete=False), step
        images = images.to(torch.promote_types(images.dtype, torch.float32))
        if not step:
            deflated, rows = deflated.to(images), rows.to(images)
            basis = images.new_empty(draws, steps, size)
        basis[:, step] = rows
        norms = images.norm(dim=-1, keepdim=True)
        if not torch.isfinite(norms).all():
            raise ValueError(NOT_FINITE)
        alphas[:, step] = (images * rows).sum(-1).cpu()
        images = torch.addmm(images, images @ deflated.T, deflated, alpha=-1)
        known = basis[:, : step + 1]
        for some in (known[:, -2:], known):
            images = torch.baddbmm(images[:, None], images[:, None] @ some.mT, some, alpha=-1)[:, 0]
        images = torch.addmm(images, images @ deflated.T, deflated, alpha=-1)
        rows, lengths = images, images.norm(dim=-1, keepdim=True)
        active = active & (lengths > BREAKDOWN[images.dtype] * norms)  # else the Krylov space is complete
        betas[:, step] = torch.where(active, lengths, 0.0)[:, 0].cpu()
    return *_averaged_gauss_rule(alphas, betas, complete=steps + len(deflated) == size), steps


def _averaged_gauss_rule(alphas: Tensor, betas: Tensor, *, complete: bool) -> tuple[Tensor, Tensor]:
    """Nodes and weights `(d, 2m − 1)` of the generalized averaged Gauss rule (Spalević 2007) of m Lanczos steps.

    The first m steps, and the first m − 1 once more in reverse behind them: exact for polynomials up to degree 2m, and
    with nodes between those of Gauss's rule. Costs no further product. Where the steps are as many as dimensions,
    `complete`, Gauss's own m nodes are the spectrum; where a space is complete before, what stands behind has weight 0.
    """
    m = alphas.shape[-1]
    if complete or m == 1:
        betas = betas[:, : m - 1]
    else:
        alphas = torch.cat([alphas, alphas[:, :-1].flip(-1)], -1)
        betas = torch.cat([betas, betas[:, : m - 2].flip(-1)], -1)
    nodes, vectors = torch.linalg.eigh(torch.diag_embed(alphas) + torch.diag_embed(betas, -1))
    return nodes, vectors[:, 0] ** 2
