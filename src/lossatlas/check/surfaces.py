"""Lines and planes: their values, their directions, and points in chunks."""

from __future__ import annotations

import numpy as np
import torch

from lossatlas.check.case import SIZES, Case, Measured, deviation, seed
from lossatlas.parameters import directions, subspaces
from lossatlas.parameters.curves import Affine, grid
from lossatlas.probes.sampling import sample
from lossatlas.probes.slices.random_line import random_line
from lossatlas.probes.slices.random_plane import random_plane


def centre(case: Case) -> Measured:
    loss, theta = case.loss(), case.on_device(case.theta)
    plane = random_plane(loss, theta, generator=seed(3), steps=5)
    line = random_line(loss, theta, generator=seed(3), steps=5)
    expected = float(case.by_hand(case.theta))
    return Measured(deviation([plane.loss[2, 2], line.loss[2]], [expected, expected]), case.rounding)


def cells(case: Case) -> Measured:
    """A square plane and an oblong one: a transposed square is an ordinary picture, a transposed oblong is not."""
    loss, theta = case.loss(), case.on_device(case.theta)
    drawn = directions.random_directions(loss.layout, theta, 2, generator=seed(3))
    drawn = subspaces.orthogonalize_by_tensor(loss.layout, drawn)
    alpha, beta = torch.tensor([-0.5, 0.0, 0.2]).double(), torch.linspace(-1, 0.5, 5, dtype=torch.float64)
    square = random_plane(loss, theta, generator=seed(3), steps=5)
    axes = {"alpha": alpha.numpy(), "beta": beta.numpy()}
    oblong = sample(loss, Affine(theta, drawn, grid(alpha, beta)), axes)
    d1, d2 = drawn.double().cpu()
    measured, expected = [], []
    for result in (square, oblong):
        for a in result.alpha.values:
            for b in result.beta.values:
                measured.append(float(result.loss.sel(alpha=a, beta=b)))
                expected.append(float(case.by_hand(case.theta + a * d1 + b * d2)))
    return Measured(deviation(measured, expected), case.rounding)


def cosine(case: Case) -> Measured:
    """From the surface alone: mixed second differences of ‖θ + αd₁ + βd₂‖²/2, the penalty, are d₁·d₂."""
    loss = case.loss(weight_decay=1.0)
    plane = random_plane(loss, case.on_device(case.theta), generator=seed(3), steps=5)
    penalty = plane.penalty.values
    mixed = np.diff(np.diff(penalty, axis=0), axis=1).mean()
    own = np.sqrt(np.diff(penalty, 2, axis=0).mean() * np.diff(penalty, 2, axis=1).mean())
    return Measured(float(abs(mixed / own)), case.rounding)


def stated_cosine(case: Case) -> Measured:
    loss, theta = case.loss(), case.on_device(case.theta)
    plane = random_plane(loss, theta, generator=seed(3), steps=3)
    a, b = directions.random_directions(loss.layout, theta, 2, generator=seed(3)).double().cpu()
    return Measured(abs(plane.attrs["cosine_drawn"] - float(a @ b / a.norm() / b.norm())), case.rounding)


def filters(case: Case) -> Measured:
    """Norms of every row, those of the biases being wanted 0."""
    loss, theta = case.loss(), case.on_device(case.theta)
    measured, expected = [], []
    for draw in directions.random_directions(loss.layout, theta, 2, generator=seed(3)).double().cpu():
        for rows, wanted, entries in zip(draw.split(SIZES), case.theta.split(SIZES), (2, 0, 5, 0), strict=True):
            measured += rows.view(-1, entries or 1).norm(dim=1).tolist()
            expected += [float(row.norm()) if entries else 0.0 for row in wanted.view(-1, entries or 1)]
    return Measured(deviation(measured, expected), case.rounding)


def chunks(case: Case) -> Measured:
    """One point at a time, and all at once."""
    theta = case.on_device(case.theta)
    one, all_ = (
        random_plane(case.loss(memory=memory), theta, generator=seed(3), steps=5).loss for memory in (1, 2**30)
    )
    return Measured(deviation(one, all_), case.rounding)
