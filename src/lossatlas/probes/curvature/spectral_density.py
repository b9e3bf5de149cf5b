"""How are the Hessian's eigenvalues distributed? The spectral density, its bulk and its outliers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from lossatlas.numerics.lanczos import extremal_eigenpairs
from lossatlas.numerics.quadrature import Density, Quadrature, Scale, broaden, quadrature
from lossatlas.numerics.spectrum import Ends, dense_ends
from lossatlas.operators.hessian import MIXED_TOL, Hessian
from lossatlas.probes.sampling import Losses, by_split, join_splits
from lossatlas.random_streams import check_generator
from lossatlas.results.variables import UNITS

RESOLVED = 1e-3  # of the largest |λ|: nearer to zero one node stands for many eigenvalues, of either sign


def spectral_density(
    losses: Losses,
    theta: Tensor,
    *,
    generator: torch.Generator,
    draws: int = 5,
    steps: int = 80,  # on trained networks twice the steps lower the error more than twice the draws do
    k: int = 10,
    tol: float = 1e-3,
    scale: Scale = "log",
    width: float = 0.02,
    dtype: torch.dtype | None = None,
) -> xr.Dataset:
    """The density of the Hessian's eigenvalues, by stochastic Lanczos quadrature, with its standard error.

    The k largest eigenvalues and the smallest are found first (`krylov.extremal_eigenpairs`, `tol`) and taken out of
    the draws, each a mass of 1 / P; the rest comes from `draws` random vectors with `steps` Lanczos steps each
    (`density.quadrature`; k = 0 leaves everything to them). Every eigenvalue is broadened by a Gaussian whose standard
    deviation is `width` times the range, on the axis of `scale`: "log" is asinh(λ / 2ε) / ln 10 with ε = 1e-4 of the
    largest |λ|, per decade of |λ| and through zero; "linear" is λ itself. Total mass is 1.

    Costs `draws` · `steps` Hessian-vector products and those of the outliers; by default in the loss's own precision,
    whose rounding is far below the sampling error. A module with no more than `draws` · `steps` parameters has its
    whole Hessian computed instead, by one product per parameter: its errors are then 0.

    The error is that of sampling; what `steps` cannot resolve of the bulk shows as bumps, wherever σ is narrower, and
    with few steps as some of `negative` where there is none: the outermost nodes may lie a little outside the spectrum.

    Returns:
        density, density_error over the axis, `(grid,)`, and position, the eigenvalue there; eigenvalues, residuals
        `(eigenvalue,)`, smallest, smallest_residual, converged, the outliers (none of them for k = 0); negative, the
        share of eigenvalues below -1e-3 of the largest |λ|, with negative_error; trace with trace_error; mean, the
        trace divided by P, with mean_error; sigma, products; all with a leading `split` for several losses, the grid
        of each its own.
    """
    parts = {}
    check_generator(generator)
    seed = int(torch.randint(2**62, (), generator=generator))
    for split, loss in by_split(losses).items():
        size = loss.layout.size
        if k < 0 or k + bool(k) > size:
            raise ValueError(f"k is {k}: a module of {size} parameters has room for 0 to {size - 1}")
        own = torch.Generator().manual_seed(seed)
        product = Hessian(loss if dtype in (None, loss.dtype) else loss.to(dtype), theta)
        if size <= draws * steps:
            found, ends = _whole(product, size, k, theta.device)
        else:
            precision = torch.promote_types(dtype or loss.dtype, torch.float32 if tol >= MIXED_TOL else torch.float64)
            found, ends = _sampled(product, size, k, draws, steps, tol, own, precision, theta.device)
        density = broaden(found, scale=scale, width=width)
        attrs = {"probe": "spectral_density", "scale": scale, "width": width, "draws": draws, "k": k}
        parts[split] = _labelled(found, density, ends, attrs | loss.attrs)
    return join_splits(parts)


def _whole(product: Hessian, size: int, k: int, device: torch.device) -> tuple[Quadrature, Ends]:
    """The spectrum itself, where it takes no more products than the draws would."""
    ends = dense_ends(product, size, k=size, device=device)
    weights = torch.full((2, size), 1 / size, dtype=torch.float64)
    found = Quadrature(ends.largest.expand(2, -1), weights, size)
    return found, replace(ends, largest=ends.largest[:k], residuals=ends.residuals[:k])


def _sampled(
    product: Hessian, size: int, k: int, draws: int, steps: int, tol: float, generator: torch.Generator,
    dtype: torch.dtype, device: torch.device,
) -> tuple[Quadrature, Ends]:  # fmt: skip
    pairs = outliers = None
    if k:
        pairs = extremal_eigenpairs(
            product, size, largest=k, smallest=1, generator=generator, tol=tol, device=device, dtype=dtype
        )
        values = torch.cat([pairs.largest, pairs.smallest])
        outliers = values, torch.cat([pairs.largest_vectors, pairs.smallest_vectors])
    found = quadrature(
        product, size, draws=draws, steps=steps, generator=generator, deflate=outliers, device=device
    )  # fmt: skip
    mean, error = found.mean(found.nodes)
    none = torch.zeros(0, dtype=torch.float64)
    return found, Ends(
        pairs.largest if pairs else none, pairs.largest_residuals if pairs else none,
        float(pairs.smallest[0]) if pairs else math.nan, float(pairs.smallest_residuals[0]) if pairs else math.nan,
        mean * size, error * size, found.products + (pairs.products if pairs else 0), 0,
        pairs.converged if pairs else True,
    )  # fmt: skip


def _labelled(found: Quadrature, density: Density, ends: Ends, attrs: dict[str, Any]) -> xr.Dataset:
    mean, mean_error = found.mean(found.nodes)
    negative, negative_error = found.mean((found.nodes < -RESOLVED * found.nodes.abs().max()).double())
    scalars = {
        "mean": mean, "mean_error": mean_error, "negative": negative, "negative_error": negative_error,
        "trace": ends.trace, "trace_error": ends.trace_error, "sigma": density.sigma, "products": ends.products,
    }  # fmt: skip
    pairs: dict[str, Any] = {}
    if len(ends.largest):
        scalars |= {
            "smallest": ends.smallest, "smallest_residual": ends.smallest_residual, "converged": ends.converged,
        }  # fmt: skip
        pairs = {"eigenvalues": ends.largest, "residuals": ends.residuals}
    curves = {
        "position": density.eigenvalues, "axis": density.axis, "density": density.density,
        "density_error": density.error,
    }  # fmt: skip
    return xr.Dataset(
        {name: ("grid", values.numpy(), UNITS[name]) for name, values in curves.items()}
        | {name: ("eigenvalue", values.numpy(), UNITS[name]) for name, values in pairs.items()}
        | {name: ((), value, UNITS.get(name, {})) for name, value in scalars.items()},
        {"eigenvalue": range(1, len(ends.largest) + 1)} if pairs else {},
        attrs=attrs,
    )
