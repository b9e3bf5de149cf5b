"""Changes of the weights that leave the function as it is: rescaled ReLU layers and permuted neurons.

A ReLU layer times c and the next over c are the same function (Dinh et al. 2017).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lossatlas.alignment import weight_matching as alignment
from lossatlas.check.case import SIZES, Case, Measured, deviation, seed
from lossatlas.numerics import lanczos
from lossatlas.operators.hessian import Hessian, dense_hessian, scaled
from lossatlas.probes.curvature.spectrum import spectrum
from lossatlas.probes.slices.random_line import random_line

FACTOR = 4.0  # of the first layer, when the network is rescaled: a power of two, so that nothing is rounded
PERMUTATION = (2, 4, 0, 1, 3)  # of the hidden neurons


# Rescaling ----------------------------------------------------------------------------------------------------


def _rescaled(case: Case) -> Tensor:
    """θ after it, `(33,)`."""
    factors = [FACTOR, FACTOR, 1 / FACTOR, 1.0]
    scale = torch.cat([torch.full((n,), c, dtype=torch.float64) for n, c in zip(SIZES, factors, strict=True)])
    return case.theta * scale


def rescaled_loss(case: Case) -> Measured:
    loss = case.loss(activation=nn.ReLU())
    return Measured(deviation(loss(case.on_device(_rescaled(case))), loss(case.on_device(case.theta))), case.rounding)


def rescaled_slice(case: Case) -> Measured:
    loss = case.loss(activation=nn.ReLU())
    before, after = (
        random_line(loss, case.on_device(theta), generator=seed(3), steps=9).loss
        for theta in (case.theta, _rescaled(case))
    )
    return Measured(deviation(after, before), case.rounding)


def rescaled_curvature(case: Case) -> Measured:
    """H becomes D⁻¹HD⁻¹, D being what the parameters were multiplied by."""
    scale = _rescaled(case) / case.theta
    matrix = case.hessian_by_hand(case.theta, torch.relu) / torch.outer(scale, scale)
    expected = [torch.linalg.eigvalsh(matrix)[-1], matrix.trace()]
    return Measured(deviation(_sharpness(case, _rescaled(case)), expected), case.curvature)


def rescaled_ratio(case: Case) -> Measured:
    """Both are no property of the function: the smaller of their changes."""
    before, after = _sharpness(case, case.theta), _sharpness(case, _rescaled(case))
    return Measured(min(b / a for a, b in zip(before, after, strict=True)), 2.0, above=True)


def adaptive_ratio(case: Case) -> Measured:
    """That of the curvature per relative change of each weight is 1."""
    loss = case.loss(activation=nn.ReLU())
    before, after = (
        lanczos.extremal_eigenpairs(
            scaled(Hessian(loss, case.on_device(theta)), case.on_device(theta).abs()), sum(SIZES), largest=1,
            generator=seed(3), tol=case.curvature, device=case.device,
        ).largest
        for theta in (case.theta, _rescaled(case))
    )  # fmt: skip
    return Measured(deviation(after, before), case.curvature)


def _sharpness(case: Case, theta: Tensor) -> tuple[float, float]:
    """Top eigenvalue and trace of the ReLU network."""
    loss, point = case.loss(activation=nn.ReLU()), case.on_device(theta)
    measured = spectrum(loss, point, generator=seed(3), k=1, samples=2, tol=case.curvature, dtype=case.dtype)
    return float(measured.eigenvalues[0]), float(dense_hessian(loss, point).trace())


# Permutation --------------------------------------------------------------------------------------------------


def _permuted(case: Case) -> Tensor:
    """θ with its hidden neurons in another order, by hand."""
    first, bias, second, last = case.theta.split(SIZES)
    order = list(PERMUTATION)
    return torch.cat([first.view(5, 2)[order].flatten(), bias[order], second.view(3, 5)[:, order].flatten(), last])


def permuted_function(case: Case) -> Measured:
    layout = case.loss().layout
    moved = alignment.permute_neurons(layout, case.theta, torch.tensor(PERMUTATION))
    if torch.equal(moved, case.theta):
        raise ValueError("the permutation moved nothing")
    return Measured(deviation(case.logits(moved), case.logits(case.theta)), 1e-12)


def recovered(case: Case) -> Measured:
    theta = case.on_device(case.theta)
    return Measured(deviation(alignment.align(case.loss().layout, theta, case.on_device(_permuted(case))), theta), 0.0)
