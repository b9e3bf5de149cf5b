"""Where a point stands: how long the gradient is there, as variables of a result and in words."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import xarray as xr
from torch import Tensor

from lossatlas.loss.loss import Loss
from lossatlas.numbers import listed, percent_text, step_text
from lossatlas.numerics.vectors import inner
from lossatlas.operators.example_gradients import mean_gradient_norm
from lossatlas.probes.probe import Column, Told
from lossatlas.splits import splits
from lossatlas.work import grace

# Largest gradient of a stationary point, over that of a mean single example. On the networks of the moons study it was
# 0.02 to 0.05 where the objective with its weight decay was at a minimum, so that λθ is all that is left of the loss's
# own gradient, and 0.06 to 0.9 where training had stopped on its way (docs/design/eigenvalues.md).
GRADIENT_BOUND = 0.05

# Largest share of the loss that one step along the steepest curvature promises. At those minima it was below 0.003.
# Where training had stopped on its way it was 0.002 to 0.6: by itself it would pass a third of them.
DECREASE_BOUND = 0.01

RULE = (
    f"A point counts as stationary where the gradient is at most {GRADIENT_BOUND:g} of the mean gradient of a single "
    f"example, and one step along the largest eigenvalue promises at most {DECREASE_BOUND:g} of the loss. Where one of "
    "the two is not known, the other decides; where neither is, the point does not count."
)
# Products with the Hessian that it takes about as long as, 0.16 seconds: those of 4x250 on 1,024 examples. Of smaller
# networks it is as long as more of them, 0.02 seconds, and of more examples as long as one. No point is evaluated.
PRODUCTS = 5

COLUMNS = {
    "gradient_norm": Column("Norm of the gradient", lambda part: float(part.gradient_norm)),
    "gradient_norm_relative": Column(
        "Norm of the gradient, over that of a single example", lambda part: float(part.gradient_norm_relative)
    ),
    "stationary": Column("At a stationary point", lambda part: bool(part.stationary), boolean=True),
}


def standing(
    loss: Loss, theta: Tensor, *, gradient: Tensor | None = None, curvature: float | None = None
) -> dict[str, float | bool]:
    """What a result says of its point: `gradient_norm`, `gradient_norm_relative`, `gradient_decrease`, `stationary`.

    The first is ‖∇L‖ on all examples, with the penalty where there is one. The second is that over the mean gradient
    norm of single examples (`mean_gradient_norm`): 1 where all of them pull one way, 0 where they cancel out, NaN
    where single ones do not exist. The third is ‖∇L‖² / 2λ₁ over |L|, what one step of length ‖∇L‖ / λ₁ lowers the
    loss by if all of the gradient lies along the largest eigenvalue, as a share of the loss; along a lesser one the
    step promises more. It is there where λ₁ is known, and infinite where that is not above 0. The fourth is `RULE`.

    Costs a gradient, a pass over the data, or two where λ₁ is known, and the gradients of at most 128 examples.

    Args:
        loss: in the precision of the result.
        theta: the point, `(P,)`.
        gradient: ∇L there `(P,)`, where it is known already.
        curvature: λ₁, the largest eigenvalue of the Hessian; None where nobody asked for it.
    """
    with grace():
        return _standing(loss, theta, gradient, curvature)


def _standing(loss: Loss, theta: Tensor, gradient: Tensor | None, curvature: float | None) -> dict[str, float | bool]:
    gradient = loss.gradient(theta) if gradient is None else gradient
    norm = math.sqrt(float(inner(gradient, gradient)))
    relative = _over(norm, mean_gradient_norm(loss, theta))
    found: dict[str, float | bool] = {"gradient_norm": norm, "gradient_norm_relative": relative}
    decrease = math.nan
    if curvature is not None:
        promised = _over(norm**2, 2 * max(curvature, 0.0))  # max(nan, 0) is NaN
        level = _level(loss, theta)
        found["gradient_decrease"] = decrease = _over(promised, abs(level))
    return found | {"stationary": is_stationary(relative, decrease)}


@torch.enable_grad()  # for criteria that differentiate in their inputs; θ asks for no gradient
def _level(loss: Loss, theta: Tensor) -> float:
    """L(θ) as the gradient sees it: one pass, which asks of no module whether `vmap` takes it."""
    return sum(float(share.detach()) for share in loss.batch_losses(theta.detach().to(loss.theta)))


def is_stationary(relative: float, decrease: float = math.nan) -> bool:
    """`RULE`.

    Args:
        relative: `gradient_norm_relative`; NaN where it is not known.
        decrease: `gradient_decrease`; NaN where it is not known.

    >>> is_stationary(0.03), is_stationary(0.03, 0.2), is_stationary(float("nan"), 0.001)
    (True, False, True)
    """
    bounds = ((relative, GRADIENT_BOUND), (decrease, DECREASE_BOUND))
    known = [value <= bound for value, bound in bounds if not math.isnan(value)]
    return bool(known) and all(known)


def on_a_slope(told: Told, result: xr.Dataset) -> Told:
    """What is told of a result, and where its point is not stationary that too, in few words and in its captions.

    Args:
        told: what the probe says.
        result: with the variables of `standing`.
    """
    slopes = {split: _slope(part) for split, part in splits(result).items() if not bool(part.stationary)}
    if not slopes:
        return told
    said = "; ".join(f"{f'on {split} ' if split else ''}{words}" for split, words in slopes.items())
    line = f"The point is not stationary: {said}. These numbers describe a point on a slope."
    note = f"Not at a stationary point{f' of the {listed([*slopes])} loss' if all(slopes) else ''}."
    return replace(
        told,
        sentence=f"{told.sentence} {note}" if told.sentence else "",
        lines=(*told.lines, line),
        tables=tuple(replace(rows, caption=f"{rows.caption} {note}") for rows in told.tables),
        note=note,
    )


def _slope(part: xr.Dataset) -> str:
    norm, relative = float(part.gradient_norm), float(part.gradient_norm_relative)
    decrease = float(part.get("gradient_decrease", math.nan))
    if math.isnan(norm):
        return "the gradient is not known"
    if relative > GRADIENT_BOUND:
        return f"the gradient is {step_text(relative)} of a single example's"
    if decrease > DECREASE_BOUND:
        return f"a step along the steepest curvature promises {percent_text(decrease)} of the loss"
    return f"the gradient has the norm {step_text(norm)}, and no single example's is known to compare it with"


def _over(value: float, scale: float) -> float:
    """value / scale: 0 for 0, whatever the scale is, and infinite where only the scale is 0."""
    if value == 0:
        return 0.0
    return value / scale if scale != 0 else math.inf
