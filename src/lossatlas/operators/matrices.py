"""The three matrices that a probe of curvature can be about, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import xarray as xr
from torch import Tensor

from lossatlas.loss.loss import Loss
from lossatlas.operators.fisher import EmpiricalFisher
from lossatlas.operators.gauss_newton import GaussNewton
from lossatlas.operators.hessian import Hessian

Matrix = Literal["hessian", "gauss-newton", "fisher"]
CurvatureProduct = Hessian | GaussNewton | EmpiricalFisher

# Single precision first, where it pays: with fewer parameters a product is mostly the calling of operations, and below
# this tolerance the rounding of the products shows in the residuals.
MIXED_PARAMETERS = 1000
MIXED_TOL = 1e-4

CURVATURE = "criterion / parameter²"  # unit of a second derivative


@dataclass(frozen=True)
class Kind:
    """A matrix, and what texts call it."""

    product: type[CurvatureProduct]
    name: str
    symbol: str
    units: str


KINDS: dict[Matrix, Kind] = {
    "hessian": Kind(product=Hessian, name="the Hessian", symbol="H", units=CURVATURE),
    "gauss-newton": Kind(product=GaussNewton, name="the Gauss-Newton matrix", symbol="G", units=CURVATURE),
    "fisher": Kind(
        product=EmpiricalFisher, name="the empirical Fisher matrix", symbol="F", units="(criterion / parameter)²"
    ),
}


def curvature_product(
    matrix: Matrix, loss: Loss, theta: Tensor, params: Sequence[str] | None = None
) -> CurvatureProduct:
    """V -> V A, rows `(k, P)` -> `(k, P)`, with A the matrix of that name at one point.

    Args:
        matrix: "hessian", "gauss-newton" or "fisher" (the empirical one).
        loss: whose curvature it is.
        theta: the point, `(P,)`.
        params: names of parameters; A is then their diagonal block, and P their number.

    Raises ValueError for another name.
    """
    if matrix not in KINDS:
        raise ValueError(f"matrix is {matrix!r}: wanted one of {', '.join(map(repr, KINDS))}")
    return KINDS[matrix].product(loss, theta, params)


def named_after(result: xr.Dataset, matrix: Matrix) -> xr.Dataset:
    """The result with the matrix as an attribute; where it is not the Hessian, names and units say so."""
    kind, named = KINDS[matrix], result.assign_attrs(matrix=matrix)
    if matrix != "hessian":
        for variable in named.variables.values():
            for key, old, new in (
                ("long_name", "the Hessian", kind.name),
                ("long_name", "‖Hv", f"‖{kind.symbol}v"),
                ("units", CURVATURE, kind.units),
            ):
                if key in variable.attrs:
                    variable.attrs[key] = variable.attrs[key].replace(old, new)
    return named


def pays_in_single(loss: Loss, size: int, dtype: torch.dtype, tol: float) -> bool:
    """Whether eigenvalues wanted in `dtype` to `tol`, of a matrix of `size`, are sought in float32 first."""
    lower = dtype is torch.float64 and loss.dtype is torch.float32
    return lower and size > MIXED_PARAMETERS and tol >= MIXED_TOL
