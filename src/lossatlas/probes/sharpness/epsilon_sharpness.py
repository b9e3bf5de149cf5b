"""How much does the loss rise at a small distance from a point?"""

from __future__ import annotations

from collections.abc import Hashable

import torch
import xarray as xr
from torch import Tensor

from lossatlas.parameters.directions import Surroundings
from lossatlas.probes.sampling import Losses, by_split, sample
from lossatlas.results.variables import UNITS


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

    Returns:
        increase `(sample,)`, one variable `<metric>_change` per metric; the largest one, `maximum`; `mean_increase`
        and its standard error `mean_increase_error`.
    """
    if samples < 2:
        raise ValueError(f"samples is {samples}: wanted at least 2, for a standard error")
    layout = next(iter(by_split(losses).values())).layout
    points = Surroundings.of(
        layout, theta, samples, generator=generator, radius=radius, normalize="layer", biases="layer"
    )
    values = sample(losses, points, {"sample": torch.arange(samples + 1).numpy()})
    change = values.isel(sample=slice(1, None)) - values.isel(sample=0)
    increase = change.loss.assign_attrs(UNITS["increase"])
    metrics = {
        f"{name}_change": change[name].assign_attrs(long_name=f"change of {name}", units=_units(name))
        for name in change.data_vars
        if name != "loss"
    }
    return xr.Dataset(
        {
            "increase": increase,
            **metrics,
            "maximum": increase.max("sample", skipna=False).assign_attrs(UNITS["increase"]),
            "mean_increase": increase.mean("sample", skipna=False).assign_attrs(UNITS["increase"]),
            "mean_increase_error": (increase.std("sample", ddof=1, skipna=False) / samples**0.5).assign_attrs(
                UNITS["increase"]
            ),
        },
        attrs={"probe": "epsilon_sharpness", "radius": radius, "samples": samples, **values.attrs},
    ).drop_vars("sample")


def _units(name: Hashable) -> str:
    return UNITS.get(str(name), {}).get("units", "1")
