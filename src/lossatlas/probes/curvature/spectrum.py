"""How curved is the loss at a point? Both ends of the spectrum of the Hessian or a matrix like it, and its trace."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
import xarray as xr
from torch import Tensor

from lossatlas.loss.fidelity import coarsened
from lossatlas.loss.loss import Loss
from lossatlas.numbers import number, with_error
from lossatlas.numerics.spectrum import ExtremalSpectrum, dense_spectrum, extremal_spectrum
from lossatlas.operators.matrices import KINDS, Matrix, curvature_product, named_after, pays_in_single
from lossatlas.probes.call import with_keywords
from lossatlas.probes.derivatives import checked, doubted
from lossatlas.probes.other_models import warn_of_borrowed_buffers
from lossatlas.probes.probe import POSITIVE, PRODUCTS_PER_PAIR, Column, Cost, Probe, Settings, Subject, Told, at_least
from lossatlas.probes.sampled_spectrum import SampledEnds, sampled_ends
from lossatlas.probes.sampling import Losses, by_split, join_splits
from lossatlas.probes.stationarity import COLUMNS, PRODUCTS, on_a_slope, standing
from lossatlas.probes.survey import Examples
from lossatlas.probes.telling import table
from lossatlas.random_streams import check_generator
from lossatlas.results.variables import UNITS
from lossatlas.splits import splits

CURVATURE = {"units": "criterion / parameter²"}
VARIABLES = {
    "held_out": {"long_name": "vᵀAv of the vectors on examples that were not used", **CURVATURE},
    "sampling_error": {"long_name": "how far eigenvalues may be from those of all examples", **CURVATURE},
    "smallest_held_out": {"long_name": "vᵀAv of the smallest's vector on examples that were not used", **CURVATURE},
    "smallest_sampling_error": {"long_name": "how far the smallest may be from that of all examples", **CURVATURE},
    "trace_sampling_error": {"long_name": "standard error of the trace by the sample of examples", **CURVATURE},
}
KNOWN = UNITS | VARIABLES


@dataclass(frozen=True)
class SpectrumSettings(Settings):
    """The largest eigenvalues, the smallest one, and the trace."""

    k: Annotated[int, at_least(1)] = 10
    """Largest eigenvalues; fewer of a model that has not so many parameters."""
    samples: Annotated[int, at_least(2)] = 30
    """Random vectors of the trace."""
    tol: Annotated[float, POSITIVE] = 1e-3
    """Residual of the eigenvalues, relative to the largest."""
    max_products: Annotated[int, at_least(1)] = 400
    """Products after which the search ends, converged or not."""
    matrix: Matrix = "hessian"
    """Whose eigenvalues: the Hessian's, the Gauss-Newton matrix's, or the empirical Fisher's."""
    check: bool = True
    """Whether derivatives are checked against differences beside the point."""
    examples: Examples = "auto"
    """Of the products: auto (a sample of those of a large model), all, or a number."""


@with_keywords
def spectrum(
    losses: Losses,
    theta: Tensor,
    *,
    generator: torch.Generator,
    matrix: Matrix = "hessian",
    k: int = 10,
    samples: int = 30,
    tol: float = 1e-3,
    max_products: int = 400,
    dtype: torch.dtype = torch.float64,
    mixed: bool = True,
    check: bool = True,
    examples: Examples = "auto",
) -> xr.Dataset:
    """The k largest eigenvalues of the Hessian, the smallest one, and the trace, each with its error.

    Block Lanczos with full re-orthogonalisation on Hessian-vector products by double backpropagation
    (`extremal_eigenpairs`); eigenvalues are algebraic (the largest are not those of largest magnitude). They are
    called converged when every residual ‖Hv − λv‖ is at most `tol` times the largest |λ|: each then has an eigenvalue
    within its residual, an isolated one within residual² / gap. Of several that lie closer than `tol` one can be
    missing from the list (docs/howto/spectrum.md has how often). The trace is the sum of the eigenvalues found and an
    estimate on the rest with Rademacher vectors (Hutchinson), with its standard error.

    A module of at most k + 1 + `samples` parameters has its whole matrix computed, by a product each: no error is left.

    Costs `products` products with a vector, those with the smallest one and the trace included. For a float32 loss of
    over 1,000 parameters they are done in float32 as far as that goes, the samples of a large network's trace in
    bfloat16 where the processor has AMX. Products in `dtype` with three mixtures of the vectors found then say how far
    off those in float32 were, which is part of every residual, and the search goes on in `dtype` if that does not meet
    `tol`; the trace is checked with one of its samples.

    Args:
        losses: one loss, or several by split.
        theta: the point, `(P,)`.
        generator: of the start and of the trace's vectors.
        matrix: "hessian", or in its place one of two that are positive semi-definite: "gauss-newton", the generalized
            Gauss-Newton matrix, which is the Fisher information too for cross-entropy and squared errors; "fisher", the
            empirical Fisher matrix, the mean of gᵀg over the gradients g of single examples (`EmpiricalFisher` has
            what the literature calls by that word, and which losses it refuses).
        k: how many of the largest eigenvalues.
        samples: random vectors for the trace.
        tol: largest residual allowed, over the largest |λ|.
        max_products: of the search; it ends there, converged or not.
        dtype: precision of the answer.
        mixed: whether to search in float32 first where that pays.
        check: whether gradient and Hessian are checked against differences beside θ (`derivative_check`).
        examples: of the products: "all", a number, or "auto", all but for large models on many examples, of which a
            sample grows until its error is a tenth of the largest eigenvalue (`sampled_spectrum.sampled_ends`).

    Returns:
        eigenvalues, residuals `(eigenvalue,)`; smallest, smallest_residual, trace, trace_error, products, of which
        rough_products of less precision, converged, derivative_check with its error; gradient_norm,
        gradient_norm_relative, gradient_decrease and stationary, which say where the point stands
        (`stationarity.standing`); all with a leading `split` for several losses. The attribute `matrix` says which it
        was. From a sample also held_out `(eigenvalue,)`, vᵀAv on examples that were not used, and sampling_error, how
        far eigenvalues may be from those of all examples; the same for the smallest, and trace_sampling_error.
    """
    parts = {}
    check_generator(generator)
    warn_of_borrowed_buffers(losses, {"θ": theta})
    seed = int(torch.randint(2**62, (), generator=generator))  # one for all splits: none depends on the others
    for split, loss in by_split(losses).items():
        size = loss.layout.size
        if k < 1:
            raise ValueError(f"k is {k}: wanted 1 at least")
        if k + 1 > size:
            raise ValueError(f"k is {k}: a module of {size} parameters has room for {size - 1}")
        if max_products < k + 1:
            raise ValueError(f"max_products is {max_products}: {k} + 1 eigenvalues take {k + 1} products at least")
        own = torch.Generator().manual_seed(seed)
        search = _Search(theta, matrix, k, samples, tol, max_products, dtype, mixed, own)
        sample = sampled_ends(loss, theta, search, examples=examples, matrix=matrix, generator=own)
        used = loss if sample is None else sample.loss
        ends = search(loss, None) if sample is None else sample.ends
        exact = used if used.dtype is dtype else used.to(dtype)
        top = math.nan if matrix == "fisher" else float(ends.largest[0])  # F is not in units of curvature
        checks = checked(exact, theta, split, matrix=matrix, check=check)
        scalars = (
            checks
            | standing(exact, theta, curvature=top)
            | {
                "smallest": ends.smallest,
                "smallest_residual": ends.smallest_residual,
                "trace": ends.trace,
                "trace_error": ends.trace_error,
                "products": ends.products,
                "rough_products": ends.rough_products,
                "converged": ends.converged,
            }
            | ({} if sample is None else _of_sample(sample, loss))
        )
        errors = {} if sample is None else {"held_out": sample.held_out[:k], "sampling_error": sample.errors[:k]}
        parts[split] = xr.Dataset(
            {
                "eigenvalues": ("eigenvalue", ends.largest.numpy(), UNITS["eigenvalues"]),
                "residuals": ("eigenvalue", ends.residuals.numpy(), UNITS["residuals"]),
                **{name: ("eigenvalue", values.numpy(), VARIABLES[name]) for name, values in errors.items()},
                **{name: ((), value, KNOWN.get(name, {})) for name, value in scalars.items()},
            },
            {"eigenvalue": range(1, k + 1)},
            {
                "probe": "spectrum",
                "tol": tol,
                "samples": samples,
                "dtype": str(dtype).removeprefix("torch."),
                **loss.attrs,
            },
        )
    return named_after(join_splits(parts), matrix)


@dataclass(frozen=True)
class _Search:
    """Finds the ends of the spectrum of a loss, all of its examples or some."""

    theta: Tensor
    matrix: Matrix
    k: int
    samples: int
    tol: float
    max_products: int
    dtype: torch.dtype
    mixed: bool
    generator: torch.Generator

    def __call__(self, loss: Loss, initial: Tensor | None) -> ExtremalSpectrum:
        size, theta = loss.layout.size, self.theta
        product = curvature_product(self.matrix, loss if loss.dtype is self.dtype else loss.to(self.dtype), theta)
        if size <= self.k + 1 + self.samples:
            return dense_spectrum(product, size, k=self.k, device=theta.device)
        single = self.mixed and pays_in_single(loss, size, self.dtype, self.tol)
        rough = curvature_product(self.matrix, loss, theta) if single else None
        return extremal_spectrum(
            product, size, k=self.k, samples=self.samples, generator=self.generator, tol=self.tol,
            max_products=self.max_products, rough=rough,
            coarse=None if rough is None else coarsened(rough, loss.operations), device=theta.device,
            dtype=self.dtype, initial=initial,
        )  # fmt: skip


def _of_sample(sample: SampledEnds, loss: Loss) -> dict[str, float]:
    return {
        "smallest_held_out": float(sample.held_out[-1]),
        "smallest_sampling_error": float(sample.errors[-1]),
        "trace_sampling_error": sample.trace_error,
        "sampled_examples": sample.loss.examples,
        "all_examples": loss.examples,
    }


def _call(subject: Subject, settings: SpectrumSettings, generator: torch.Generator) -> xr.Dataset:
    knobs = vars(settings) | {"k": min(settings.k, subject.size - 1), "dtype": subject.dtype}
    return spectrum(subject.losses, subject.theta, generator=generator, **knobs)


def _cost(subject: Subject, settings: SpectrumSettings) -> Cost:
    products = PRODUCTS_PER_PAIR * (min(settings.k, subject.size - 1) + 1) + settings.samples
    return Cost(products=products + PRODUCTS)


def _tell(result: xr.Dataset, _: str) -> Told:
    lines, said = [], []
    for split, part in splits(result).items():
        lines += [
            (f"{split}, {int(rank)}", number(float(value), 4), number(float(residual), 2))
            for rank, value, residual in zip(
                part.eigenvalue.values, part.eigenvalues.values, part.residuals.values, strict=True
            )
        ]
        lines.append((f"{split}, smallest", number(float(part.smallest), 4), number(float(part.smallest_residual), 2)))
        doubt = "" if bool(part.converged) else " (not all converged: see the residuals)"
        if "sampled_examples" in part:
            few, every = int(part.sampled_examples), int(part.all_examples)
            off = number(float(part.sampling_error[0]), 2)
            doubt += f"; from {few:,} of {every:,} examples: on others the largest may be off by {off}"
        said.append(
            f"{split}: largest eigenvalue {number(float(part.eigenvalues[0]), 4)}, smallest "
            f"{number(float(part.smallest), 3)}, trace {with_error(float(part.trace), float(part.trace_error))} "
            f"(standard error){doubt}"
        )
    rows = table(f"Eigenvalues and residuals {result.residuals.attrs['long_name']}.", ("Rank", "λ", "Residual"), lines)
    matrix = KINDS[result.attrs["matrix"]].name.removeprefix("the ")
    words = f"{matrix[0].upper()}{matrix[1:]}. {'; '.join(said)}."
    return doubted(on_a_slope(Told(words, tuple(f"{line}." for line in said), (rows,)), result), result)


PROBE = Probe(
    spectrum,
    SpectrumSettings,
    of="model",
    title="largest eigenvalues and trace",
    meaning=(
        "Curvature at the solution itself: eigenvalues of the Hessian, or of the matrix asked for in its place, "
        "largest first, by block Lanczos, and the trace. Residuals and standard errors say how exact each is."
    ),
    misleads=(
        "Scaling the layers of a ReLU network against each other leaves its function and changes these numbers (Dinh "
        "et al. 2017): compare them between networks with care."
    ),
    variables=VARIABLES,
    cost=_cost,
    tell=_tell,
    columns={
        "top_eigenvalue": Column("Largest eigenvalue of the Hessian", lambda part: float(part.eigenvalues[0])),
        "smallest_eigenvalue": Column("Smallest eigenvalue of the Hessian", lambda part: float(part.smallest)),
        "trace": Column("Trace of the Hessian", lambda part: float(part.trace)),
        "trace_error": Column("Standard error of the trace", lambda part: float(part.trace_error)),
        "converged": Column("Eigenvalues converged", lambda part: bool(part.converged), boolean=True),
        **COLUMNS,
        "gradient_decrease": Column(
            "Share of the loss that one step along the steepest curvature promises",
            lambda part: float(part.gradient_decrease),
        ),
    },
    call=_call,
    folder="hessian",
    suffix=".json",
    standard=True,
    every_draw={"k": 1, "samples": 5, "tol": 1e-2, "check": False},
)
