"""Eigenvalues from a sample of the examples, and how far they are from those of all: on examples that were not used."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lossatlas.loss.few_examples import drawn_examples
from lossatlas.loss.loss import Loss
from lossatlas.loss.single_examples import LinkedExamples
from lossatlas.numerics.spectrum import ExtremalSpectrum
from lossatlas.operators.matrices import Matrix, curvature_product
from lossatlas.probes.survey import Examples
from lossatlas.work import Stopped, answered, cut_short, seconds_left

# Examples looked through for each that is drawn: among them the hardest are known. With more, the pass over them costs
# more than it saves; with fewer, rare hard ones are missed.
LOOKED_THROUGH = 4

# Parts of the examples that were not used, each drawn by itself: their spread is the error. With more, each has fewer
# examples; with fewer, the error is less certain.
PARTS = 8

# Student's t for so many parts, two-sided 95 %.
CONFIDENT = 2.365

# Examples to begin with where it is not said how many. Set by hand.
FIRST_EXAMPLES = 256

# How many times as many follow where the error is too large, with the vectors found as a start. Set by hand.
GROWTH = 3

# Of the largest eigenvalue, the error of the sample that is aimed at.
SAMPLE_TOL = 0.1

# Floating-point operations of an evaluation, from which eigenvalues are those of a sample by themselves: a product
# takes four times as many, and a spectrum some dozens of products.
SAMPLED_OPERATIONS = 2 * 10**11


@dataclass(frozen=True)
class SampledEnds:
    """Both ends of a spectrum from some of the examples.

    Args:
        ends: of the sample; k largest and one smallest.
        held_out: vᵀAv of each of its vectors on examples that were not used, `(k + 1,)`.
        errors: how far each eigenvalue may be from that of all, `(k + 1,)`.
        trace_error: standard error of the trace by the sample.
        loss: on the sample.
    """

    ends: ExtremalSpectrum
    held_out: Tensor
    errors: Tensor
    trace_error: float
    loss: Loss

    @property
    def share_of_largest(self) -> float:
        """The error of the largest eigenvalue, relative to it."""
        return float(self.errors[0] / self.ends.largest[0].abs())


Search = Callable[[Loss, Tensor | None], ExtremalSpectrum]  # (loss, vectors to begin with) -> its ends


def sampled_ends(
    loss: Loss, theta: Tensor, search: Search, *, examples: Examples, matrix: Matrix, generator: torch.Generator
) -> SampledEnds | None:
    """The ends of the spectrum of a loss from a sample of its examples; None where all are taken.

    On the sample the largest eigenvalue is too large in the mean, since its vector was chosen by the sample; on
    examples that were not used vᵀAv is too small, since another vector would be better. The error of an eigenvalue is
    the distance of the two, and what `PARTS` parts of the other examples say of the second (Student's t, 95 %). With
    "auto" the sample grows until that is a tenth of the largest eigenvalue, or as long as there is time.

    Args:
        loss: of all examples.
        theta: the point, `(P,)`.
        search: finds the ends.
        examples: "auto", "all", or how many.
        matrix: whose eigenvalues.
        generator: of the draws, on the CPU.

    Raises:
        ValueError: a number of examples that there are not, or examples that cannot be told apart.
    """
    total = loss.examples
    if examples == "all" or examples == total:
        return None
    if examples == "auto":
        if loss.operations < SAMPLED_OPERATIONS or total < 2 * LOOKED_THROUGH * FIRST_EXAMPLES:
            return None
    elif not isinstance(examples, int) or not 2 * PARTS <= examples <= total // 2:
        raise ValueError(
            f"examples is {examples!r}: wanted 'auto', 'all', or {2 * PARTS} to {total // 2:,}, since as many others "
            "tell the error"
        )
    order = torch.randperm(total, generator=generator)
    count, found = FIRST_EXAMPLES if examples == "auto" else examples, None
    while True:
        start = time.perf_counter()
        try:
            more = _ends(loss, theta, search, count, order, found, matrix=matrix, generator=generator)
        except Stopped:
            if found is None:
                raise
            cut_short()
            return found
        if more is None:
            if examples == "auto":
                return None
            raise LinkedExamples(f"examples={examples}: they cannot be told apart; wanted examples='all'")
        found, took = more, time.perf_counter() - start
        larger = GROWTH * count
        room = 2 * larger <= total
        if examples != "auto" or found.share_of_largest <= SAMPLE_TOL or not room or not _time_for(GROWTH * took):
            return found
        count = larger


def _time_for(seconds: float) -> bool:
    """Whether so many are left, or were when the same call was made in the same folder."""
    return bool(answered(torch.tensor(0.0), lambda: torch.tensor(seconds_left() > seconds)))


def _ends(
    loss: Loss, theta: Tensor, search: Search, count: int, order: Tensor, before: SampledEnds | None,
    *, matrix: Matrix, generator: torch.Generator,
) -> SampledEnds | None:  # fmt: skip
    looked = min(LOOKED_THROUGH * count, len(order) // 2)
    sample = drawn_examples(loss, theta, order[:looked], count, generator)
    if sample is None:
        return None
    ends = search(sample, None if before is None else before.ends.vectors)
    vectors = ends.vectors
    signs = torch.randint(0, 2, (2, vectors.shape[1]), generator=generator).to(vectors) * 2 - 1
    quotients, traces = [], []
    for rows in order[looked : 2 * looked].chunk(PARTS):
        part = drawn_examples(loss, theta, rows, max(2, count // PARTS), generator)
        if part is None:
            return None
        images = curvature_product(matrix, part, theta)(torch.cat([vectors, signs]).to(part.theta))
        along = (images.double() * torch.cat([vectors, signs]).double()).sum(1).cpu()
        quotients.append(along[: len(vectors)])
        traces.append(along[len(vectors) :].mean())
    each = torch.stack(quotients)
    held_out = each.mean(0)
    spread = CONFIDENT * each.std(0) / PARTS**0.5
    values = torch.cat([ends.largest, torch.tensor([ends.smallest], dtype=torch.float64)])
    trace_error = float(torch.stack(traces).std() / PARTS**0.5)
    return SampledEnds(ends, held_out, (values - held_out).abs() + spread, trace_error, sample)
