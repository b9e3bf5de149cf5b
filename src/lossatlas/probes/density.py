"""How are the Hessian's eigenvalues distributed? The spectral density, its bulk and its outliers."""

from __future__ import annotations

from typing import Any

import torch
import xarray as xr
from torch import Tensor

from lossatlas.curvature import Hessian
from lossatlas.density import Density, Quadrature, Scale, broaden, quadrature
from lossatlas.given import check_generator
from lossatlas.krylov import extremal_eigenpairs
from lossatlas.results import UNITS
from lossatlas.surface import Losses, by_split, join_splits

RESOLVED = 1e-3  # of the largest |λ|: nearer to zero one node stands for many eigenvalues, of either sign


def spectral_density(
    losses: Losses,
    theta: Tensor,
    *,
    generator: torch.Generator,
    draws: int = 10,
    steps: int = 40,
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
    whose rounding is far below the sampling error.

    The error is that of sampling; what `steps` cannot resolve of the bulk shows as bumps, wherever σ is narrower.

    Returns:
        density, density_error over the axis, `(grid,)`, and position, the eigenvalue there; negative, the share of
        eigenvalues below -1e-3 of the largest |λ|, with negative_error; mean, the trace divided by P, with
        mean_error; sigma, products; all with a leading `split` for several losses, the grid of each its own.
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
        outliers, spent = None, 0
        if k:
            pairs = extremal_eigenpairs(
                product, size, largest=k, smallest=1, generator=own, tol=tol, device=theta.device
            )
            values = torch.cat([pairs.largest, pairs.smallest])
            outliers, spent = (values, torch.cat([pairs.largest_vectors, pairs.smallest_vectors])), pairs.products
        found = quadrature(
            product, size, draws=draws, steps=steps, generator=own, deflate=outliers, device=theta.device
        )
        density = broaden(found, scale=scale, width=width)
        attrs = {"probe": "spectral_density", "scale": scale, "width": width, "draws": draws, "k": k}
        parts[split] = _labelled(found, density, spent, attrs | loss.attrs)
    return join_splits(parts)


def _labelled(found: Quadrature, density: Density, spent: int, attrs: dict[str, Any]) -> xr.Dataset:
    mean, mean_error = found.mean(found.nodes)
    negative, negative_error = found.mean((found.nodes < -RESOLVED * found.nodes.abs().max()).double())
    scalars = {
        "mean": mean, "mean_error": mean_error, "negative": negative, "negative_error": negative_error,
        "sigma": density.sigma, "products": found.products + spent,
    }  # fmt: skip
    curves = {
        "position": density.eigenvalues, "axis": density.axis, "density": density.density,
        "density_error": density.error,
    }  # fmt: skip
    return xr.Dataset(
        {name: ("grid", values.numpy(), UNITS[name]) for name, values in curves.items()}
        | {name: ((), value, UNITS.get(name, {})) for name, value in scalars.items()},
        attrs=attrs,
    )
