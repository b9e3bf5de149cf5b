"""How curved is the loss at a point? Both ends of the Hessian's spectrum, and its trace."""

from __future__ import annotations

import torch
import xarray as xr
from torch import Tensor

from lossatlas import krylov
from lossatlas.curvature import Hessian
from lossatlas.results import UNITS
from lossatlas.surface import Losses, by_split, join_splits


def spectrum(
    losses: Losses,
    theta: Tensor,
    *,
    generator: torch.Generator,
    k: int = 10,
    samples: int = 30,
    tol: float = 1e-4,
    max_products: int = 400,
    dtype: torch.dtype = torch.float64,
) -> xr.Dataset:
    """The k largest eigenvalues of the Hessian, the smallest one, and the trace, each with its error.

    Lanczos with full re-orthogonalisation on Hessian-vector products by double backpropagation; eigenvalues are
    algebraic (the largest are not those of largest magnitude). They are called converged when every residual
    ‖Hv − λv‖ is below `tol` times the largest |λ|: an eigenvalue is then at most that far off. The trace is exact on
    the k eigenvectors found and estimated on the rest with `samples` Rademacher vectors (Hutchinson), with its
    standard error. Costs `products` Hessian-vector products in `dtype`.

    Returns:
        eigenvalues, residuals `(eigenvalue,)`; smallest, smallest_residual, trace, trace_error, products,
        converged; all with a leading `split` for several losses.
    """
    parts = {}
    seed = int(torch.randint(2**62, (), generator=generator))  # one for all splits: none depends on the others
    for split, loss in by_split(losses).items():
        if k + 1 > loss.layout.size:
            raise ValueError(f"k is {k}: a module of {loss.layout.size} parameters has room for {loss.layout.size - 1}")
        if max_products < k + 1:
            raise ValueError(f"max_products is {max_products}: {k} + 1 eigenvalues take {k + 1} products at least")
        own = torch.Generator().manual_seed(seed)
        hessian = Hessian(loss.to(dtype), theta)
        pairs = krylov.extremal_eigenpairs(
            hessian, loss.layout.size, largest=k, smallest=1, generator=own, tol=tol, max_products=max_products,
            device=theta.device,
        )  # fmt: skip
        trace, trace_error = krylov.trace(
            hessian, loss.layout.size, samples=samples, generator=own, deflate=pairs.largest_vectors
        )
        scalars = {
            "smallest": float(pairs.smallest[0]),
            "smallest_residual": float(pairs.smallest_residuals[0]),
            "trace": trace,
            "trace_error": trace_error,
            "products": pairs.products + k + samples,
            "converged": pairs.converged,
        }
        parts[split] = xr.Dataset(
            {
                "eigenvalues": ("eigenvalue", pairs.largest.numpy(), UNITS["eigenvalues"]),
                "residuals": ("eigenvalue", pairs.largest_residuals.numpy(), UNITS["residuals"]),
                **{name: ((), value, UNITS.get(name, {})) for name, value in scalars.items()},
            },
            {"eigenvalue": range(1, k + 1)},
            {"tol": tol, "samples": samples, "dtype": str(dtype).removeprefix("torch.")},
        )
    return join_splits(parts)
