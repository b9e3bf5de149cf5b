"""How are the eigenvalues of the Hessian or a matrix like it distributed? The density, its bulk and its outliers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
import xarray as xr
from torch import Tensor

from lossatlas.numbers import percent_text, with_error
from lossatlas.numerics.lanczos import Product, extremal_eigenpairs
from lossatlas.numerics.quadrature import Density, Quadrature, Scale, broaden, quadrature
from lossatlas.numerics.spectrum import ExtremalSpectrum, dense_spectrum
from lossatlas.operators.matrices import MIXED_TOL, Matrix, curvature_product, named_after
from lossatlas.probes.call import with_keywords
from lossatlas.probes.derivatives import checked, doubted
from lossatlas.probes.other_models import warn_of_borrowed_buffers
from lossatlas.probes.probe import POSITIVE, PRODUCTS_PER_PAIR, Cost, Probe, Settings, Subject, Told, at_least
from lossatlas.probes.sampling import Losses, by_split, join_splits
from lossatlas.probes.stationarity import PRODUCTS, on_a_slope, standing
from lossatlas.random_streams import check_generator
from lossatlas.results.variables import UNITS
from lossatlas.splits import splits

VARIABLES = {
    "position": {"long_name": "eigenvalue λ of the Hessian", "units": "criterion / parameter²"},
    "axis": {"long_name": "axis of the density", "units": "1 (log) or criterion / parameter² (linear)"},
    "density": {"long_name": "spectral density", "units": "1 / unit of the axis"},
    "density_error": {"long_name": "standard error of the spectral density", "units": "1 / unit of the axis"},
    "negative": {"long_name": "share of eigenvalues below −max|λ| / 1000", "units": "1"},
    "negative_error": {"long_name": "standard error of the share below −max|λ| / 1000", "units": "1"},
    "mean": {
        "long_name": "mean eigenvalue of the Hessian",
        "units": "criterion / parameter²",
        "invariant_to": "none",
    },
    "mean_error": {"long_name": "standard error of the mean eigenvalue", "units": "criterion / parameter²"},
    "sigma": {"long_name": "standard deviation of the broadening", "units": "unit of the axis"},
}

KNOWN = {**UNITS, **VARIABLES}


@dataclass(frozen=True)
class SpectralDensitySettings(Settings):
    """The density of all eigenvalues."""

    draws: Annotated[int, at_least(2)] = 5
    """Random vectors from which the density is averaged."""
    steps: Annotated[int, at_least(2)] = 80
    """Lanczos steps of each."""
    k: Annotated[int, at_least(0)] = 10
    """Largest eigenvalues that are found one by one; fewer of a model that has not so many parameters."""
    tol: Annotated[float, POSITIVE] = 1e-3
    """Residual of these, relative to the largest."""
    matrix: Matrix = "hessian"
    """Whose eigenvalues: the Hessian's, the Gauss-Newton matrix's, or the empirical Fisher's."""
    check: bool = True
    """Whether derivatives are checked against differences beside the point."""


RESOLVED = 1e-3  # of the largest |λ|: nearer to zero one node stands for many eigenvalues, of either sign


@with_keywords
def spectral_density(
    losses: Losses,
    theta: Tensor,
    *,
    generator: torch.Generator,
    matrix: Matrix = "hessian",
    draws: int = 5,
    steps: int = 80,  # on trained networks twice the steps lower the error more than twice the draws do
    k: int = 10,
    tol: float = 1e-3,
    scale: Scale = "log",
    width: float = 0.02,
    dtype: torch.dtype | None = None,
    check: bool = True,
) -> xr.Dataset:
    """The density of the Hessian's eigenvalues, by stochastic Lanczos quadrature, with its standard error.

    The k largest eigenvalues and the smallest are found first (`extremal_eigenpairs`) and taken out of the
    draws, each a mass of 1 / P; the rest comes from `draws` random vectors with `steps` Lanczos steps each
    (`quadrature`). Every eigenvalue is broadened by a Gaussian. Total mass is 1.

    Costs `draws` · `steps` products with a vector and those of the outliers; by default in the loss's own precision,
    whose rounding is far below the sampling error. A module with no more than `draws` · `steps` parameters has its
    whole matrix computed instead, by one product per parameter: its errors are then 0.

    The error is that of sampling; what `steps` cannot resolve of the bulk shows as bumps, wherever σ is narrower, and
    with few steps as some of `negative` where there is none: the outermost nodes may lie a little outside the spectrum.

    Args:
        losses: one loss, or several by split.
        theta: the point, `(P,)`.
        generator: of the draws, and of the search for outliers.
        matrix: "hessian", "gauss-newton" or "fisher", the empirical Fisher matrix, as for `spectrum`.
        draws: random vectors.
        steps: Lanczos steps of each, and so the nodes of its quadrature.
        k: how many of the largest eigenvalues are found one by one; 0 leaves them, and the smallest, to the draws.
        tol: largest residual of these, over the largest |λ|.
        scale: axis: "log" is asinh(λ / 2ε) / ln 10 with ε = 1e-4 of the largest |λ|, per decade of |λ| and through
            zero; "linear" is λ itself.
        width: standard deviation of the broadening, over the range on that axis.
        dtype: precision of the products; None is the loss's own.
        check: whether gradient and Hessian are checked against differences beside θ (`derivative_check`).

    Returns:
        density, density_error over the axis, `(grid,)`, and position, the eigenvalue there; eigenvalues, residuals
        `(eigenvalue,)`, smallest, smallest_residual, converged, the outliers (none of them for k = 0); negative, the
        share of eigenvalues below -1e-3 of the largest |λ|, with negative_error; trace with trace_error; mean, the
        trace divided by P, with mean_error; sigma, products; derivative_check with its error; gradient_norm,
        gradient_norm_relative, gradient_decrease (NaN for k = 0) and stationary, as of `spectrum`; all with a
        leading `split` for several losses, the grid of each its own. The attribute `matrix` says which it was.
    """
    parts = {}
    check_generator(generator)
    warn_of_borrowed_buffers(losses, {"θ": theta})
    seed = int(torch.randint(2**62, (), generator=generator))
    for split, loss in by_split(losses).items():
        size = loss.layout.size
        if k < 0 or k + bool(k) > size:
            raise ValueError(f"k is {k}: a module of {size} parameters has room for 0 to {size - 1}")
        own = torch.Generator().manual_seed(seed)
        exact = loss if dtype in (None, loss.dtype) else loss.to(dtype)
        product = curvature_product(matrix, exact, theta)
        if size <= draws * steps:
            found, ends = _whole(product, size, k, theta.device)
        else:
            precision = torch.promote_types(dtype or loss.dtype, torch.float32 if tol >= MIXED_TOL else torch.float64)
            found, ends = _sampled(product, size, k, draws, steps, tol, own, precision, theta.device)
        density = broaden(found, scale=scale, width=width)
        attrs = {"probe": "spectral_density", "scale": scale, "width": width, "draws": draws, "k": k}
        top = float(ends.largest[0]) if k and matrix != "fisher" else math.nan
        checks = checked(exact, theta, split, matrix=matrix, check=check)
        checks |= standing(exact, theta, curvature=top)
        parts[split] = _labelled(found, density, ends, checks, attrs | loss.attrs)
    return named_after(join_splits(parts), matrix)


def _whole(product: Product, size: int, k: int, device: torch.device) -> tuple[Quadrature, ExtremalSpectrum]:
    """The spectrum itself, where it takes no more products than the draws would."""
    ends = dense_spectrum(product, size, k=size, device=device)
    weights = torch.full((2, size), 1 / size, dtype=torch.float64)
    found = Quadrature(ends.largest.expand(2, -1), weights, size)
    return found, replace(ends, largest=ends.largest[:k], residuals=ends.residuals[:k])


def _sampled(
    product: Product, size: int, k: int, draws: int, steps: int, tol: float, generator: torch.Generator,
    dtype: torch.dtype, device: torch.device,
) -> tuple[Quadrature, ExtremalSpectrum]:  # fmt: skip
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
    return found, ExtremalSpectrum(
        pairs.largest if pairs else none, pairs.largest_residuals if pairs else none,
        float(pairs.smallest[0]) if pairs else math.nan, float(pairs.smallest_residuals[0]) if pairs else math.nan,
        mean * size, error * size, found.products + (pairs.products if pairs else 0), 0,
        pairs.converged if pairs else True, none if outliers is None else outliers[1],
    )  # fmt: skip


def _labelled(
    found: Quadrature, density: Density, ends: ExtremalSpectrum, checks: dict[str, Any], attrs: dict[str, Any]
) -> xr.Dataset:
    mean, mean_error = found.mean(found.nodes)
    negative, negative_error = found.mean((found.nodes < -RESOLVED * found.nodes.abs().max()).double())
    scalars = checks | {
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
        {name: ("grid", values.numpy(), KNOWN[name]) for name, values in curves.items()}
        | {name: ("eigenvalue", values.numpy(), KNOWN[name]) for name, values in pairs.items()}
        | {name: ((), value, KNOWN.get(name, {})) for name, value in scalars.items()},
        {"eigenvalue": range(1, len(ends.largest) + 1)} if pairs else {},
        attrs=attrs,
    )


def _call(subject: Subject, settings: SpectralDensitySettings, generator: torch.Generator) -> xr.Dataset:
    knobs = vars(settings) | {"k": min(settings.k, subject.size - 1), "dtype": subject.sampled_dtype}
    return spectral_density(subject.losses, subject.theta, generator=generator, **knobs)


def _cost(subject: Subject, settings: SpectralDensitySettings) -> Cost:
    pairs = min(settings.k, subject.size - 1) + 1
    return Cost(products=PRODUCTS_PER_PAIR * pairs + settings.draws * settings.steps + PRODUCTS)


def _tell(result: xr.Dataset, _: str) -> Told:
    said = []
    for split, part in splits(result).items():
        share, error = percent_text(float(part.negative)), percent_text(float(part.negative_error))
        mean = with_error(float(part["mean"]), float(part.mean_error))
        said.append(
            f"{split}: {share} of the eigenvalues lie below −1/1000 of the largest (standard error {error}); "
            f"their mean is {mean}."
        )
    return doubted(on_a_slope(Told(lines=tuple(said)), result), result)


PROBE = Probe(
    spectral_density,
    SpectralDensitySettings,
    of="model",
    title="the density of all eigenvalues",
    meaning=(
        "How all eigenvalues of the Hessian, or of the matrix that was asked for in its place, are distributed, by "
        "stochastic Lanczos quadrature, with the largest found one by one."
    ),
    misleads="Most lie near zero; what is nearer to it than a thousandth of the largest has no certain sign here.",
    variables=VARIABLES,
    cost=_cost,
    tell=_tell,
    call=_call,
)
