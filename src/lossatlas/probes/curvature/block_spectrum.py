"""Where in the network does the curvature sit? Eigenvalues and trace of every block of the Hessian."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lossatlas.loss.fidelity import coarsened
from lossatlas.loss.loss import Loss
from lossatlas.numerics.spectrum import Ends, dense_ends, search_ends
from lossatlas.operators.hessian import Hessian, pays_in_single
from lossatlas.parameters.layout import Layout
from lossatlas.probes.sampling import Losses, by_split, join_splits
from lossatlas.random_streams import check_generator
from lossatlas.results.variables import UNITS

PARAMETRIZED = ".parametrizations."  # what torch.nn.utils.parametrize puts between a layer and its weights


def block_spectrum(
    losses: Losses,
    theta: Tensor,
    *,
    generator: torch.Generator,
    blocks: Mapping[str, str | Sequence[str]] | None = None,
    k: int = 3,
    samples: int = 30,
    tol: float = 1e-3,
    max_products: int = 400,
    dtype: torch.dtype = torch.float64,
) -> xr.Dataset:
    """The k largest eigenvalues, the smallest one and the trace of every diagonal block of the Hessian.

    A block is the curvature in some parameters while all others stay at θ; its eigenvalues lie between the smallest
    and the largest of the whole (Cauchy's interlacing), and where the blocks are disjoint and hold every parameter
    their traces add up to the whole trace. Methods, precision and errors are those of `spectrum`, for each block alone:
    residuals are relative to the block's own largest |λ|.

    A block of at most k + 1 + `samples` parameters is computed as a matrix, which takes no more products: its trace is
    exact, its `trace_error` 0. Of a block of fewer than k parameters `eigenvalues` has what there is, then NaN.

    Costs `products` Hessian-vector products for each block, each at most as dear as one of the whole Hessian; what
    leads to other parameters is not differentiated. One block's graph is in memory at a time.

    Args:
        blocks: names of blocks, and the patterns of parameter names that each holds ("encoder.*"); blocks may overlap.
            By default one for each submodule that has parameters of its own, in the module's order: `layers`.

    Raises ValueError where a pattern matches no parameter of θ, and where the loss is not finite at θ.

    Returns:
        eigenvalues, residuals `(block, eigenvalue)`; smallest, smallest_residual, trace, trace_error, products,
        rough_products, converged `(block)`; all with a leading `split` for several losses. The coordinate `parameters`
        is the size of each block.

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
    seed = int(torch.randint(2**62, (), generator=generator))  # one for all splits: none depends on the others
    parts = {}
    for split, loss in named.items():
        chosen = layers(loss.layout) if blocks is None else _chosen(loss, blocks)
        exact = loss if loss.dtype is dtype else loss.to(dtype)
        own = torch.Generator().manual_seed(seed)
        found = [
            _ends(
                loss, exact, theta, names, k=k, samples=samples, tol=tol, max_products=max_products,
                generator=torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=own))),
            )
            for names in chosen.values()
        ]  # fmt: skip
        attrs = {
            "probe": "block_spectrum", "tol": tol, "samples": samples, "dtype": str(dtype).removeprefix("torch."),
            **loss.attrs,
        }  # fmt: skip
        sizes = [loss.layout.only(names).size for names in chosen.values()]
        parts[split] = _labelled(list(chosen), sizes, found, attrs)
    return join_splits(parts)


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
    loss: Loss, exact: Loss, theta: Tensor, names: tuple[str, ...], *, k: int, samples: int,
    generator: torch.Generator, tol: float, max_products: int,
) -> Ends:  # fmt: skip
    product = Hessian(exact, theta, names)
    size = loss.layout.only(names).size
    if size <= k + 1 + samples:
        return dense_ends(product, size, k=k, device=theta.device)
    rough = Hessian(loss, theta, names) if pays_in_single(loss, size, exact.dtype, tol) else None
    return search_ends(
        product, size, k=k, samples=samples, generator=generator, tol=tol, max_products=max_products,
        rough=rough, coarse=None if rough is None else coarsened(rough, loss.operations),
        device=theta.device, dtype=exact.dtype,
    )  # fmt: skip


def _labelled(blocks: list[str], sizes: list[int], found: list[Ends], attrs: dict[str, object]) -> xr.Dataset:
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
            "parameters": ("block", sizes, UNITS["parameters"]),
        },
        attrs,
    )
