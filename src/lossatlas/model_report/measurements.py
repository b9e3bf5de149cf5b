"""What is measured of one model: a table of probes with what each needs, what it costs, and how it is drawn."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
import xarray as xr
from matplotlib.figure import Figure
from torch import Generator, Tensor

from lossatlas.figures import block_spectrum as block_figures
from lossatlas.figures import connectivity, interpolation, sharpness, slices
from lossatlas.figures import eigenvector_plane as eigenvector_figures
from lossatlas.figures import model_plane as model_figures
from lossatlas.figures import spectrum as spectrum_figures
from lossatlas.figures import trajectory_plane as trajectory_figures
from lossatlas.loss.loss import Loss
from lossatlas.model_report.settings import PROBES, Settings
from lossatlas.probes.connectivity.linear_connectivity import linear_connectivity
from lossatlas.probes.curvature.block_spectrum import block_spectrum, layers
from lossatlas.probes.curvature.spectral_density import spectral_density
from lossatlas.probes.curvature.spectrum import spectrum
from lossatlas.probes.sharpness.epsilon_sharpness import epsilon_sharpness
from lossatlas.probes.slices.eigenvector_plane import eigenvector_plane
from lossatlas.probes.slices.interpolate import interpolate
from lossatlas.probes.slices.model_plane import model_plane
from lossatlas.probes.slices.random_line import random_line
from lossatlas.probes.slices.random_plane import random_plane
from lossatlas.probes.slices.trajectory_plane import trajectory_plane

Pages = Iterator[tuple[str, Figure]]

EXACT_BELOW = 2_000_000  # parameters: curvature of larger models is measured in their own precision
TYPICAL_NODES = 160  # that the surface of a trained network took on the average (docs/architecture.md)
PRODUCTS_PER_PAIR = 4  # of Hessian and vector, to the usual tolerance: between 2 and 6 on trained networks


@dataclass(frozen=True)
class Subject:
    """A model as the probes see it."""

    losses: dict[str, Loss]
    trajectory: Tensor | None  # (t, P), the model's own weights last
    others: dict[str, Tensor]  # (P,) each
    settings: Settings

    @property
    def loss(self) -> Loss:
        return next(iter(self.losses.values()))

    @property
    def theta(self) -> Tensor:
        return self.loss.theta

    @property
    def k(self) -> int:
        return min(self.settings.eigenvalues, self.loss.layout.size - 1)

    @property
    def dtype(self) -> torch.dtype:
        """That of the curvature."""
        if self.settings.precision != "auto":
            return getattr(torch, self.settings.precision)
        small = self.loss.layout.size < EXACT_BELOW and self.theta.device.type != "mps"
        return torch.float64 if small else self.loss.dtype

    @property
    def sampled_dtype(self) -> torch.dtype | None:
        """That of curvature whose sampling error is far above rounding: the loss's own unless another is asked for."""
        return None if self.settings.precision == "auto" else self.dtype


@dataclass(frozen=True)
class Measurement:
    """One question to a model: its result is kept under `name`, and drawn by `pages`."""

    name: str
    probe: str  # of PROBES
    measure: Callable[[Generator], xr.Dataset]
    pages: Callable[[xr.Dataset, str], Pages]
    evaluations: int = 0  # of the loss on each split
    products: int = 0  # of the Hessian and a vector, on each split


def measurements(subject: Subject, chosen: tuple[str, ...] = PROBES) -> tuple[list[Measurement], dict[str, str]]:
    """What can be measured of the chosen probes, and why the others cannot."""
    found = {probe: _MEASUREMENTS[probe](subject) for probe in chosen}
    return (
        [measurement for made in found.values() if not isinstance(made, str) for measurement in made],
        {probe: made for probe, made in found.items() if isinstance(made, str)},
    )


# One function per probe: what it measures of a subject, or what it lacks ---------------------------------------------

Made = list[Measurement] | str


def _interpolation(subject: Subject) -> Made:
    trajectory, steps = subject.trajectory, 51
    if trajectory is None or len(trajectory) < 2:
        return "wants checkpoints: the path starts at the first"

    def measure(_: Generator) -> xr.Dataset:
        return interpolate(subject.losses, trajectory[0], trajectory[-1], steps=steps)

    return [Measurement("interpolation", "interpolation", measure, interpolation.pages, steps)]


def _random_line(subject: Subject) -> Made:
    settings, steps = subject.settings, 51

    def measure(generator: Generator) -> xr.Dataset:
        return random_line(
            subject.losses, subject.theta, generator=generator, radius=settings.radius, steps=steps,
            draws=settings.draws,
        )  # fmt: skip

    return [Measurement("random_line", "random_line", measure, slices.pages, steps * settings.draws)]


def _random_plane(subject: Subject) -> Made:
    settings = subject.settings

    def measure(generator: Generator) -> xr.Dataset:
        return random_plane(
            subject.losses, subject.theta, generator=generator, radius=settings.radius, steps=settings.steps,
            exact=settings.exact,
        )  # fmt: skip

    return [Measurement("random_plane", "random_plane", measure, slices.pages, _nodes(settings))]


def _trajectory_plane(subject: Subject) -> Made:
    trajectory, settings = subject.trajectory, subject.settings
    if trajectory is None or len(trajectory) < 3:
        return "wants three checkpoints at least, the model's own weights among them"

    def measure(_: Generator) -> xr.Dataset:
        return trajectory_plane(subject.losses, trajectory, steps=settings.steps, exact=settings.exact)

    cost = _nodes(settings) + 2 * len(trajectory)
    return [Measurement("trajectory_plane", "trajectory_plane", measure, trajectory_figures.pages, cost)]


def _connectivity(subject: Subject) -> Made:
    if not subject.others:
        return "wants other solutions of the same architecture (solutions=)"

    def measure(end: Tensor, _: Generator) -> xr.Dataset:
        return linear_connectivity(subject.losses, subject.theta, end)

    def pages(result: xr.Dataset, title: str) -> Pages:
        return connectivity.pages({"": result}, title)

    return [
        Measurement(f"connectivity_{name}", "connectivity", partial(measure, end), pages, 60)
        for name, end in zip(_plain(subject.others), subject.others.values(), strict=True)
    ]


def _plain(names: Iterable[str]) -> list[str]:
    """Names that every file system takes, no two alike.

    >>> _plain(["seed 1", "seed/1", "last"])
    ['seed_1', 'seed_1_2', 'last']
    """
    found: list[str] = []
    for name in names:
        plain = re.sub(r"[^\w.=-]+", "_", name)
        numbered = (f"{plain}_{number}" if number > 1 else plain for number in itertools.count(1))
        found.append(next(new for new in numbered if new not in found))
    return found


def _model_plane(subject: Subject) -> Made:
    if len(subject.others) < 2:
        return "wants two other solutions at least (solutions=)"
    names = ["this model", *subject.others]
    models = torch.stack([subject.theta, *subject.others.values()])
    settings = subject.settings

    def measure(_: Generator) -> xr.Dataset:
        return model_plane(subject.losses, models, names=names, steps=settings.steps, exact=settings.exact)

    cost = _nodes(settings) + 2 * len(models)
    return [Measurement("model_plane", "model_plane", measure, model_figures.pages, cost)]


def _spectrum(subject: Subject) -> Made:
    settings = subject.settings

    def measure(generator: Generator) -> xr.Dataset:
        return spectrum(
            subject.losses, subject.theta, generator=generator, k=subject.k, samples=settings.samples,
            tol=settings.tol, dtype=subject.dtype,
        )  # fmt: skip

    products = PRODUCTS_PER_PAIR * (subject.k + 1) + settings.samples
    return [Measurement("spectrum", "spectrum", measure, spectrum_figures.pages, products=products)]


def _density(subject: Subject) -> Made:
    draws, steps = max(subject.settings.samples // 6, 2), 80

    def measure(generator: Generator) -> xr.Dataset:
        return spectral_density(
            subject.losses, subject.theta, generator=generator, k=subject.k, draws=draws, steps=steps,
            tol=subject.settings.tol, dtype=subject.sampled_dtype,
        )  # fmt: skip

    products = PRODUCTS_PER_PAIR * (subject.k + 1) + draws * steps
    return [Measurement("density", "density", measure, spectrum_figures.density_pages, products=products)]


def _blocks(subject: Subject) -> Made:
    count = len(layers(subject.loss.layout))
    if count < 2:
        return "wants a model of two layers at least"
    k, samples = min(3, subject.k), subject.settings.samples

    def measure(generator: Generator) -> xr.Dataset:
        return block_spectrum(
            subject.losses, subject.theta, generator=generator, k=k, samples=samples, tol=subject.settings.tol,
            dtype=subject.dtype,
        )  # fmt: skip

    products = count * (PRODUCTS_PER_PAIR * (k + 1) + samples)
    return [Measurement("blocks", "blocks", measure, block_figures.pages, products=products)]


def _eigenvector_plane(subject: Subject) -> Made:
    settings = subject.settings

    def measure(generator: Generator) -> xr.Dataset:
        return eigenvector_plane(
            subject.losses, subject.theta, generator=generator, steps=settings.steps, exact=settings.exact,
            dtype=subject.sampled_dtype,
        )  # fmt: skip

    cost, products = _nodes(settings) + 1, PRODUCTS_PER_PAIR * 3
    return [Measurement("eigenvector_plane", "eigenvector_plane", measure, eigenvector_figures.pages, cost, products)]


def _nodes(settings: Settings) -> int:
    """Evaluations that a plane takes, about."""
    every = settings.steps**2
    return every if settings.exact else min(every, TYPICAL_NODES)


def _sharpness(subject: Subject) -> Made:
    samples = 100

    def measure(generator: Generator) -> xr.Dataset:
        return epsilon_sharpness(subject.losses, subject.theta, generator=generator, samples=samples)

    return [Measurement("sharpness", "sharpness", measure, sharpness.pages, samples + 1)]


_MEASUREMENTS: dict[str, Callable[[Subject], Made]] = {
    "interpolation": _interpolation,
    "random_line": _random_line,
    "random_plane": _random_plane,
    "trajectory_plane": _trajectory_plane,
    "connectivity": _connectivity,
    "model_plane": _model_plane,
    "spectrum": _spectrum,
    "density": _density,
    "blocks": _blocks,
    "eigenvector_plane": _eigenvector_plane,
    "sharpness": _sharpness,
}
