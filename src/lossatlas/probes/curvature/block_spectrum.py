"""Where in the network does the curvature sit? Eigenvalues and trace of every block of the Hessian."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lossatlas.loss.fidelity import coarsened
from lossatlas.loss.loss import Loss
from lossatlas.numbers import number, percent_text, with_error
from lossatlas.numerics.spectrum import ExtremalSpectrum, dense_spectrum, extremal_spectrum
from lossatlas.operators.matrices import Matrix, curvature_product, named_after, pays_in_single
from lossatlas.parameters.layout import Layout
from lossatlas.probes.call import with_keywords
from lossatlas.probes.derivatives import checked, doubted
from lossatlas.probes.other_models import warn_of_borrowed_buffers
from lossatlas.probes.probe import POSITIVE, PRODUCTS_PER_PAIR, Cost, Probe, Settings, Subject, Told, at_least
from lossatlas.probes.sampling import Losses, by_split, join_splits
from lossatlas.probes.stationarity import PRODUCTS, on_a_slope, standing
from lossatlas.probes.telling import table
from lossatlas.random_streams import check_generator
from lossatlas.results.variables import UNITS
from lossatlas.splits import splits

VARIABLES = {
    "parameters": {"long_name": "number of parameters", "units": "1"},
}


@dataclass(frozen=True)
class BlockSpectrumSettings(Settings):
    """Eigenvalues and trace of every layer's block."""

    k: Annotated[int, at_least(1)] = 3
    """Largest eigenvalues of each block."""
    samples: Annotated[int, at_least(2)] = 30
    """Random vectors of each trace."""
    tol: Annotated[float, POSITIVE] = 1e-3
    """Residual of the eigenvalues, relative to the block's largest."""
    matrix: Matrix = "hessian"
    """Whose eigenvalues: the Hessian's, the Gauss-Newton matrix's, or the empirical Fisher's."""
    check: bool = True
    """Whether derivatives are checked against differences beside the point."""


PARAMETRIZED = ".parametrizations."  # what torch.nn.utils.parametrize puts between a layer and its weights


@with_keywords
def block_spectrum(
    losses: Losses,
    theta: Tensor,
    *,
    generator: torch.Generator,
    matrix: Matrix = "hessian",
    blocks: Mapping[str, str | Sequence[str]] | None = None,
    k: int = 3,
    samples: int = 30,
    tol: float = 1e-3,
    max_products: int = 400,
    dtype: torch.dtype = torch.float64,
    check: bool = True,
) -> xr.Dataset:
    """The k largest eigenvalues, the smallest one and the trace of every diagonal block of the Hessian.

    A block is the curvature in some parameters while all others stay at θ; its eigenvalues lie between the smallest
    and the largest of the whole (Cauchy's interlacing), and where the blocks are disjoint and hold every parameter
    their traces add up to the whole trace. Methods, precision and errors are those of `spectrum`, for each block alone:
    residuals are relative to the block's own largest |λ|.

    A block of at most k + 1 + `samples` parameters is computed as a matrix, which takes no more products: its trace is
    exact, its `trace_error` 0. Of a block of fewer than k parameters `eigenvalues` has what there is, then NaN.

    Costs `products` products with a vector for each block, each at most as dear as one of the whole matrix; what
    leads to other parameters is not differentiated. One block's graph is in memory at a time.

    Args:
        losses: one loss, or several by split.
        theta: the point, `(P,)`.
        generator: of the starts and of the traces' vectors.
        matrix: "hessian", "gauss-newton" or "fisher", the empirical Fisher matrix, as for `spectrum`.
        blocks: names of blocks, and the patterns of parameter names that each holds ("encoder.*"); blocks may overlap.
            By default one for each submodule that has parameters of its own, in the module's order: `layers`.
        k: how many of the largest eigenvalues.
        samples: random vectors for the trace.
        tol: largest residual allowed, over the block's largest |λ|.
        max_products: of the search in a block; it ends there, converged or not.
        dtype: precision of the answer.
        check: whether gradient and Hessian are checked against differences beside θ (`derivative_check`).

    Raises ValueError where a pattern matches no parameter of θ, and where the loss is not finite at θ.

    Returns:
        eigenvalues, residuals `(block, eigenvalue)`; smallest, smallest_residual, trace, trace_error, products,
        rough_products, converged `(block)`; derivative_check with its error; gradient_norm, gradient_norm_relative and
        stationary, as of `spectrum`; all with a leading `split` for several losses. The coordinate `parameters` is the
        size of each block; the attribute `matrix` says which matrix they are of.

    >>> from lossatlas.loss import toys
    >>> loss, chance = toys.linear_regression(torch.eye(3), torch.ones(3, 1)), torch.Generator().manual_seed(0)
    >>> found = block_spectrum(loss, torch.zeros(3), generator=chance, k=1)  # 2 XᵀX / 3
    >>> float(found.trace.sel(block="(root)")), float(found.smallest.sel(block="(root)").round(6))
    (2.0, 0.666667)
    """
    named = by_split(losses)
    if k < 1:
        raise ValueError(f"k is {k}: wanted 1 at least")
    if max_products < k + 1:
        raise ValueError(f"max_products is {max_products}: {k} + 1 eigenvalues take {k + 1} products at least")
    check_generator(generator)
    warn_of_borrowed_buffers(losses, {"θ": theta})
    seed = int(torch.randint(2**62, (), generator=generator))  # one for all splits: none depends on the others
    parts = {}
    for split, loss in named.items():
        chosen = layers(loss.layout) if blocks is None else _chosen(loss, blocks)
        exact = loss if loss.dtype is dtype else loss.to(dtype)
        own = torch.Generator().manual_seed(seed)
        found = [
            _ends(
                matrix, loss, exact, theta, names, k=k, samples=samples, tol=tol, max_products=max_products,
                generator=torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=own))),
            )
            for names in chosen.values()
        ]  # fmt: skip
        attrs = {
            "probe": "block_spectrum", "tol": tol, "samples": samples, "dtype": str(dtype).removeprefix("torch."),
            **loss.attrs,
        }  # fmt: skip
        sizes = [loss.layout.only(names).size for names in chosen.values()]
        scalars = checked(exact, theta, split, matrix=matrix, check=check) | standing(exact, theta)
        variables = {name: ((), value, UNITS[name]) for name, value in scalars.items()}
        parts[split] = _labelled(list(chosen), sizes, found, attrs).assign(variables)
    return named_after(join_splits(parts), matrix)


def layers(layout: Layout) -> dict[str, tuple[str, ...]]:
    """Names of parameters by the submodule that owns them, in order; "(root)" is the module itself.

    >>> from torch import nn
    >>> layers(Layout.of(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1, bias=False))))
    {'0': ('0.weight', '0.bias'), '2': ('2.weight',)}
    """
    owned: dict[str, list[str]] = {}
    for name in layout.names:
        owner = f".{name}".split(PARAMETRIZED)[0] if PARAMETRIZED in f".{name}" else f".{name}".rpartition(".")[0]
        owned.setdefault(owner[1:] or "(root)", []).append(name)
    return {owner: tuple(names) for owner, names in owned.items()}


def _chosen(loss: Loss, blocks: Mapping[str, str | Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Names of parameters by block, from patterns."""
    if not blocks:
        raise ValueError("blocks is empty: wanted one at least, or None for one per layer")
    chosen = {}
    for block, patterns in blocks.items():
        try:
            matched = Layout.of(loss.module, patterns, include_frozen=True)
        except ValueError as error:
            raise ValueError(f"the block {block!r}: {error}") from error
        chosen[block] = tuple(name for name in matched.names if name in loss.layout.slices)
        if not chosen[block]:
            raise ValueError(f"the block {block!r}, {patterns!r}, holds no parameter of θ: {', '.join(matched.names)}")
    return chosen


def _ends(
    matrix: Matrix, loss: Loss, exact: Loss, theta: Tensor, names: tuple[str, ...], *, k: int, samples: int,
    generator: torch.Generator, tol: float, max_products: int,
) -> ExtremalSpectrum:  # fmt: skip
    product = curvature_product(matrix, exact, theta, names)
    size = loss.layout.only(names).size
    if size <= k + 1 + samples:
        return dense_spectrum(product, size, k=k, device=theta.device)
    rough = curvature_product(matrix, loss, theta, names) if pays_in_single(loss, size, exact.dtype, tol) else None
    return extremal_spectrum(
        product, size, k=k, samples=samples, generator=generator, tol=tol, max_products=max_products,
        rough=rough, coarse=None if rough is None else coarsened(rough, loss.operations),
        device=theta.device, dtype=exact.dtype,
    )  # fmt: skip


def _labelled(
    blocks: list[str], sizes: list[int], found: list[ExtremalSpectrum], attrs: dict[str, object]
) -> xr.Dataset:
    def stacked(name: str) -> np.ndarray:
        return np.array([getattr(ends, name) for ends in found])

    rows = {"eigenvalues": "largest", "residuals": "residuals"}
    scalars = (
        "smallest", "smallest_residual", "trace", "trace_error", "products", "rough_products", "converged",
    )  # fmt: skip
    return xr.Dataset(
        {name: (("block", "eigenvalue"), stacked(of), UNITS[name]) for name, of in rows.items()}
        | {name: ("block", stacked(name), UNITS.get(name, {})) for name in scalars},
        {
            "block": blocks,
            "eigenvalue": range(1, len(found[0].largest) + 1),
            "parameters": ("block", sizes, VARIABLES["parameters"]),
        },
        attrs,
    )


def _call(subject: Subject, settings: BlockSpectrumSettings, generator: torch.Generator) -> xr.Dataset:
    knobs = vars(settings) | {"k": min(settings.k, subject.size - 1), "dtype": subject.dtype}
    return block_spectrum(subject.losses, subject.theta, generator=generator, **knobs)


def _cost(subject: Subject, settings: BlockSpectrumSettings) -> Cost:
    pairs = min(settings.k, subject.size - 1) + 1
    products = len(layers(subject.loss.layout)) * (PRODUCTS_PER_PAIR * pairs + settings.samples)
    return Cost(products=products + PRODUCTS)


def _lacks(subject: Subject) -> str:
    return "a model of two layers at least" if len(layers(subject.loss.layout)) < 2 else ""


def _tell(result: xr.Dataset, _: str) -> Told:
    split, part = next(iter(splits(result).items()))
    traces = part.trace.values
    lines = [
        (str(block), f"{int(size):,}", number(float(top), 4), with_error(float(trace), float(error)))
        for block, size, top, trace, error in zip(
            part.block.values, part.parameters.values, part.eigenvalues.isel(eigenvalue=0).values, traces,
            part.trace_error.values, strict=True,
        )
    ]  # fmt: skip
    heaviest = int(np.nanargmax(traces))
    words = (
        f"Of the {split} trace, {percent_text(float(traces[heaviest] / np.nansum(traces)))} sits in the layer "
        f"{part.block.values[heaviest]}."
    )
    rows = table(f"By layer, {split} data.", ("Layer", "Parameters", "Largest λ", "Trace"), lines)
    return doubted(on_a_slope(Told(words, (words,), (rows,)), result), result)


PROBE = Probe(
    block_spectrum,
    BlockSpectrumSettings,
    of="model",
    title="curvature by layer",
    meaning=(
        "The Hessian of the loss, or the matrix that was asked for in its place, in the parameters of one layer at a "
        "time, the others held fixed: where curvature sits. The traces of the blocks add up to the whole trace."
    ),
    misleads=(
        "The largest eigenvalue of a block is at most that of the whole: what several layers do together is in none of "
        "them."
    ),
    variables=VARIABLES,
    cost=_cost,
    tell=_tell,
    lacks=_lacks,
    call=_call,
)
