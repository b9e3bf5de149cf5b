"""How curved is the loss at a point? Both ends of the Hessian's spectrum, and its trace."""

from __future__ import annotations

import torch
import xarray as xr
from torch import Tensor

from lossatlas.loss.fidelity import coarsened
from lossatlas.numerics.spectrum import search_ends
from lossatlas.operators.hessian import Hessian, pays_in_single
from lossatlas.probes.sampling import Losses, by_split, join_splits
from lossatlas.random_streams import check_generator
from lossatlas.results.variables import UNITS


def spectrum(
    losses: Losses,
    theta: Tensor,
    *,
    generator: torch.Generator,
    k: int = 10,
    samples: int = 30,
    tol: float = 1e-3,
    max_products: int = 400,
    dtype: torch.dtype = torch.float64,
    mixed: bool = True,
) -> xr.Dataset:
    """The k largest eigenvalues of the Hessian, the smallest one, and the trace, each with its error.

    Block Lanczos with full re-orthogonalisation on Hessian-vector products by double backpropagation
    (`krylov.extremal_eigenpairs`); eigenvalues are algebraic (the largest are not those of largest magnitude). They are
    called converged when every residual ‖Hv − λv‖ is at most `tol` times the largest |λ|: each then has an eigenvalue
    within its residual, an isolated one within residual² / gap. Of several that lie closer than `tol` one can be
    missing from the list (docs/howto/spectrum.md has how often). The trace is the sum of the eigenvalues found and an
    estimate on the rest with `samples` Rademacher vectors (Hutchinson), with its standard error.

    Costs `products` Hessian-vector products, those with the smallest one and the trace included. For a float32 loss of
    over 1,000 parameters they are done in float32 as far as that goes (`mixed`), the samples of a large network's trace
    in bfloat16 where the processor has AMX. Products in `dtype` with three mixtures of the vectors found then say how
    far off those in float32 were, which is part of every residual, and the search goes on in `dtype` if that does not
    meet `tol`; the trace is checked with one of its samples.

    Returns:
        eigenvalues, residuals `(eigenvalue,)`; smallest, smallest_residual, trace, trace_error, products, of which
        rough_products of less precision, converged; all with a leading `split` for several losses.
    """
    parts = {}
    check_generator(generator)
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
        product = Hessian(loss if loss.dtype is dtype else loss.to(dtype), theta)
        rough = Hessian(loss, theta) if mixed and pays_in_single(loss, size, dtype, tol) else None
        ends = search_ends(
            product, size, k=k, samples=samples, generator=own, tol=tol, max_products=max_products,
            rough=rough, coarse=None if rough is None else coarsened(rough, loss.operations),
            device=theta.device, dtype=dtype,
        )  # fmt: skip
        scalars = {
            "smallest": ends.smallest,
            "smallest_residual": ends.smallest_residual,
            "trace": ends.trace,
            "trace_error": ends.trace_error,
            "products": ends.products,
            "rough_products": ends.rough_products,
            "converged": ends.converged,
        }
        parts[split] = xr.Dataset(
            {
                "eigenvalues": ("eigenvalue", ends.largest.numpy(), UNITS["eigenvalues"]),
                "residuals": ("eigenvalue", ends.residuals.numpy(), UNITS["residuals"]),
                **{name: ((), value, UNITS.get(name, {})) for name, value in scalars.items()},
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
    return join_splits(parts)
