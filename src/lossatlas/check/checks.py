"""Every check: run one after another, and each told in a line."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import torch

from lossatlas.check import bookkeeping, derivatives, surfaces, symmetries
from lossatlas.check.case import Case, Measured
from lossatlas.errors import InputError
from lossatlas.loss.functional_module import untouched_randomness

Precision = Literal["float32", "float64"]


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


CHECKS: dict[str, tuple[str, Callable[[Case], Measured]]] = {
    "centre": ("centre value of a line and a plane", surfaces.centre),
    "cells": ("every cell of a square and an oblong plane", surfaces.cells),
    "cosine": ("cosine of a plane's directions, from its surface", surfaces.cosine),
    "stated_cosine": ("cosine that a plane states of its draws", surfaces.stated_cosine),
    "filters": ("norms of the filters of random directions", surfaces.filters),
    "chunks": ("a plane point by point, and at once", surfaces.chunks),
    "rescaled_loss": ("rescaled ReLU layers: loss", symmetries.rescaled_loss),
    "rescaled_slice": ("rescaled ReLU layers: filter-normalised slice", symmetries.rescaled_slice),
    "rescaled_curvature": ("rescaled ReLU layers: top eigenvalue and trace", symmetries.rescaled_curvature),
    "rescaled_ratio": ("rescaled ReLU layers: factor by which both change", symmetries.rescaled_ratio),
    "adaptive_ratio": ("rescaled ReLU layers: adaptive top eigenvalue", symmetries.adaptive_ratio),
    "permuted_function": ("function of a network with permuted neurons", symmetries.permuted_function),
    "recovered": ("alignment of a permuted network", symmetries.recovered),
    "gradient": ("gradient", derivatives.gradient),
    "products": ("Hessian-vector products by finite differences", derivatives.products),
    "eigenvalues": ("eigenvalues of known spectra, signs that tie", derivatives.eigenvalues),
    "trace": ("trace, in standard errors", derivatives.trace),
    "mass": ("mass of a spectral density", derivatives.mass),
    "ragged": ("ragged batches, mean and sum", bookkeeping.ragged),
    "untouched": ("what a probe changed of module and random streams", bookkeeping.untouched),
    "repeated": ("probes whose result is not that of their generator", bookkeeping.repeated),
    "round_trip": ("variables changed by writing and reading", bookkeeping.round_trip),
}


def run_checks(device: torch.device | str = "cpu", dtype: Precision = "float64") -> Iterator[Check]:
    """Every check on a device in a precision, one after another; a second or two in all.

    A check that raises has failed. No random stream and no setting is changed.

    Args:
        device: where to compute, such as "cuda".
        dtype: of the models that are checked; the limits are those of its rounding.

    Raises:
        InputError: the device or the precision is not there.

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
    return (checked(name, what, measure, case) for name, (what, measure) in CHECKS.items())


def describe(check: Check, width: int | None = None) -> str:
    """A check in one line.

    Args:
        check: what was found.
        width: of the words, in characters; None: that of the longest of `CHECKS`.

    >>> describe(Check("centre", "centre value of a plane", 1.24e-16, 1e-12, True))
    'pass  centre value of a plane                             1.2e-16 <= 1e-12'
    """
    width = max(len(what) for what, _ in CHECKS.values()) if width is None else width
    sign = ">=" if check.above else "<="
    numbers = check.error or f"{check.value:.2g} {sign} {check.limit:.2g}"
    return f"{'pass' if check.passed else 'FAIL'}  {check.what:{width}}  {numbers}"


Tried = TypeVar("Tried")


def checked(name: str, what: str, measure: Callable[[Tried], Measured], tried: Tried) -> Check:
    """What one check finds; one that raises has failed, and no random stream is changed.

    Args:
        name: of the check.
        what: it measures, in words.
        measure: takes what is tried.
        tried: a case with known answers, or a model of the user's.
    """
    try:
        with untouched_randomness(), torch.enable_grad():
            measured = measure(tried)
    except Exception as error:
        return Check(name, what, math.nan, math.nan, False, error=_one_line(error))
    passed = measured.value >= measured.limit if measured.above else measured.value <= measured.limit
    return Check(name, what, measured.value, measured.limit, passed, measured.above)


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
