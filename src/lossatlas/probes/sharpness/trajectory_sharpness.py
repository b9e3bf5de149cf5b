"""How sharp was the loss along the way? Loss, gradient, top eigenvalue and average sharpness at every checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lossatlas.loss.loss import Loss
from lossatlas.numbers import loss_text, number, round_percent_text, with_error
from lossatlas.numerics.lanczos import extremal_eigenpairs
from lossatlas.operators.hessian import Hessian
from lossatlas.operators.matrices import CURVATURE
from lossatlas.parameters.directions import Surroundings, random_directions
from lossatlas.probes.call import with_keywords
from lossatlas.probes.derivatives import checked, doubted
from lossatlas.probes.other_models import warn_of_borrowed_buffers
from lossatlas.probes.probe import POSITIVE, Column, Cost, Probe, Settings, Subject, Told, at_least
from lossatlas.probes.sampling import Losses, by_split, join_splits
from lossatlas.probes.telling import table
from lossatlas.random_streams import check_generator
from lossatlas.results.variables import UNITS
from lossatlas.splits import splits

TYPICAL_PRODUCTS = 6  # of a checkpoint to 2 %: 4 to 8 on networks of 2 to 4 layers, with a start from the one before

VARIABLES = {
    "checkpoint": {"long_name": "checkpoint", "units": "1"},
    "gradient_norm": {"long_name": "gradient norm", "units": "criterion / parameter"},
    "top_eigenvalue": {"long_name": "top eigenvalue", "units": CURVATURE},
    "top_eigenvalue_residual": {"long_name": "‖Hv − λv‖ of the top eigenvalue", "units": CURVATURE},
    "sharpness": {"long_name": "average sharpness", "units": "criterion"},
    "sharpness_error": {"long_name": "standard error of the average sharpness", "units": "criterion"},
}

KNOWN = {**UNITS, **VARIABLES}


@dataclass(frozen=True)
class TrajectorySharpnessSettings(Settings):
    """Loss, gradient and sharpness at every checkpoint."""

    radius: Annotated[float, POSITIVE] = 0.05
    """How far a tensor is moved for the average sharpness, as a share of its norm."""
    samples: Annotated[int, at_least(2)] = 15
    """Random directions, each taken both ways; the same at every checkpoint."""
    tol: Annotated[float, POSITIVE] = 0.02
    """Residual of the eigenvalue, relative to the largest; it is then right to within this, mostly far better."""
    max_products: Annotated[int, at_least(2)] = 40
    """Products after which the search ends at a checkpoint, converged or not."""
    at_most: Annotated[int, at_least(2)] = 50
    """Checkpoints that are measured: of more, so many evenly spaced, both ends among them."""
    check: bool = True
    """Whether derivatives are checked against differences beside the last checkpoint."""


@with_keywords
def trajectory_sharpness(
    losses: Losses,
    checkpoints: Tensor,
    *,
    generator: torch.Generator,
    radius: float = 0.05,
    samples: int = 15,
    tol: float = 0.02,
    max_products: int = 40,
    at_most: int = 50,
    dtype: torch.dtype | None = None,
    check: bool = True,
) -> xr.Dataset:
    """Loss, norm of the gradient, largest eigenvalue of the Hessian and average sharpness at every checkpoint.

    Of the first loss alone, mostly that of training: along its path the largest eigenvalue tends to rise to the edge of
    stability (progressive sharpening, Cohen et al. 2021), and networks can be compared where their losses are equal.

    The eigenvalue is found by block Lanczos (`extremal_eigenpairs`) from the eigenvector of the checkpoint before and
    a random vector, in the loss's own precision. The average sharpness is the mean of (L(θ + δ) + L(θ − δ)) / 2 − L(θ)
    over random δ of `radius` times its norm in every tensor, biases included: the gradient cancels, and what is left is
    ½ δᵀHδ and terms of fourth order. The directions are the same at every checkpoint, so that differences between
    checkpoints have less of an error than each has. With a penalty, gradient and eigenvalue are the objective's.

    Costs 2 · `samples` + 1 evaluations, a gradient and 4 to 8 products with a vector for each checkpoint.

    Args:
        losses: one `Loss`, or a mapping of them by split, of which the first is measured.
        checkpoints: `(t, P)` in the order of training.
        generator: of the directions and of the start of each search, on the CPU.
        radius: ‖δ‖ / ‖θ‖ of every tensor, without unit.
        samples: random directions, at least two.
        tol: largest residual ‖Hv − λv‖, over the largest |λ|. λ is within its residual of an eigenvalue, and within
            residual² / gap of one that stands alone.
        max_products: of the search at a checkpoint; it ends there, converged or not.
        at_most: checkpoints that are measured; of more, so many evenly spaced, both ends among them.
        dtype: precision of the products; None is the loss's own.
        check: whether gradient and Hessian are checked against differences beside the last checkpoint.

    Returns:
        loss, gradient_norm, top_eigenvalue with its residual, sharpness with its standard error, and whether the
        eigenvalue converged, by `checkpoint`, from 0 up; products; derivative_check with its error. Of a mapping there
        is a `split` of one. A checkpoint whose gradient is not finite has NaN for its eigenvalue.

    Raises:
        ValueError: no stack of checkpoints, or fewer than two samples.

    >>> from lossatlas.loss import toys
    >>> loss = toys.quadratic(torch.diag(torch.tensor([4.0, 1.0])))
    >>> path = torch.tensor([[3.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> result = trajectory_sharpness(loss, path, generator=torch.Generator().manual_seed(0))
    >>> result.loss.values, result.gradient_norm.values, result.top_eigenvalue.values.round(6)
    (array([18. ,  2. ,  0.5]), array([12.,  4.,  1.]), array([4., 4., 4.]))
    """
    split, loss = next(iter(by_split(losses).items()))
    loss.layout.check(checkpoints)
    if checkpoints.ndim != 2 or not len(checkpoints):
        raise ValueError(f"checkpoints have shape {tuple(checkpoints.shape)}: wanted (t, P) with t of at least 1")
    if samples < 2:
        raise ValueError(f"samples is {samples}: wanted at least 2, for a standard error")
    check_generator(generator)
    warn_of_borrowed_buffers(loss, {"the first checkpoint": checkpoints[0]})
    chosen = _evenly(len(checkpoints), at_most)
    checkpoints = checkpoints[chosen]
    precise = loss if dtype in (None, loss.dtype) else loss.to(dtype)
    curvature = _curvature(precise, checkpoints, generator=generator, tol=tol, max_products=max_products)
    seed = int(torch.randint(2**62, (), generator=generator))
    around = [_around(loss, theta, radius, samples, seed) for theta in checkpoints]
    curves = curvature | dict(zip(("loss", "sharpness", "sharpness_error"), np.transpose(around), strict=True))
    products = curves.pop("products")
    result = xr.Dataset(
        {
            **{name: ("checkpoint", values, KNOWN.get(name, {})) for name, values in curves.items()},
            "products": ((), int(products.sum())),
            **{
                name: ((), value, KNOWN[name])
                for name, value in checked(precise, checkpoints[-1], split, check=check).items()
            },
        },
        {"checkpoint": ("checkpoint", chosen, KNOWN["checkpoint"])},
        {
            "probe": "trajectory_sharpness", "radius": radius, "samples": samples, "tol": tol,
            "evaluations": (2 * samples + 1) * len(checkpoints), **loss.attrs,
        },
    )  # fmt: skip
    return join_splits({split: result})


def _curvature(
    loss: Loss, checkpoints: Tensor, *, generator: torch.Generator, tol: float, max_products: int
) -> dict[str, np.ndarray]:
    """Norm of the gradient and largest eigenvalue at every checkpoint, each search from the eigenvector before."""
    rows, vector = [], None
    for theta in checkpoints:
        gradient = loss.gradient(theta)
        if not bool(torch.isfinite(gradient).all()):
            rows.append((float(gradient.norm()), np.nan, np.nan, False, 0))
            continue
        pairs = extremal_eigenpairs(
            Hessian(loss, theta), loss.layout.size, largest=1, generator=generator, tol=tol, max_products=max_products,
            initial=vector, device=theta.device, dtype=torch.promote_types(loss.dtype, torch.float32),
        )  # fmt: skip
        vector = pairs.largest_vectors
        found = float(pairs.largest[0]), float(pairs.largest_residuals[0])
        rows.append((float(gradient.double().norm()), *found, pairs.converged, pairs.products))
    names = ("gradient_norm", "top_eigenvalue", "top_eigenvalue_residual", "converged", "products")
    return dict(zip(names, map(np.array, zip(*rows, strict=True)), strict=True))


def _around(loss: Loss, theta: Tensor, radius: float, samples: int, seed: int) -> tuple[float, float, float]:
    """The loss at θ, and the average sharpness with its standard error."""
    draw = partial(random_directions, loss.layout, theta, normalize="layer", biases="layer")
    steps = [(0, 0.0), *((number, side * radius) for side in (1, -1) for number in range(samples))]
    points = Surroundings.of(theta, draw, steps, generator=torch.Generator().manual_seed(seed))
    here, ahead, back = loss.evaluate(points)["loss"].split([1, samples, samples])
    rises = (ahead + back) / 2 - here
    return float(here), float(rises.mean()), float(rises.std() / samples**0.5)


def _evenly(count: int, at_most: int) -> np.ndarray:
    """Which of so many are measured, both ends among them.

    >>> _evenly(12, 6), _evenly(3, 6)
    (array([ 0,  2,  4,  7,  9, 11]), array([0, 1, 2]))
    """
    return np.unique(np.linspace(0, count - 1, min(count, at_most)).round().astype(int))


def _cost(subject: Subject, settings: TrajectorySharpnessSettings) -> Cost:
    checkpoints = 0 if subject.trajectory is None else min(len(subject.trajectory), settings.at_most)
    products = min(TYPICAL_PRODUCTS, settings.max_products)
    return Cost(evaluations=(2 * settings.samples + 1) * checkpoints, products=products * checkpoints)


def _call(subject: Subject, settings: TrajectorySharpnessSettings, generator: torch.Generator) -> xr.Dataset:
    assert subject.trajectory is not None  # `Probe.lacking` says so
    return trajectory_sharpness(
        subject.losses, subject.trajectory, generator=generator, dtype=subject.sampled_dtype, **vars(settings)
    )


def _tell(result: xr.Dataset, _: str) -> Told:
    ((split, part),) = splits(result).items()
    named = f"{split} loss" if split else "loss"
    loss, gradient, top = (part[name].values for name in ("loss", "gradient_norm", "top_eigenvalue"))
    peak = int(np.argmax(np.nan_to_num(top, nan=-np.inf)))
    words = (
        f"Along training the {named} goes from {loss_text(loss[0])} to {loss_text(loss[-1])}, the norm of its gradient "
        f"from {loss_text(gradient[0])} to {loss_text(gradient[-1])}, and the largest eigenvalue of its Hessian from "
        f"{number(top[0])} to {number(top[-1])}; the largest one, {number(top[peak])}, is that of checkpoint {peak} of "
        f"{len(top) - 1}."
    )
    if not bool(part.converged.all()):
        words += f" At {int((~part.converged).sum())} of the checkpoints it has not converged: see the residuals."
    lines = [
        (str(place), loss_text(loss[place]), loss_text(gradient[place]), number(top[place]), number(residual, 2), rise)
        for place, (residual, rise) in enumerate(zip(part.top_eigenvalue_residual.values, _rises(part), strict=True))
    ]
    headings = ("Checkpoint", "Loss", "Gradient", "λ", "Residual", "Average sharpness")
    moved = round_percent_text(result.attrs["radius"])
    caption = f"The {named} at every checkpoint, and its average sharpness where tensors are moved by {moved}."
    return doubted(Told(words, (words,), (table(caption, headings, lines),)), result)


def _rises(part: xr.Dataset) -> list[str]:
    pairs = zip(part.sharpness.values, part.sharpness_error.values, strict=True)
    return [with_error(float(value), float(error)) for value, error in pairs]


PROBE = Probe(
    trajectory_sharpness,
    TrajectorySharpnessSettings,
    of="trajectory",
    title="along training",
    meaning=(
        "Training loss, norm of its gradient, largest eigenvalue of its Hessian, and the average rise of the loss for "
        "small random changes of every tensor in both directions, at every checkpoint."
    ),
    misleads=(
        "What happens between two checkpoints is not seen, and the largest eigenvalue can swing from step to step at "
        "the edge of stability. Comparing networks at one loss says nothing of the losses that one of them never had."
    ),
    variables=VARIABLES,
    cost=_cost,
    tell=_tell,
    columns={
        "sharpening": Column(
            "Largest eigenvalue at the end over that at the start",
            lambda part: float(part.top_eigenvalue[-1] / part.top_eigenvalue[0]),
        ),
        "converged": Column("Largest eigenvalue converged", lambda part: bool(part.converged.all()), boolean=True),
    },
    call=_call,
    standard=True,
    every_draw={"samples": 3, "tol": 0.1, "at_most": 5, "check": False},
)
