"""How much does the loss rise at a small distance from a point?"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Annotated

import torch
import xarray as xr
from torch import Tensor

from lossatlas.numbers import loss_text, percent_text, with_error
from lossatlas.parameters.directions import Surroundings
from lossatlas.probes.probe import POSITIVE, Column, Cost, Probe, Settings, Told, at_least
from lossatlas.probes.sampling import Losses, by_split, sample
from lossatlas.probes.telling import table
from lossatlas.results.variables import UNITS
from lossatlas.splits import splits

VARIABLES = {
    "increase": {"long_name": "L(θ + δ) − L(θ)", "units": "criterion"},
}


@dataclass(frozen=True)
class EpsilonSharpnessSettings(Settings):
    """How much the loss rises when every tensor is moved at random."""

    radius: Annotated[float, POSITIVE] = 0.05
    """How far a tensor is moved, as a share of its norm."""
    samples: Annotated[int, at_least(2)] = 100
    """Random directions."""


def epsilon_sharpness(
    losses: Losses,
    theta: Tensor,
    *,
    generator: torch.Generator,
    radius: float = 0.05,
    samples: int = 100,
) -> xr.Dataset:
    """L(θ + δ) − L(θ) for random δ that move every layer by `radius` times its norm.

    Each tensor of δ is a Gaussian direction scaled to `radius` times the norm of that tensor in θ, biases
    included. The largest increase seen is the epsilon-sharpness of these draws: a lower bound of the maximum over
    all such δ (the measure of Keskar et al. 2017 maximises instead of sampling), which is not invariant to
    rescaling within a layer (Dinh et al. 2017). Costs `samples` + 1 evaluations.

    Args:
        losses: one `Loss`, or a mapping of them by split.
        theta: θ `(P,)`.
        generator: of the draws, on the CPU.
        radius: ‖δ‖ / ‖θ‖ of every tensor, without unit.
        samples: random δ, at least two.

    Returns:
        increase `(sample,)`, one variable `<metric>_change` per metric; the largest one, `maximum`; `mean_increase`
        and its standard error `mean_increase_error`.

    Raises:
        ValueError: fewer than two samples.
    """
    if samples < 2:
        raise ValueError(f"samples is {samples}: wanted at least 2, for a standard error")
    layout = next(iter(by_split(losses).values())).layout
    points = Surroundings.of(
        layout, theta, samples, generator=generator, radius=radius, normalize="layer", biases="layer"
    )
    values = sample(losses, points, {"sample": torch.arange(samples + 1).numpy()})
    change = values.isel(sample=slice(1, None)) - values.isel(sample=0)
    increase = change.loss.assign_attrs(VARIABLES["increase"])
    metrics = {
        f"{name}_change": change[name].assign_attrs(long_name=f"change of {name}", units=_units(name))
        for name in change.data_vars
        if name != "loss"
    }
    return xr.Dataset(
        {
            "increase": increase,
            **metrics,
            "maximum": increase.max("sample", skipna=False).assign_attrs(VARIABLES["increase"]),
            "mean_increase": increase.mean("sample", skipna=False).assign_attrs(VARIABLES["increase"]),
            "mean_increase_error": (increase.std("sample", ddof=1, skipna=False) / samples**0.5).assign_attrs(
                VARIABLES["increase"]
            ),
        },
        attrs={"probe": "epsilon_sharpness", "radius": radius, "samples": samples, **values.attrs},
    ).drop_vars("sample")


def _units(name: Hashable) -> str:
    return UNITS.get(str(name), {}).get("units", "1")


def _tell(result: xr.Dataset, _: str) -> Told:
    lines = [
        (split, loss_text(float(part.maximum)), with_error(float(part.mean_increase), float(part.mean_increase_error)))
        for split, part in splits(result).items()
    ]
    draws = result.sizes["sample"]
    words = (
        f"Moving every tensor by {percent_text(result.attrs['radius'])} of its norm at random raises the "
        f"{lines[0][0]} loss by {lines[0][2]} on average (standard error), by {lines[0][1]} at most in {draws} draws."
    )
    return Told(words, tables=(table("Increase of the loss.", ("Data", "Largest", "Mean"), lines),))


PROBE = Probe(
    epsilon_sharpness,
    EpsilonSharpnessSettings,
    of="model",
    title="the rise of the loss nearby",
    meaning="Increase of the loss when every tensor is moved by a share of its own norm in a random direction.",
    misleads=(
        "The largest of a sample is a lower bound of the worst case, and grows with the number of samples. It is not "
        "invariant to rescaling within a layer (Dinh et al. 2017)."
    ),
    variables=VARIABLES,
    cost=lambda subject, settings: Cost(evaluations=settings.samples + 1),
    tell=_tell,
    columns={
        "maximum": Column("ε-sharpness: largest increase of the loss", lambda part: float(part.maximum)),
        "mean": Column("Mean increase of the loss", lambda part: float(part.mean_increase)),
    },
    folder="sharpness",
    suffix=".json",
    standard=True,
)
