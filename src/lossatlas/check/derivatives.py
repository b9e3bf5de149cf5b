"""Gradients, products with the Hessian, and what is read off them: eigenvalues, trace, spectral density."""

from __future__ import annotations

import numpy as np
import torch
from scipy.integrate import trapezoid

from lossatlas.check.case import SIZES, Case, Measured, deviation, seed
from lossatlas.numerics import lanczos
from lossatlas.operators.hessian import Hessian
from lossatlas.probes.curvature.spectral_density import spectral_density
from lossatlas.probes.curvature.spectrum import spectrum


def gradient(case: Case) -> Measured:
    measured = case.loss().gradient(case.on_device(case.theta))
    return Measured(deviation(measured, case.gradient_by_hand(case.theta)), case.rounding)


def products(case: Case) -> Measured:
    """Against central differences of the gradient at distance 1e-5, for vectors of very unlike length."""
    rows = torch.randn(3, sum(SIZES), generator=seed(4)).double()
    units = rows / rows.norm(dim=1, keepdim=True)
    lengths = torch.tensor([1e-3, 1.0, 1e3]).double()[:, None]
    measured = (
        Hessian(case.loss(), case.on_device(case.theta))(case.on_device(units * lengths)).double().cpu() / lengths
    )
    expected = [
        (case.gradient_by_hand(case.theta + 1e-5 * v) - case.gradient_by_hand(case.theta - 1e-5 * v)) / 2e-5
        for v in units
    ]
    return Measured(deviation(measured, torch.stack(expected)), case.curvature)


SPECTRA = ([2.0, -2.0, 0.1], [3.0, -2.9], [1e-6, 5e-7, -1e-7], [2.0, 2.0, -2.0, *np.linspace(-1, 1, 60)])


def eigenvalues(case: Case) -> Measured:
    """Signs that tie or nearly tie, tiny eigenvalues, and copies: the two largest, and the smallest."""
    deviations = []
    for values in SPECTRA:
        size, scale = len(values), max(map(abs, values))
        largest = min(2, size - 1)
        turn = torch.linalg.qr(torch.randn(size, size, generator=seed(5), dtype=torch.float64)).Q
        matrix = case.on_device((turn * torch.tensor(values, dtype=torch.float64)) @ turn.T / scale)
        pairs = lanczos.extremal_eigenpairs(
            lambda rows, matrix=matrix, scale=scale: scale * (rows.to(matrix) @ matrix), size, largest=largest,
            smallest=1, generator=seed(6), tol=case.curvature, device=case.device,
        )  # fmt: skip
        measured = torch.cat([pairs.largest, pairs.smallest]) / scale
        expected = torch.tensor([*sorted(values)[::-1][:largest], min(values)], dtype=torch.float64) / scale
        deviations.append(float((measured - expected).abs().max()))
    return Measured(max(deviations), case.curvature)


def trace(case: Case) -> Measured:
    """In standard errors of the estimate."""
    measured = spectrum(
        case.loss(), case.on_device(case.theta), generator=seed(3), k=3, samples=25, dtype=case.dtype, tol=1e-3
    )
    expected = float(case.hessian_by_hand(case.theta).trace())
    return Measured(abs(float(measured.trace) - expected) / float(measured.trace_error), 4.0)


def mass(case: Case) -> Measured:
    measured = spectral_density(case.loss(), case.on_device(case.theta), generator=seed(3), k=3, draws=4, steps=10)
    return Measured(abs(float(trapezoid(measured.density, measured.axis)) - 1), 1e-6)
