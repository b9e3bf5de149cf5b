"""Does this installation compute correctly? Quantities with a known answer, measured by the library one after another.

The witness is a small network written out in plain tensor operations, in float64 on the CPU, or a closed form. Each
check is a number with its limit: a deviation, or a count of what should not have changed, that is wanted small.
"""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn.utils import vector_to_parameters

from lossatlas.alignment import weight_matching as alignment
from lossatlas.errors import InputError
from lossatlas.loss.functional_module import untouched_randomness
from lossatlas.loss.loss import Loss
from lossatlas.numerics import lanczos as krylov
from lossatlas.operators.hessian import Hessian, dense_hessian, scaled
from lossatlas.parameters import directions, subspaces
from lossatlas.parameters.curves import Affine, grid
from lossatlas.probes.curvature.spectral_density import spectral_density
from lossatlas.probes.curvature.spectrum import spectrum
from lossatlas.probes.sampling import sample
from lossatlas.probes.sharpness.epsilon_sharpness import epsilon_sharpness
from lossatlas.probes.slices.random_line import random_line
from lossatlas.probes.slices.random_plane import random_plane
from lossatlas.results import storage as results

Precision = Literal["float32", "float64"]
Activation = Callable[[Tensor], Tensor]

SIZES = (10, 5, 15, 3)  # of the parameters of a 2-5-3 network: weight (5, 2), bias, weight (3, 5), bias
FACTOR = 4.0  # of the first layer, when the network is rescaled: a power of two, so that nothing is rounded
PERMUTATION = (2, 4, 0, 1, 3)  # of the hidden neurons


@dataclass(frozen=True)
class Measured:
    """A number that should be at most its limit, or at least where `above`."""

    value: float
    limit: float
    above: bool = False


@dataclass(frozen=True)
class Check:
    """What one check found; `error` is what it raised, if anything, with a value and limit of NaN."""

    name: str
    what: str
    value: float
    limit: float
    passed: bool
    above: bool = False
    error: str = ""


@dataclass(frozen=True)
class Case:
    """A network at a point, with 100 examples; numbers that float32 holds, so that every precision means the same."""

    device: torch.device
    dtype: torch.dtype

    @property
    def rounding(self) -> float:
        """How far values and products may be off, relative to the largest."""
        return 1e-12 if self.dtype is torch.float64 else 2e-5

    @property
    def curvature(self) -> float:
        """How far second derivatives and eigenvalues may be off: finite differences and residuals are in it."""
        return 1e-7 if self.dtype is torch.float64 else 1e-3

    @cached_property
    def data(self) -> tuple[Tensor, Tensor]:
        inputs = torch.randn(100, 2, generator=seed(1)).double()
        return inputs, (inputs.prod(1) > 0).long() + (inputs[:, 0] > 1).long()

    @cached_property
    def theta(self) -> Tensor:
        """`(33,)`, with rows of unlike norms, so that one scale for a whole layer is not one per filter."""
        weights = torch.randn(sum(SIZES), generator=seed(2)).double()
        weights[:10] *= torch.tensor([0.5, 1.0, 2.0, 0.25, 1.5]).repeat_interleave(2)
        return weights

    def on_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, self.dtype if tensor.is_floating_point() else None)

    def loss(self, theta: Tensor | None = None, *, activation: nn.Module | None = None, **options: Any) -> Loss:
        """The library's view: an ordinary module with θ in it."""
        module = nn.Sequential(nn.Linear(2, 5), activation or nn.Tanh(), nn.Linear(5, 3)).to(self.device, self.dtype)
        vector_to_parameters(self.on_device(self.theta if theta is None else theta), module.parameters())
        data = tuple(map(self.on_device, self.data))
        return Loss.of(module, data, **{"criterion": nn.CrossEntropyLoss(), **options})

    def by_hand(self, theta: Tensor, activation: Activation = torch.tanh) -> Tensor:
        """The mean cross-entropy on all examples, from its formula: `(33,)` in float64 -> `()`."""
        logits, targets = self.logits(theta, activation), self.data[1]
        return (logits.logsumexp(1) - logits.gather(1, targets[:, None])[:, 0]).mean()

    def logits(self, theta: Tensor, activation: Activation = torch.tanh) -> Tensor:
        first, bias, second, last = theta.split(SIZES)
        return activation(self.data[0] @ first.view(5, 2).T + bias) @ second.view(3, 5).T + last

    def gradient_by_hand(self, theta: Tensor) -> Tensor:
        leaf = theta.detach().requires_grad_()
        return torch.autograd.grad(self.by_hand(leaf), leaf)[0]

    def hessian_by_hand(self, theta: Tensor, activation: Activation = torch.tanh) -> Tensor:
        found = torch.autograd.functional.hessian(lambda vector: self.by_hand(vector, activation), theta)
        return torch.as_tensor(found)


def run_checks(device: torch.device | str = "cpu", dtype: Precision = "float64") -> Iterator[Check]:
    """Every check on a device in a precision, one after another; a second or two in all.

    A check that raises has failed. No random stream and no setting is changed.

    Raises InputError when the device or the precision is not there.

    >>> all(check.passed for check in run_checks())
    True
    """
    if dtype not in get_args(Precision):
        raise InputError(f"the precision is {dtype}: wanted one of {', '.join(get_args(Precision))}")
    try:
        case = Case(torch.device(device), getattr(torch, dtype))
        torch.zeros(1, dtype=case.dtype, device=case.device).add_(1).item()
    except Exception as error:
        raise InputError(f"cannot compute in {dtype} on {device}: {_one_line(error)}") from error
    return (_checked(name, what, measure, case) for name, (what, measure) in CHECKS.items())


def describe(check: Check) -> str:
    """One line.

    >>> describe(Check("centre", "centre value of a plane", 1.24e-16, 1e-12, True))
    'pass  centre value of a plane                             1.2e-16 <= 1e-12'
    """
    width = max(len(what) for what, _ in CHECKS.values())
    sign = ">=" if check.above else "<="
    numbers = check.error or f"{check.value:.2g} {sign} {check.limit:.2g}"
    return f"{'pass' if check.passed else 'FAIL'}  {check.what:{width}}  {numbers}"


def seed(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def _checked(name: str, what: str, measure: Callable[[Case], Measured], case: Case) -> Check:
    try:
        with untouched_randomness(), torch.enable_grad():
            found = measure(case)
    except Exception as error:
        return Check(name, what, math.nan, math.nan, False, error=_one_line(error))
    passed = found.value >= found.limit if found.above else found.value <= found.limit
    return Check(name, what, found.value, found.limit, passed, found.above)


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _off(found: Any, expected: Any) -> float:
    """The largest deviation relative to the largest expected number; NaN is a deviation of NaN, which no limit allows.

    >>> _off([1.0, 2.5], torch.tensor([1.0, 2.0]))
    0.25
    """
    a, b = (np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x, dtype=float) for x in (found, expected))
    return float(np.abs(a - b).max() / np.abs(b).max())


# Surfaces ------------------------------------------------------------------------------------------------------


def _centre(case: Case) -> Measured:
    loss, theta = case.loss(), case.on_device(case.theta)
    plane = random_plane(loss, theta, generator=seed(3), steps=5)
    line = random_line(loss, theta, generator=seed(3), steps=5)
    expected = float(case.by_hand(case.theta))
    return Measured(_off([plane.loss[2, 2], line.loss[2]], [expected, expected]), case.rounding)


def _cells(case: Case) -> Measured:
    """A square plane and an oblong one: a transposed square is an ordinary picture, a transposed oblong is not."""
    loss, theta = case.loss(), case.on_device(case.theta)
    drawn = directions.random_directions(loss.layout, theta, 2, generator=seed(3))
    drawn = subspaces.orthogonalize_by_tensor(loss.layout, drawn)
    alpha, beta = torch.tensor([-0.5, 0.0, 0.2]).double(), torch.linspace(-1, 0.5, 5, dtype=torch.float64)
    square = random_plane(loss, theta, generator=seed(3), steps=5)
    axes = {"alpha": alpha.numpy(), "beta": beta.numpy()}
    oblong = sample(loss, Affine(theta, drawn, grid(alpha, beta)), axes)
    d1, d2 = drawn.double().cpu()
    found, expected = [], []
    for result in (square, oblong):
        for a in result.alpha.values:
            for b in result.beta.values:
                found.append(float(result.loss.sel(alpha=a, beta=b)))
                expected.append(float(case.by_hand(case.theta + a * d1 + b * d2)))
    return Measured(_off(found, expected), case.rounding)


def _cosine(case: Case) -> Measured:
    """From the surface alone: mixed second differences of ‖θ + αd₁ + βd₂‖²/2, the penalty, are d₁·d₂."""
    loss = case.loss(weight_decay=1.0)
    plane = random_plane(loss, case.on_device(case.theta), generator=seed(3), steps=5)
    penalty = plane.penalty.values
    mixed = np.diff(np.diff(penalty, axis=0), axis=1).mean()
    own = np.sqrt(np.diff(penalty, 2, axis=0).mean() * np.diff(penalty, 2, axis=1).mean())
    return Measured(float(abs(mixed / own)), case.rounding)


def _stated_cosine(case: Case) -> Measured:
    loss, theta = case.loss(), case.on_device(case.theta)
    plane = random_plane(loss, theta, generator=seed(3), steps=3)
    a, b = directions.random_directions(loss.layout, theta, 2, generator=seed(3)).double().cpu()
    return Measured(abs(plane.attrs["cosine_drawn"] - float(a @ b / a.norm() / b.norm())), case.rounding)


def _filters(case: Case) -> Measured:
    """Norms of every row, those of the biases being wanted 0."""
    loss, theta = case.loss(), case.on_device(case.theta)
    found, expected = [], []
    for draw in directions.random_directions(loss.layout, theta, 2, generator=seed(3)).double().cpu():
        for rows, wanted, entries in zip(draw.split(SIZES), case.theta.split(SIZES), (2, 0, 5, 0), strict=True):
            found += rows.view(-1, entries or 1).norm(dim=1).tolist()
            expected += [float(row.norm()) if entries else 0.0 for row in wanted.view(-1, entries or 1)]
    return Measured(_off(found, expected), case.rounding)


def _chunks(case: Case) -> Measured:
    """One point at a time, and all at once."""
    theta = case.on_device(case.theta)
    one, all_ = (
        random_plane(case.loss(memory=memory), theta, generator=seed(3), steps=5).loss for memory in (1, 2**30)
    )
    return Measured(_off(one, all_), case.rounding)


# Rescaling (Dinh et al. 2017): a ReLU layer times c and the next over c are the same function -------------------


def _rescaled(case: Case) -> Tensor:
    """θ after it, `(33,)`."""
    factors = [FACTOR, FACTOR, 1 / FACTOR, 1.0]
    scale = torch.cat([torch.full((n,), c, dtype=torch.float64) for n, c in zip(SIZES, factors, strict=True)])
    return case.theta * scale


def _rescaled_loss(case: Case) -> Measured:
    loss = case.loss(activation=nn.ReLU())
    return Measured(_off(loss(case.on_device(_rescaled(case))), loss(case.on_device(case.theta))), case.rounding)


def _rescaled_slice(case: Case) -> Measured:
    loss = case.loss(activation=nn.ReLU())
    before, after = (
        random_line(loss, case.on_device(theta), generator=seed(3), steps=9).loss
        for theta in (case.theta, _rescaled(case))
    )
    return Measured(_off(after, before), case.rounding)


def _rescaled_curvature(case: Case) -> Measured:
    """H becomes D⁻¹HD⁻¹, D being what the parameters were multiplied by."""
    scale = _rescaled(case) / case.theta
    matrix = case.hessian_by_hand(case.theta, torch.relu) / torch.outer(scale, scale)
    expected = [torch.linalg.eigvalsh(matrix)[-1], matrix.trace()]
    return Measured(_off(_sharpness(case, _rescaled(case)), expected), case.curvature)


def _rescaled_ratio(case: Case) -> Measured:
    """Both are no property of the function: the smaller of their changes."""
    before, after = _sharpness(case, case.theta), _sharpness(case, _rescaled(case))
    return Measured(min(b / a for a, b in zip(before, after, strict=True)), 2.0, above=True)


def _adaptive_ratio(case: Case) -> Measured:
    """That of the curvature per relative change of each weight is 1."""
    loss = case.loss(activation=nn.ReLU())
    before, after = (
        krylov.extremal_eigenpairs(
            scaled(Hessian(loss, case.on_device(theta)), case.on_device(theta).abs()), sum(SIZES), largest=1,
            generator=seed(3), tol=case.curvature, device=case.device,
        ).largest
        for theta in (case.theta, _rescaled(case))
    )  # fmt: skip
    return Measured(_off(after, before), case.curvature)


def _sharpness(case: Case, theta: Tensor) -> tuple[float, float]:
    """Top eigenvalue and trace of the ReLU network."""
    loss, point = case.loss(activation=nn.ReLU()), case.on_device(theta)
    found = spectrum(loss, point, generator=seed(3), k=1, samples=2, tol=case.curvature, dtype=case.dtype)
    return float(found.eigenvalues[0]), float(dense_hessian(loss, point).trace())


# Alignment -----------------------------------------------------------------------------------------------------


def _permuted(case: Case) -> Tensor:
    """θ with its hidden neurons in another order, by hand."""
    first, bias, second, last = case.theta.split(SIZES)
    order = list(PERMUTATION)
    return torch.cat([first.view(5, 2)[order].flatten(), bias[order], second.view(3, 5)[:, order].flatten(), last])


def _permuted_function(case: Case) -> Measured:
    layout = case.loss().layout
    moved = alignment.permute_neurons(layout, case.theta, torch.tensor(PERMUTATION))
    if torch.equal(moved, case.theta):
        raise ValueError("the permutation moved nothing")
    return Measured(_off(case.logits(moved), case.logits(case.theta)), 1e-12)


def _recovered(case: Case) -> Measured:
    theta = case.on_device(case.theta)
    return Measured(_off(alignment.align(case.loss().layout, theta, case.on_device(_permuted(case))), theta), 0.0)


# Derivatives and curvature --------------------------------------------------------------------------------------


def _gradient(case: Case) -> Measured:
    found = case.loss().gradient(case.on_device(case.theta))
    return Measured(_off(found, case.gradient_by_hand(case.theta)), case.rounding)


def _products(case: Case) -> Measured:
    """Against central differences of the gradient at distance 1e-5, for vectors of very unlike length."""
    rows = torch.randn(3, sum(SIZES), generator=seed(4)).double()
    units = rows / rows.norm(dim=1, keepdim=True)
    lengths = torch.tensor([1e-3, 1.0, 1e3]).double()[:, None]
    found = Hessian(case.loss(), case.on_device(case.theta))(case.on_device(units * lengths)).double().cpu() / lengths
    expected = [
        (case.gradient_by_hand(case.theta + 1e-5 * v) - case.gradient_by_hand(case.theta - 1e-5 * v)) / 2e-5
        for v in units
    ]
    return Measured(_off(found, torch.stack(expected)), case.curvature)


SPECTRA = ([2.0, -2.0, 0.1], [3.0, -2.9], [1e-6, 5e-7, -1e-7], [2.0, 2.0, -2.0, *np.linspace(-1, 1, 60)])


def _eigenvalues(case: Case) -> Measured:
    """Signs that tie or nearly tie, tiny eigenvalues, and copies: the two largest, and the smallest."""
    off = []
    for values in SPECTRA:
        size, scale = len(values), max(map(abs, values))
        largest = min(2, size - 1)
        turn = torch.linalg.qr(torch.randn(size, size, generator=seed(5), dtype=torch.float64)).Q
        matrix = case.on_device((turn * torch.tensor(values, dtype=torch.float64)) @ turn.T / scale)
        pairs = krylov.extremal_eigenpairs(
            lambda rows, matrix=matrix, scale=scale: scale * (rows.to(matrix) @ matrix), size, largest=largest,
            smallest=1, generator=seed(6), tol=case.curvature, device=case.device,
        )  # fmt: skip
        found = torch.cat([pairs.largest, pairs.smallest]) / scale
        expected = torch.tensor([*sorted(values)[::-1][:largest], min(values)], dtype=torch.float64) / scale
        off.append(float((found - expected).abs().max()))
    return Measured(max(off), case.curvature)


def _trace(case: Case) -> Measured:
    """In standard errors of the estimate."""
    found = spectrum(
        case.loss(), case.on_device(case.theta), generator=seed(3), k=3, samples=50, dtype=case.dtype, tol=1e-3
    )
    expected = float(case.hessian_by_hand(case.theta).trace())
    return Measured(abs(float(found.trace) - expected) / float(found.trace_error), 4.0)


def _mass(case: Case) -> Measured:
    found = spectral_density(case.loss(), case.on_device(case.theta), generator=seed(3), k=3, draws=4, steps=10)
    return Measured(abs(float(np.trapezoid(found.density, found.axis)) - 1), 1e-6)


# Bookkeeping ---------------------------------------------------------------------------------------------------


def _ragged(case: Case) -> Measured:
    """Values and gradients in batches of 7 of 100 examples; a criterion that sums gives 100 times the mean."""
    theta = case.on_device(case.theta)
    value, gradient = case.by_hand(case.theta), case.gradient_by_hand(case.theta)
    off = []
    for reduction, times in (("mean", 1), ("sum", 100)):
        loss = case.loss(criterion=nn.CrossEntropyLoss(reduction=reduction), batch_size=7)
        off += [_off(loss(theta), times * value), _off(loss.gradient(theta), times * gradient)]
    return Measured(max(off), case.rounding)


def _untouched(case: Case) -> Measured:
    """How many things of the user's differ after probing a module with everything that can be spoiled."""
    inputs, targets = map(case.on_device, case.data)
    module = nn.Sequential(nn.Linear(2, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Dropout(0.4), nn.Linear(5, 3))
    module = module.to(case.device, case.dtype).train()
    module[2].eval()
    nn.functional.cross_entropy(module(inputs), targets).backward()
    before = _everything(module)
    loss = Loss.of(module, (inputs, targets), nn.CrossEntropyLoss())
    random_plane(loss, 1.1 * loss.theta, generator=seed(3), steps=3)
    spectrum(loss, 1.1 * loss.theta, generator=seed(3), k=1, samples=2, dtype=case.dtype)
    loss.gradient(1.1 * loss.theta)
    after = _everything(module)
    return Measured(sum(before.get(name) != after.get(name) for name in before | after), 0)


def _everything(module: nn.Module) -> dict[str, Any]:
    """A module's values, modes and gradients, and the random streams, as bytes and plain values."""
    held: dict[str, Any] = {"torch": torch.get_rng_state().tolist(), "python": random.getstate()}
    held["numpy"] = np.random.get_state(legacy=False)["state"]["key"].tolist()  # noqa: NPY002
    if torch.cuda.is_initialized():
        held["cuda"] = torch.cuda.get_rng_state().tolist()
    for name, tensor in module.state_dict(keep_vars=True).items():
        gradient = tensor.grad
        held[name] = tensor.detach().cpu().numpy().tobytes(), tensor.data_ptr(), tensor.requires_grad
        held[f"gradient of {name}"] = None if gradient is None else gradient.cpu().numpy().tobytes()
    return held | {f"mode of {name}": part.training for name, part in module.named_modules()}


def _repeated(case: Case) -> Measured:
    """How many probes give another result for the same generator, or the same for another."""
    loss, theta = case.loss(), case.on_device(case.theta)
    probes: list[Callable[[torch.Generator], xr.Dataset]] = [
        lambda generator: random_plane(loss, theta, generator=generator, steps=3),
        lambda generator: epsilon_sharpness(loss, theta, generator=generator, samples=5),
        lambda generator: spectrum(loss, theta, generator=generator, k=2, samples=5, dtype=case.dtype),
    ]
    wrong = 0
    for probe in probes:
        first, again, other = (probe(seed(number)) for number in (3, 3, 4))
        wrong += not first.identical(again) or first.identical(other)
    return Measured(wrong, 0)


def _round_trip(case: Case) -> Measured:
    """How many variables of a result, one with a gap, come back from disk with other bytes, type or attributes."""
    loss = case.loss()
    result = random_plane({"train": loss, "test": loss}, case.on_device(case.theta), generator=seed(3), steps=3)
    result.loss[0, 1, 2] = np.nan
    with tempfile.TemporaryDirectory() as folder:
        results.save(result, Path(folder) / "result.nc")
        back = results.load(Path(folder) / "result.nc")
    kept = [
        name in back and back[name].identical(result[name]) and _bytes(back[name]) == _bytes(result[name])
        for name in result.variables
    ]
    return Measured(kept.count(False) + (back.attrs != result.attrs), 0)


def _bytes(variable: xr.DataArray) -> Any:
    return variable.values.tolist() if variable.dtype.kind in "OU" else (variable.dtype, variable.values.tobytes())


CHECKS: dict[str, tuple[str, Callable[[Case], Measured]]] = {
    "centre": ("centre value of a line and a plane", _centre),
    "cells": ("every cell of a square and an oblong plane", _cells),
    "cosine": ("cosine of a plane's directions, from its surface", _cosine),
    "stated_cosine": ("cosine that a plane states of its draws", _stated_cosine),
    "filters": ("norms of the filters of random directions", _filters),
    "chunks": ("a plane point by point, and at once", _chunks),
    "rescaled_loss": ("rescaled ReLU layers: loss", _rescaled_loss),
    "rescaled_slice": ("rescaled ReLU layers: filter-normalised slice", _rescaled_slice),
    "rescaled_curvature": ("rescaled ReLU layers: top eigenvalue and trace", _rescaled_curvature),
    "rescaled_ratio": ("rescaled ReLU layers: factor by which both change", _rescaled_ratio),
    "adaptive_ratio": ("rescaled ReLU layers: adaptive top eigenvalue", _adaptive_ratio),
    "permuted_function": ("function of a network with permuted neurons", _permuted_function),
    "recovered": ("alignment of a permuted network", _recovered),
    "gradient": ("gradient", _gradient),
    "products": ("Hessian-vector products by finite differences", _products),
    "eigenvalues": ("eigenvalues of known spectra, signs that tie", _eigenvalues),
    "trace": ("trace, in standard errors", _trace),
    "mass": ("mass of a spectral density", _mass),
    "ragged": ("ragged batches, mean and sum", _ragged),
    "untouched": ("what a probe changed of module and random streams", _untouched),
    "repeated": ("probes whose result is not that of their generator", _repeated),
    "round_trip": ("variables changed by writing and reading", _round_trip),
}
