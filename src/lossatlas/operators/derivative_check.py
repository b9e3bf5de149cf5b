"""Are the gradient and the Hessian of a loss at a point those of its values? Asked of differences beside the point."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from lossatlas.loss.few_examples import few_examples
from lossatlas.loss.loss import Loss
from lossatlas.operators.hessian import Hessian

# Lengths of the steps, relative to that of θ, in which differences are taken: the first, and where it does not decide,
# the second. A longer one crosses kinks of ReLU networks, a shorter one drowns in rounding.
STEPS = {torch.float64: (1e-7, 1e-5)}
COARSE_STEPS = (1e-3, 2e-2)

ROUNDING = 30.0  # roundings of the last place that values and gradients are off by, about
GRADIENT = "the gradient"
LEAST = 1.0  # size of what is rounded inside, where values and gradients are smaller: logits cancel to a loss of 1e-13
SOUND = 1e-3  # relative deviation up to which derivatives are taken for right; sound networks in float64 are below 1e-6
MARGIN = 10.0  # times the predicted error of the difference, below which a deviation says nothing


@dataclass(frozen=True)
class Deviation:
    """How far a derivative is off what differences say, and how far these may be off themselves; both relative."""

    of: str
    value: float
    error: float
    says: Tensor = field(default_factory=lambda: torch.zeros(()), repr=False, compare=False)  # what differences give

    @property
    def sound(self) -> bool:
        """Whether it says nothing against the derivative; NaN, where the loss is not finite, does not."""
        return not self.value > max(SOUND, MARGIN * self.error)

    @property
    def decides(self) -> bool:
        return MARGIN * self.error <= 0.1


@dataclass(frozen=True)
class DerivativeCheck:
    """The deviations of the gradient and of products with the Hessian."""

    deviations: tuple[Deviation, ...]

    @property
    def worst(self) -> Deviation:
        """Of those that are not sound the largest, and where all are the one that is known the least."""
        return max(self.deviations, key=lambda one: (not one.sound, one.error if one.sound else one.value))

    @property
    def passed(self) -> bool:
        return all(one.sound for one in self.deviations)


def check_derivatives(loss: Loss, theta: Tensor, *, curvature: bool = True) -> DerivativeCheck:
    """The gradient against differences of values, and products with the Hessian against differences of gradients.

    Along one direction, drawn with a fixed seed and scaled to each tensor of θ, on a few examples: what is wrong with
    derivatives is wrong on any. The change of the loss over the step is compared with the integral of the gradient
    (Simpson's rule), the change of the gradient with the product, and two products with each other, whose matrix is
    to be symmetric. The predicted error of a difference is its rounding and what the two halves of the step differ by.

    Costs three evaluations, three gradients and two products on 64 examples at most, twice that where the first
    step does not decide.

    Args:
        loss: in the precision of the derivatives that are to be checked.
        theta: the point, `(P,)`.
        curvature: whether to check products with the Hessian too.
    """
    few, theta = few_examples(loss), theta.detach().to(loss.theta)
    directions = _directions(few, theta)
    gradient = few.gradient(theta)
    products = Hessian(few, theta)(directions) if curvature else None
    found: dict[str, Deviation] = {}
    for step in STEPS.get(few.dtype, COARSE_STEPS):
        for one in _deviations(few, theta, directions[0], step, gradient, products):
            found[one.of] = _better(found.get(one.of), one)
        if all(one.sound and one.decides for one in found.values()):
            break
    if products is not None:
        found["symmetry"] = _asymmetry(directions, products)
    return DerivativeCheck(tuple(found.values()))


def warn_where_wrong(check: DerivativeCheck, where: str) -> None:
    """Say so where derivatives are not those of the values.

    Args:
        check: of a loss.
        where: whose, such as "the train loss"; the caller of a probe is warned.
    """
    if not check.passed:
        worst = check.worst
        warnings.warn(
            f"{worst.of} of {where} is off by {worst.value:.2g} of what differences beside the point say (they may be "
            f"off by {worst.error:.1g} themselves): it is that of another function than the values are of. Look for "
            ".detach(), torch.no_grad, rounding or straight-through estimators, and autograd.Functions of your own in "
            "the module and the criterion (docs/howto/right_number.md)",
            stacklevel=5,
        )


def _directions(loss: Loss, theta: Tensor) -> Tensor:
    """Two rows `(2, P)` of length 1, every tensor's part in proportion to its size and never without weight."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(2, len(theta), generator=generator).to(theta)
    typical = float(theta.norm()) / len(theta) ** 0.5 or 1.0
    for part in loss.layout.slices.values():
        own = float(theta[part].norm()) / (part.stop - part.start) ** 0.5
        rows[:, part] *= max(own, 0.1 * typical)
    return rows / rows.norm(dim=1, keepdim=True)


def _deviations(
    loss: Loss, theta: Tensor, direction: Tensor, step: float, gradient: Tensor, products: Tensor | None
) -> list[Deviation]:
    """Those that a step of this relative length shows."""
    length = step * max(float(theta.norm()), 1.0)
    before, after = theta - length * direction, theta + length * direction
    length = float((after - before) @ direction) / 2  # as it is after rounding
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* cannot be vectorised over points")  # three points, either way
        values = loss(torch.stack([before, theta, after]))
    slopes = [loss.gradient(before), gradient, loss.gradient(after)]
    eps = torch.finfo(theta.dtype).eps
    along = [float(slope.double() @ direction.double()) for slope in slopes]
    simpson = length / 3 * (along[0] + 4 * along[1] + along[2])
    trapezoid = length * (along[0] + along[2])
    change = float(values[2] - values[0])
    size = length / 3 * (abs(along[0]) + 4 * abs(along[1]) + abs(along[2]))
    rounding = ROUNDING * eps * max(LEAST, float(values.abs().max()) + length * float(gradient.norm()))
    found = [
        _deviation(
            GRADIENT, torch.tensor(change / length), abs(change - simpson), rounding + abs(simpson - trapezoid),
            max(size, abs(change)),
        )
    ]  # fmt: skip
    if products is not None:
        difference = (slopes[2] - slopes[0]) / (2 * length)
        uneven = float((slopes[2] - 2 * slopes[1] + slopes[0]).norm()) / length
        rounding = ROUNDING * eps * max(LEAST, *(float(slope.norm()) for slope in slopes)) / length
        scale = max(float(difference.norm()), float(products[0].norm()))
        off = float((difference - products[0]).norm())
        found.append(_deviation("the Hessian", difference, off, rounding + uneven, scale))
    return found


def _asymmetry(directions: Tensor, products: Tensor) -> Deviation:
    """uᵀHv against vᵀHu, of two products that were done together."""
    one, other = float(directions[0] @ products[1]), float(directions[1] @ products[0])
    scale = max(float(row.norm()) for row in products)
    eps = torch.finfo(products.dtype).eps
    return _deviation("the symmetry of the Hessian", torch.zeros(()), abs(one - other), ROUNDING * eps * scale, scale)


def _deviation(of: str, says: Tensor, off: float, error: float, scale: float) -> Deviation:
    return Deviation(of, off / scale if scale else 0.0, error / scale if scale else 0.0, says)


def _better(one: Deviation | None, other: Deviation) -> Deviation:
    """Of two steps the one that decides, and of two that do the one that agrees more.

    Where both deviate and differences of the gradient do not agree among themselves either, the point is a kink, as of
    |θ| at 0: that is part of the error.
    """
    if one is None:
        return other
    best = min(one, other, key=lambda each: (not each.decides, each.value))
    if one.sound or other.sound or one.of == GRADIENT:
        return best
    size = max(float(one.says.norm()), float(other.says.norm()))
    if size == 0:  # gradients that do not change where values do
        return best
    return replace(best, error=max(best.error, float((one.says - other.says).norm()) / size))
