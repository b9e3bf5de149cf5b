"""What does the loss do on the straight line between two points?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
import xarray as xr
from torch import Generator, Tensor

from lossatlas.loss.fidelity import rough_losses
from lossatlas.loss.other_models import borrowed_buffers, with_buffers
from lossatlas.numbers import loss_text
from lossatlas.numerics.profiles import is_monotone, largest_rise
from lossatlas.parameters.curves import Segment
from lossatlas.probes.call import with_keywords
from lossatlas.probes.other_models import refuse_borrowed_buffers, warn_of_borrowed_buffers
from lossatlas.probes.probe import Column, Cost, Probe, Settings, Subject, Told, at_least
from lossatlas.probes.sampling import SURFACE_TOL, Losses, by_split, sample_grid
from lossatlas.probes.survey import Examples
from lossatlas.probes.telling import sample_text, table
from lossatlas.splits import splits


@dataclass(frozen=True)
class InterpolateSettings(Settings):
    """The straight line from initial to final weights."""

    steps: Annotated[int, at_least(2)] = 51
    """Points on the line, both ends included."""


@with_keywords
def interpolate(
    losses: Losses,
    start: Tensor,
    end: Tensor,
    *,
    steps: int = 51,
    surface_tol: float = SURFACE_TOL,
    exact: bool = True,
    examples: Examples = "auto",
) -> xr.Dataset:
    """Loss and metrics on the straight line from `start` to `end`, both ends included.

    L((1 − α) start + α end) at `steps` even values of α in [0, 1] (Goodfellow et al. 2015, section 3).
    Costs `steps` evaluations of each loss. With `exact=False` as few as give the curve to within `surface_tol` of its
    range, with the error stated beside it (`sampling.sample_grid`): from 48 steps on, or 28 on so many examples
    that a sample of them pays.

    Args:
        losses: one `Loss`, or a mapping of them by split.
        start: `(P,)`, the point at α = 0.
        end: `(P,)`, the point at α = 1.
        steps: points of the line, at least two.
        surface_tol: the largest error to aim at, relative to the range of the loss; see `sampling.sample_grid`.
        exact: measure every point.
        examples: of every node: "auto", as many as an error of 2 `surface_tol` takes, "all", or a number; see
            `sampling.sample_grid`.

    Returns:
        loss and metrics `(alpha,)`, in units of the criterion.

    Raises:
        ValueError: the ends do not come from one architecture, `steps` is below 2, or the module has statistics (batch
            norm) and nobody said whose they are at the ends.

    >>> from lossatlas.loss import toys
    >>> interpolate(toys.bowl(2), torch.zeros(2), torch.ones(2), steps=3).loss.values
    array([0.  , 0.25, 1.  ])
    """
    if steps < 2:
        raise ValueError(f"steps is {steps}: wanted at least 2, for the two ends")
    alpha = torch.linspace(0, 1, steps, dtype=torch.float64)
    line = Segment(start, end, alpha)
    refuse_borrowed_buffers(losses, {"start": start, "end": end})
    result = sample_grid(
        losses, partial(_points, start, end), {"alpha": alpha.numpy()}, tol=surface_tol, exact=exact, examples=examples,
        rough=lambda: rough_losses(by_split(losses), lambda: line[-1:][0]),  # what is hard for the start is everything
    )  # fmt: skip
    return result.assign_attrs(probe="interpolate")


def _points(start: Tensor, end: Tensor, coordinates: Tensor) -> Segment:
    return Segment(start, end, coordinates[:, 0])


def _call(subject: Subject, settings: InterpolateSettings, _: Generator) -> xr.Dataset:
    assert subject.trajectory is not None  # `Probe.lacking` says so
    start, end = subject.trajectory[0], subject.trajectory[-1]
    losses = subject.losses_among([subject.initial])
    if losses is subject.losses and borrowed_buffers(
        subject.loss, {"start": start}
    ):  # it is said, and done all the same
        warn_of_borrowed_buffers(losses, {"the first checkpoint": start})
        losses = {split: with_buffers(loss, "stored") for split, loss in losses.items()}
    return interpolate(losses, start, end, steps=settings.steps)


def _tell(result: xr.Dataset, _: str) -> Told:
    lines, rises = [], {}
    for split, part in splits(result).items():
        loss = part.loss.values
        rises[split] = largest_rise(loss)
        lines.append((split, *map(loss_text, (loss[0], loss[-1], loss.max(), rises[split]))))
    first, rise = next(iter(rises.items()))
    words = "descends all the way" if rise <= 0 else f"rises by up to {loss_text(rise)} on the way"
    return Told(
        f"The {first} loss on the straight line from the initial to the final weights {words}.",
        tables=(table("Loss on the line.", ("Data", "Start", "End", "Maximum", "Largest rise"), lines),),
        note=sample_text(result),
    )


PROBE = Probe(
    interpolate,
    InterpolateSettings,
    of="trajectory",
    title="from the initial to the final weights",
    meaning="Loss on the straight line between the first checkpoint and the final weights (Goodfellow et al. 2015).",
    misleads=("Training did not go along this line: that it has no bump does not say that training met none."),
    cost=lambda subject, settings: Cost(evaluations=settings.steps),
    tell=_tell,
    columns={
        "rise": Column("Largest rise from initial to final weights", lambda line: largest_rise(line.loss.values)),
        "monotone": Column(
            "Monotone from initial to final weights", lambda line: is_monotone(line.loss.values), boolean=True
        ),
    },
    call=_call,
    folder="interpolation",
    standard=True,
    every_draw={"steps": 21},
)
