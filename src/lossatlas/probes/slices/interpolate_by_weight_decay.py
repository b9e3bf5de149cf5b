"""How does the landscape change with weight decay?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import xarray as xr
from torch import Generator, Tensor

from lossatlas.numbers import loss_text
from lossatlas.parameters.curves import Segment
from lossatlas.probes.call import with_keywords
from lossatlas.probes.probe import Cost, Probe, Settings, Subject, Told, at_least
from lossatlas.probes.sampling import Losses, sample
from lossatlas.probes.telling import table
from lossatlas.probes.weight_decays import check_family, join_family, squared_norms
from lossatlas.splits import splits


@dataclass(frozen=True)
class InterpolateByWeightDecaySettings(Settings):
    """The straight lines from initial to final weights at several weight decays."""

    steps: Annotated[int, at_least(2)] = 51
    """Points on a line, both ends included."""


@with_keywords
def interpolate_by_weight_decay(
    losses: Losses, starts: Tensor, ends: Tensor, weight_decays: Sequence[float], *, steps: int = 51
) -> xr.Dataset:
    """Loss and metrics on the straight line from initial to final weights, for a network per weight decay.

    The loss is that of the data alone, and must come without a penalty of its own. Beside it stands `penalty`, λ‖θ‖²/2
    over all of θ, whose gradient λθ is what the `weight_decay=λ` of torch.optim's SGD and Adam adds (AdamW's does not:
    it is no term of the loss); their sum is what was trained. Costs `steps` evaluations of each loss per weight decay.

    Args:
        losses: one `Loss`, or a mapping of them by split.
        starts: `(w, P)`, the initial weights, a row per weight decay.
        ends: `(w, P)`, the final weights in the same order.
        weight_decays: λ of each row, in units of the criterion per square of a parameter's.
        steps: points of each line, at least two.

    Returns:
        loss and metrics `(weight_decay, alpha)`, penalty `(weight_decay, alpha)`, which has no split.

    Raises:
        ValueError: the rows are not as many as the weight decays, or a loss has a penalty.

    >>> from lossatlas.loss import toys
    >>> ends = torch.tensor([[2.0], [1.0]])
    >>> result = interpolate_by_weight_decay(toys.bowl(1), torch.zeros(2, 1), ends, (0, 0.5), steps=3)
    >>> result.loss.values
    array([[0.   , 0.5  , 2.   ],
           [0.   , 0.125, 0.5  ]])
    >>> result.penalty.values
    array([[0.    , 0.    , 0.    ],
           [0.    , 0.0625, 0.25  ]])
    """
    check_family(losses, weight_decays, starts=starts, ends=ends)
    if steps < 2:
        raise ValueError(f"steps is {steps}: wanted at least 2, for the two ends")
    alpha = torch.linspace(0, 1, steps, dtype=torch.float64)
    parts = []
    for start, end in zip(starts, ends, strict=True):
        line = sample(losses, Segment(start, end, alpha), {"alpha": alpha.numpy()})
        norms = squared_norms(torch.stack([start, end - start]), alpha[:, None])
        parts.append(line.assign(penalty=("alpha", norms)))
    return join_family(parts, weight_decays).assign_attrs(probe="interpolate_by_weight_decay")


def _call(subject: Subject, settings: InterpolateByWeightDecaySettings, _: Generator) -> xr.Dataset:
    family = subject.family
    assert family is not None  # `Probe.lacking` says so
    return interpolate_by_weight_decay(
        subject.losses, family.starts, family.ends, family.weight_decays, steps=settings.steps
    )


def _tell(result: xr.Dataset, _: str) -> Told:
    split, part = next(iter(splits(result).items()))
    lines = [
        (f"{decay:g}", *map(loss_text, (line.min(), line[-1])))
        for decay, line in zip(part.weight_decay.values, part.loss.values, strict=True)
    ]
    headings = ("Weight decay", "Lowest loss on the line", "Loss at its end")
    return Told(tables=(table(f"The {split} loss, without the penalty.", headings, lines),))


def _cost(subject: Subject, settings: InterpolateByWeightDecaySettings) -> Cost:
    networks = 0 if subject.family is None else len(subject.family.weight_decays)
    return Cost(evaluations=networks * settings.steps)


PROBE = Probe(
    interpolate_by_weight_decay,
    InterpolateByWeightDecaySettings,
    of="family",
    title="from initial to final weights at several weight decays",
    meaning=(
        "Loss of the data on the straight line from initial to final weights, for networks that differ in their weight "
        "decay only."
    ),
    misleads="Networks of different weight decay end in different places: a lower line is not a shorter way.",
    cost=_cost,
    tell=_tell,
    call=_call,
    folder="regularization",
    standard=True,
    every_draw={"steps": 21},
)
