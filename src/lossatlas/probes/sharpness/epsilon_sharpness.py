"""How much does the loss rise at a small distance from a point, and how much of that is slope?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
import xarray as xr
from torch import Tensor

from lossatlas.loss.loss import Loss
from lossatlas.numbers import MISSING, number, percent_text, round_percent_text, with_error
from lossatlas.parameters.directions import adaptive_directions, random_directions
from lossatlas.probes.call import with_keywords
from lossatlas.probes.other_models import warn_of_borrowed_buffers
from lossatlas.probes.parity import Parity, opposite_steps
from lossatlas.probes.probe import POSITIVE, Column, Cost, Probe, Settings, Subject, Told, Wanted, at_least
from lossatlas.probes.sampling import Losses, by_split, join_splits
from lossatlas.probes.stationarity import COLUMNS, on_a_slope, standing
from lossatlas.probes.telling import table
from lossatlas.results.variables import UNITS
from lossatlas.splits import splits

LOSS: dict[str, str] = {"units": "criterion", "invariant_to": "layer"}
SHARE: dict[str, str] = {"units": "1", "invariant_to": "layer"}
ADAPTIVE: dict[str, str] = {"units": "criterion", "invariant_to": "unit"}

VARIABLES = {
    "even": {"long_name": "even part ½(L(θ + δ) + L(θ − δ)) − L(θ)", **LOSS},
    "odd": {"long_name": "odd part ½(L(θ + δ) − L(θ − δ))", **LOSS},
    "radius": {"long_name": "radius ‖δ‖ / ‖θ‖ of every tensor", "units": "1"},
    "mean_even": {"long_name": "mean of the even part", **LOSS},
    "mean_even_error": {"long_name": "standard error of the mean of the even part", **LOSS},
    "odd_size": {"long_name": "root mean square of the odd part", **LOSS},
    "lowered": {"long_name": "share of steps that lower the loss", **SHARE},
    "maximum": {"long_name": "largest L(θ ± δ) − L(θ)", **LOSS},
    "gradient_share": {"long_name": "share of the odd part in the largest increase", **SHARE},
    "adaptive_mean": {"long_name": "mean of the even part, δ in proportion to every weight", **ADAPTIVE},
    "adaptive_mean_error": {"long_name": "standard error of the adaptive mean of the even part", **ADAPTIVE},
}
FACTORS = Wanted("numbers above 0, each once", lambda given: len({*given}) == len(given) and all(x > 0 for x in given))


@dataclass(frozen=True)
class EpsilonSharpnessSettings(Settings):
    """How much the loss rises when every tensor is moved at random, to both sides."""

    radius: Annotated[float, POSITIVE] = 0.05
    """How far a tensor is moved, as a share of its norm."""
    samples: Annotated[int, at_least(2)] = 50
    """Pairs of opposite steps at this radius."""
    factors: Annotated[tuple[float, ...], FACTORS] = (0.25, 0.5, 2.0)
    """Further radii, as multiples of this one."""
    curve_samples: Annotated[int, at_least(2)] = 20
    """Pairs of opposite steps at each of them, and of the adaptive measure."""


@with_keywords
def epsilon_sharpness(
    losses: Losses,
    theta: Tensor,
    *,
    generator: torch.Generator,
    radius: float = 0.05,
    samples: int = 50,
    factors: Sequence[float] = (0.25, 0.5, 2.0),
    curve_samples: int = 20,
) -> xr.Dataset:
    """The rise of the loss at θ ± δ for random δ that move every layer by `radius` times its norm, in two parts.

    The even part ½(L(θ + δ) + L(θ − δ)) − L(θ) is what curvature makes, ½ δᵀHδ to the second order; the odd part
    ½(L(θ + δ) − L(θ − δ)) is what the slope makes, gᵀδ to the first. The rise itself is their sum, and their difference
    on the other side. Off a minimum the odd part can be most of it, and is no sharpness. The statistic is the mean of
    the even part, `mean_even`: the average-direction sharpness (Wen, Ma and Li 2023), without the noise of the slope.

    Each tensor of δ is a Gaussian direction scaled to `radius` times the norm of that tensor in θ, biases included: on
    a quadratic `mean_even` is ½ Σ radius² ‖θₗ‖² tr(Hₗₗ) / Pₗ over the tensors. It does not change when whole layers of
    a ReLU network are scaled against each other, and does when single units are (Dinh et al. 2017). `adaptive_mean` is
    invariant to both: its δ is radius · |θ| ⊙ N(0, 1), so that ‖δₗ‖² is radius² ‖θₗ‖² for every tensor on average, the
    same as above, and every weight moves in proportion to itself (Kwon et al. 2021; Andriushchenko et al. 2023, average
    case). On a quadratic it is ½ radius² Σ θᵢ² Hᵢᵢ.

    The largest rise seen, over both sides, is `maximum`: a lower bound of the worst case (Keskar et al. 2017 maximise
    instead of sampling), which grows with `samples`. `gradient_share` is how much of it is the odd part of that draw.

    Costs 2 (`samples` + (`factors` + 1) `curve_samples` + 1) evaluations, 262 by default, and what tells where the
    point stands (`stationarity.standing`).

    Args:
        losses: one `Loss`, or a mapping of them by split.
        theta: θ `(P,)`.
        generator: of the draws, on the CPU.
        radius: ‖δ‖ / ‖θ‖ of every tensor, without unit.
        samples: pairs θ ± δ at this radius, at least two.
        factors: further radii over this one; they have the first directions of those at the radius itself.
        curve_samples: pairs at each of them, and of the adaptive measure, at least two.

    Returns:
        even, odd `(sample,)` at `radius`, and for every metric `<metric>_even` and `<metric>_odd`; mean_even with
        mean_even_error, odd_size and lowered, the share of steps that lower the loss, `(radius,)`; maximum and
        gradient_share at `radius`, adaptive_mean with adaptive_mean_error; gradient_norm, gradient_norm_relative and
        stationary (NaN and false for a loss without derivatives). All in units of the loss, shares without one. With
        a penalty all but the gradient is of the loss on the data.

    Raises:
        ValueError: fewer than two pairs, or a radius that is not above 0.

    >>> from lossatlas.loss import toys
    >>> loss, chance = toys.bowl(3), torch.Generator().manual_seed(0)  # ½‖θ‖²: every δ makes ½ radius² ‖θ‖²
    >>> found = epsilon_sharpness(loss.to(torch.float64), torch.ones(3), generator=chance, radius=0.1)
    >>> found.mean_even.sel(radius=[0.1, 0.2]).values.round(6)  # directions are in float32, as θ is
    array([0.015, 0.06 ])
    """
    for name, count in (("samples", samples), ("curve_samples", curve_samples)):
        if count < 2:
            raise ValueError(f"{name} is {count}: wanted at least 2, for a standard error")
    if not (0 < radius < math.inf and FACTORS.holds(factors)):
        raise ValueError(f"radius is {radius} and factors are {factors}: wanted {FACTORS.words}")
    warn_of_borrowed_buffers(losses, {"θ": theta})
    named = by_split(losses)
    layout = next(iter(named.values())).layout
    by_layer = partial(random_directions, layout, theta, normalize="layer", biases="layer")
    by_weight = partial(adaptive_directions, layout, theta)
    pairs = dict(sorted({**{factor * radius: curve_samples for factor in factors}, radius: samples}.items()))
    moved, attrs = opposite_steps(losses, theta, by_layer, pairs, generator=generator)
    adaptive, others = opposite_steps(losses, theta, by_weight, {radius: curve_samples}, generator=generator)

    numbers = _of_draws(moved[radius]) | _over_radii(moved) | _of_adaptive(adaptive[radius])
    stands = {
        split: xr.Dataset({name: ((), value, UNITS[name]) for name, value in _standing(loss, theta).items()})
        for split, loss in named.items()
    }
    counts = {name: attrs[name] + others.get(name, 0) for name in ("evaluations", "not_finite") if name in attrs}
    return (
        xr.Dataset({name: values.assign_attrs(VARIABLES.get(name, {})) for name, values in numbers.items()})
        .assign(join_splits(stands).data_vars)
        .transpose("split", ..., missing_dims="ignore")
        .assign_attrs({"probe": "epsilon_sharpness", "radius": radius, "samples": samples, **attrs, **counts})
    )


def _of_draws(parity: Parity) -> dict[str, xr.DataArray]:
    """Both parts of every draw, of the loss and of every other quantity, and the largest rise."""
    drawn: dict[str, xr.DataArray] = {}
    for part, values in (("even", parity.even), ("odd", parity.odd)):
        drawn[part] = values.loss
        for name in map(str, values.data_vars):
            if name != "loss":
                units = UNITS.get(name, {}).get("units", "1")
                words = {"long_name": f"{part} part of the change of {name.replace('_', ' ')}", "units": units}
                drawn[f"{name}_{part}"] = values[name].assign_attrs(words)
    maximum, share = parity.largest()
    return drawn | {"maximum": maximum, "gradient_share": share}


def _over_radii(moved: Mapping[float, Parity]) -> dict[str, xr.DataArray]:
    """The statistics at every radius."""
    radius = xr.Variable("radius", list(moved), VARIABLES["radius"])
    rows = [(*parity.mean(), parity.odd_size(), parity.lowered()) for parity in moved.values()]
    names = ("mean_even", "mean_even_error", "odd_size", "lowered")
    return {
        name: xr.concat(values, "radius").assign_coords(radius=radius)
        for name, values in zip(names, zip(*rows, strict=True), strict=True)
    }


def _of_adaptive(parity: Parity) -> dict[str, xr.DataArray]:
    mean, error = parity.mean()
    return {"adaptive_mean": mean, "adaptive_mean_error": error}


def _standing(loss: Loss, theta: Tensor) -> dict[str, float | bool]:
    """Where the point stands; not known of a loss that has no derivative, which none of the rest needs."""
    try:
        return standing(loss, theta)
    except ValueError:
        return {"gradient_norm": math.nan, "gradient_norm_relative": math.nan, "stationary": False}


def _main(part: xr.Dataset) -> xr.Dataset:
    """At the radius itself."""
    return part.sel(radius=part.attrs["radius"])


def _tell(result: xr.Dataset, _: str) -> Told:
    lines, curve = [], []
    for split, part in splits(result).items():
        main = _main(part)
        lines.append((
            split, with_error(float(main.mean_even), float(main.mean_even_error)),
            with_error(float(part.adaptive_mean), float(part.adaptive_mean_error)), number(float(part.maximum)),
            _share(part.gradient_share), _share(main.lowered),
        ))  # fmt: skip
        curve += [
            (
                f"{split}{', ' if split else ''}{round_percent_text(float(one.radius))}",
                with_error(float(one.mean_even), float(one.mean_even_error)), number(float(one.odd_size)),
                _share(one.lowered),
            )
            for one in (part.sel(radius=radius) for radius in part.radius)
        ]  # fmt: skip
    split, mean, _adaptive, largest, share, lowered = lines[0]
    words = (
        f"Moving every tensor by {round_percent_text(result.attrs['radius'])} of its norm at random, to both sides, "
        f"raises the {split}{' ' if split else ''}loss by {mean} on average (standard error). It rises by {largest} at "
        f"most in {2 * result.sizes['sample']} steps, of which the slope is {share}; {lowered} of the steps lower it."
    )
    heads = ("Data", "Mean, even part", "Adaptive mean", "Largest", "Slope in it", "Steps that lower")
    over = ("Radius", "Mean, even part", "Odd part, root mean square", "Steps that lower")
    tables = (
        table("Increase of the loss, with standard errors.", heads, lines),
        table("Increase of the loss by the size of the steps.", over, curve),
    )
    return on_a_slope(Told(words, tables=tables), result)


def _share(value: xr.DataArray) -> str:
    return percent_text(float(value)) if value.notnull() else MISSING


def _cost(_: Subject, settings: EpsilonSharpnessSettings) -> Cost:
    pairs = settings.samples + (len(settings.factors) + 1) * settings.curve_samples
    return Cost(evaluations=2 * (pairs + 1))


PROBE = Probe(
    epsilon_sharpness,
    EpsilonSharpnessSettings,
    of="model",
    title="the rise of the loss nearby",
    meaning=(
        "Increase of the loss when every tensor is moved by a share of its own norm in a random direction and in the "
        "opposite one. The mean over both sides is what curvature makes; what is left is the slope."
    ),
    misleads=(
        "The largest of a sample is a lower bound of the worst case, grows with the number of samples, and off a "
        "minimum it is mostly slope. All but the adaptive mean change when the units of a layer are scaled against "
        "each other, which leaves a ReLU network's function as it is (Dinh et al. 2017)."
    ),
    variables=VARIABLES,
    cost=_cost,
    tell=_tell,
    columns={
        "mean": Column("Mean increase of the loss, even part", lambda part: float(_main(part).mean_even)),
        "mean_error": Column("Standard error of that mean", lambda part: float(_main(part).mean_even_error)),
        "maximum": Column("ε-sharpness: largest increase of the loss", lambda part: float(part.maximum)),
        "gradient_share": Column("Share of the slope in the largest increase", lambda part: float(part.gradient_share)),
        "lowered": Column("Share of steps that lower the loss", lambda part: float(_main(part).lowered)),
        "adaptive_mean": Column(
            "Mean increase of the loss, in proportion to every weight", lambda part: float(part.adaptive_mean)
        ),
        "adaptive_mean_error": Column(
            "Standard error of the adaptive mean", lambda part: float(part.adaptive_mean_error)
        ),
        **COLUMNS,
    },
    folder="sharpness",
    suffix=".json",
    standard=True,
    every_draw={"samples": 8, "curve_samples": 5, "factors": ()},
)
