"""What does the loss look like where it is most curved, and how far does the Hessian tell?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, get_args

import numpy as np
import torch
import xarray as xr
from torch import Generator, Tensor

from lossatlas.loss.loss import Loss
from lossatlas.numbers import loss_text
from lossatlas.numerics.lanczos import Product, extremal_eigenpairs
from lossatlas.operators.hessian import Hessian
from lossatlas.parameters.curves import Affine, centered
from lossatlas.probes.call import with_keywords
from lossatlas.probes.derivatives import checked, doubted
from lossatlas.probes.other_models import warn_of_borrowed_buffers
from lossatlas.probes.probe import ODD, PRODUCTS_PER_PAIR, Cost, Probe, Settings, Subject, Told, nodes
from lossatlas.probes.sampling import SURFACE_TOL, Losses, by_split, examples_of_plane, join_splits, sample_grid
from lossatlas.probes.stationarity import PRODUCTS, on_a_slope, standing
from lossatlas.probes.survey import Examples
from lossatlas.probes.telling import sample_text
from lossatlas.random_streams import check_generator
from lossatlas.results.variables import UNITS
from lossatlas.splits import splits

VARIABLES = {
    "slope": {"long_name": "slope vᵀg along the direction", "units": "criterion / parameter"},
    "curvature": {"long_name": "curvature vᵀHv along the direction", "units": "criterion / parameter²"},
    "quadratic": {"long_name": "quadratic model L + gᵀδ + δᵀHδ/2", "units": "criterion"},
}


@dataclass(frozen=True)
class EigenvectorPlaneSettings(Settings):
    """The plane of two eigenvectors of the Hessian."""

    steps: Annotated[int, ODD] = 51
    """Grid points along each axis, odd."""
    exact: bool = False
    """Measure every node; else as few as the loss takes, with an error that is stated."""
    examples: Examples = "auto"
    """Of every node: auto (as many as the error takes), all, or a number."""
    check: bool = True
    """Whether derivatives are checked against differences beside the point."""


End = Literal["largest", "second", "smallest"]

RISE = 1.0  # of the loss at θ, by the quadratic model, at the default radius


@with_keywords
def eigenvector_plane(
    losses: Losses,
    theta: Tensor,
    *,
    generator: torch.Generator,
    which: tuple[End, End] = ("largest", "second"),
    split: str | None = None,
    radius: float | None = None,
    steps: int = 51,
    tol: float = 1e-3,
    max_products: int = 400,
    dtype: torch.dtype | None = None,
    surface_tol: float = SURFACE_TOL,
    exact: bool = False,
    examples: Examples = "auto",
    check: bool = True,
) -> xr.Dataset:
    """L(θ + αv₁ + βv₂) along two eigenvectors of the Hessian, and beside it what the Hessian predicts.

    `quadratic` is the second-order Taylor polynomial L + gᵀδ + δᵀHδ/2 of each loss with its own gradient and Hessian,
    on the same grid: where it leaves the loss, curvature at θ no longer tells how the loss goes on. The eigenvectors
    are those of one loss; the others are shown in the same plane. With a penalty, all of this is of the objective.

    The eigenvectors have length 1, so that α and β are distances in parameter space. The sign of each is such that the
    first of its large entries, at least half the largest, is positive. Between vectors of equal eigenvalues all
    directions are alike, and chance decides.

    Costs `products` Hessian-vector products, two and one gradient more for each loss beside the first, and as many
    evaluations of each as the surface takes: steps² + 2 with `exact`, mostly less than a tenth without.

    Args:
        losses: one `Loss`, or a mapping of them by split.
        theta: θ `(P,)`, the centre.
        generator: of the start of the search for eigenvectors, on the CPU.
        which: the eigenvalues, algebraic: the largest, the second largest, the smallest.
        split: the loss whose Hessian it is; the first if left out.
        radius: half the side of the square, in parameter units. By default where the quadratic model, gradient aside,
            has risen by as much as the loss at θ is: √(2 L / |λ|) with the larger |λ| of the two.
        steps: grid points per axis, odd.
        tol: `converged` says whether both residuals are below `tol` times the largest |λ|.
        max_products: most Hessian-vector products of the search (`lanczos.extremal_eigenpairs`).
        dtype: of the products; the loss's own if left out.
        surface_tol: the largest error to aim at, relative to the range of the loss; see `sampling.sample_grid`.
        exact: measure every node.
        examples: of every node: "auto", as many as an error of 2 `surface_tol` takes, "all", or a number; see
            `sampling.sample_grid`.
        check: whether gradient and Hessian are checked against differences beside θ (`derivative_check`).

    Returns:
        loss, metrics and quadratic `(alpha, beta)`; by `direction`, which holds the names, the eigenvalues, residuals
        ‖Hv − λv‖, slope gᵀv and curvature vᵀHv, the last two of each loss; products, converged; derivative_check with
        its error; gradient_norm, gradient_norm_relative and stationary, as of `spectrum`. The attribute
        `quadratic_of` is "loss", or "objective" where there is a penalty.

    Raises:
        ValueError: no such split, or not two different eigenvalues.

    >>> from lossatlas.loss import toys
    >>> loss = toys.quadratic(torch.diag(torch.tensor([4.0, 1.0, -2.0])))
    >>> theta, chance = torch.tensor([1.0, 0.0, 0.0]), torch.Generator().manual_seed(0)
    >>> result = eigenvector_plane(loss, theta, which=("largest", "smallest"), generator=chance)
    >>> result.eigenvalues.values.round(5), float(result.alpha.max().round(5))
    (array([ 4., -2.]), 1.0)
    """
    named = by_split(losses)
    chosen = next(iter(named)) if split is None else split
    if chosen not in named:
        raise ValueError(f"split is {split!r}: wanted one of {', '.join(map(repr, named))}")
    if len(set(which)) != 2 or not set(which) <= set(get_args(End)):
        raise ValueError(f"which is {which}: wanted two different ones of {', '.join(get_args(End))}")
    check_generator(generator)
    warn_of_borrowed_buffers(losses, {"θ": theta})
    own = named[chosen]
    precise = own if dtype in (None, own.dtype) else own.to(dtype)
    product = Hessian(precise, theta)
    pairs = extremal_eigenpairs(
        product, own.layout.size, largest=1 + ("second" in which), smallest=int("smallest" in which),
        generator=generator, tol=tol, max_products=max_products, device=theta.device,
    )  # fmt: skip
    places = [{"largest": 0, "second": 1, "smallest": -1}[end] for end in which]
    eigenvalues = torch.cat([pairs.largest, pairs.smallest])[places]
    residuals = torch.cat([pairs.largest_residuals, pairs.smallest_residuals])[places]
    vectors = torch.cat([pairs.largest_vectors, pairs.smallest_vectors])[places]  # (2, P)
    # The largest entry alone would leave it to rounding: with two classes the last layer's come in pairs of ± one size.
    sizes = vectors.abs()
    large = (sizes >= sizes.amax(1, keepdim=True) / 2).int().argmax(1, keepdim=True)  # the first of them
    vectors *= vectors.gather(1, large).sign()

    reach = _radius(float(own(theta)), float(eigenvalues.abs().max())) if radius is None else radius
    axis = centered(reach, steps)
    basis = vectors.to(theta)
    result = sample_grid(
        losses, partial(Affine, theta, basis), {"alpha": axis.numpy(), "beta": axis.numpy()},
        tol=surface_tol, exact=exact,
        examples=examples_of_plane(examples, exact=exact),
    )  # fmt: skip
    for name in ("alpha", "beta"):
        result[name].attrs["units"] = "parameter"
    parts = {}
    for name, loss in named.items():
        gradient = loss.gradient(theta)
        scalars = checked(precise if name == chosen else loss, theta, name, check=check)
        scalars |= standing(loss, theta, gradient=gradient)
        parts[name] = _taylor(
            loss, theta, axis, vectors=vectors, gradient=gradient,
            product=product if name == chosen else Hessian(loss, theta),
        ).assign({variable: ((), value, UNITS[variable]) for variable, value in scalars.items()})  # fmt: skip
    predicted = join_splits(parts)
    return result.assign(predicted.data_vars).assign_coords(direction=list(which)).assign(
        eigenvalues=("direction", eigenvalues.numpy(), UNITS["eigenvalues"]),
        residuals=("direction", residuals.numpy(), UNITS["residuals"]),
        products=pairs.products,
        converged=pairs.converged,
    ).assign_attrs(
        {"hessian_of": chosen} if chosen else {}, probe="eigenvector_plane", radius=reach, tol=tol,
        quadratic_of="objective" if own.penalty else "loss",
        evaluations=result.attrs["evaluations"] + 1 + (radius is None),
    )  # fmt: skip


def _radius(level: float, curvature: float) -> float:
    if not (0 < level < math.inf and curvature > 0):
        raise ValueError(
            f"the loss at θ is {level} and the largest |λ| is {curvature}: no radius follows from them, give one"
        )
    return math.sqrt(2 * RISE * level / curvature)


def _taylor(
    loss: Loss, theta: Tensor, axis: Tensor, *, vectors: Tensor, gradient: Tensor, product: Product
) -> xr.Dataset:
    """The second-order Taylor polynomial about θ on the grid of the plane, and its coefficients along the axes."""
    slopes = (vectors @ gradient.double()).cpu()  # (2,)
    matrix = (product(vectors).double() @ vectors.T).cpu()  # (2, 2)
    alpha, beta = axis[:, None], axis
    rise = slopes[0] * alpha + slopes[1] * beta + matrix[0, 1] * alpha * beta
    rise = rise + (matrix[0, 0] * alpha**2 + matrix[1, 1] * beta**2) / 2
    return xr.Dataset({
        "quadratic": (("alpha", "beta"), (float(loss(theta)) + rise).numpy(), VARIABLES["quadratic"]),
        "slope": ("direction", slopes.numpy(), VARIABLES["slope"]),
        "curvature": ("direction", matrix.diagonal().numpy(), VARIABLES["curvature"]),
    })  # fmt: skip


def _call(subject: Subject, settings: EigenvectorPlaneSettings, generator: Generator) -> xr.Dataset:
    return eigenvector_plane(
        subject.losses, subject.theta, generator=generator, dtype=subject.sampled_dtype, **vars(settings)
    )


def _tell(result: xr.Dataset, _: str) -> Told:
    part = next(iter(splits(result).values()))
    gap = np.abs(part.loss - part.quadratic)
    rise = float(np.abs(part.quadratic - part.quadratic.sel(alpha=0, beta=0, method="nearest")).max())
    words = (
        f"On the plane of two eigenvectors the quadratic model is off by {loss_text(float(gap.max()))} at most; it "
        f"predicts changes of up to {loss_text(rise)}."
    )
    return doubted(on_a_slope(Told(words, (words,), note=sample_text(result)), result), result)


PROBE = Probe(
    eigenvector_plane,
    EigenvectorPlaneSettings,
    of="model",
    title="over two eigenvectors of the Hessian",
    meaning="Loss over two eigenvectors of the Hessian, and what the quadratic model with that Hessian predicts there.",
    misleads="Where the two part, curvature at the point says nothing about the loss.",
    variables=VARIABLES,
    cost=lambda subject, settings: Cost(
        evaluations=nodes(settings.steps, exact=settings.exact) + 2, products=PRODUCTS_PER_PAIR * 3 + PRODUCTS
    ),
    tell=_tell,
    call=_call,
)
