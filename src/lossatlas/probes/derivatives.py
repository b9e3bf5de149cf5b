"""The check of derivatives at the probed point, as variables of a result and in words."""

from __future__ import annotations

from dataclasses import replace

import xarray as xr
from torch import Tensor

from lossatlas.loss.loss import Loss
from lossatlas.numbers import percent_text
from lossatlas.operators.derivative_check import Deviation, check_derivatives, warn_where_wrong
from lossatlas.operators.matrices import Matrix
from lossatlas.probes.probe import Told
from lossatlas.splits import splits
from lossatlas.work import grace

CHECK = "derivative_check"


def checked(
    loss: Loss, theta: Tensor, split: str, *, matrix: Matrix = "hessian", check: bool = True
) -> dict[str, float]:
    """`derivative_check` and `derivative_check_error` of a loss at a point; nothing where no check is wanted.

    The first is a relative deviation from differences, the second how far those may be off: of gradient, products and
    their symmetry the worst that is wrong, and where none is, the one that differences tell least about. The caller of
    the probe is warned where derivatives are wrong.

    Args:
        loss: in the precision of the result.
        theta: the point, `(P,)`.
        split: the loss's name, or "".
        matrix: whose products are asked for: of the Hessian they are checked too, of the others the gradient is.
        check: whether a check is wanted.
    """
    if not check:
        return {}
    with grace():
        found = check_derivatives(loss, theta, curvature=matrix == "hessian")
    warn_where_wrong(found, f"the {split} loss" if split else "the loss")
    return {CHECK: found.worst.value, f"{CHECK}_error": found.worst.error}


def doubted(told: Told, result: xr.Dataset) -> Told:
    """What is told of a result, after a line for each split whose derivatives the check found wrong.

    Args:
        told: what the probe says.
        result: with the variables of the check, or without.
    """
    lines = tuple(
        f"The derivatives of the {split + ' ' if split else ''}loss are off by {percent_text(float(part[CHECK]))} of "
        "what differences of its values say: the numbers here are of another function than the loss."
        for split, part in splits(result).items()
        if CHECK in part and not Deviation("", float(part[CHECK]), float(part[f"{CHECK}_error"])).sound
    )
    if not lines:
        return told
    return replace(told, sentence=" ".join((*lines, told.sentence)).strip(), lines=(*lines, *told.lines))
