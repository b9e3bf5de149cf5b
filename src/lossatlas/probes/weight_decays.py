"""What the probes of a family over weight decay share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lossatlas.probes.other_models import refuse_borrowed_buffers
from lossatlas.probes.sampling import Losses, by_split
from lossatlas.results.variables import UNITS


def check_family(losses: Losses, weight_decays: Sequence[float], **stacks: Tensor) -> None:
    if any(loss.penalty for loss in by_split(losses).values()):
        raise ValueError(
            "the loss has a penalty of its own: wanted one made without weight_decay and penalty, "
            "since the penalty here is that of each of weight_decays"
        )
    values = np.asarray(weight_decays, dtype=float)
    if not values.size or not (np.isfinite(values) & (values >= 0)).all() or np.unique(values).size < values.size:
        raise ValueError(f"weight_decays is {tuple(weight_decays)}: wanted finite numbers from 0 up, no two alike")
    for name, stack in stacks.items():
        if stack.ndim != 2 or len(stack) != values.size:
            raise ValueError(
                f"{name} has shape {tuple(stack.shape)}: wanted ({values.size}, P), a row for every weight decay"
            )
    of_each = {f"{name} at λ = {decay:g}": row for name, rows in stacks.items()
               for decay, row in zip(weight_decays, rows, strict=True)}  # fmt: skip
    refuse_borrowed_buffers(losses, of_each)


def join_family(parts: list[xr.Dataset], weight_decays: Sequence[float]) -> xr.Dataset:
    """The results of all weight decays, of which each has ‖θ‖² as its `penalty`, along a dimension."""
    parts = [
        part.assign(penalty=(weight_decay / 2 * part.penalty).assign_attrs(UNITS["penalty"]))
        for part, weight_decay in zip(parts, weight_decays, strict=True)
    ]
    values = xr.IndexVariable("weight_decay", np.asarray(weight_decays, dtype=float), UNITS["weight_decay"])
    joined = xr.concat(parts, values, coords="minimal", compat="override", join="override", combine_attrs="override")
    return joined.transpose("split", "weight_decay", ..., missing_dims="ignore").assign_attrs(
        evaluations=sum(part.attrs["evaluations"] for part in parts)
    )


def squared_norms(rows: Tensor, coordinates: Tensor) -> np.ndarray:
    """‖r₀ + Σ cᵢ rᵢ‖² of rows r `(k + 1, P)` at coordinates c `(n, k)`, from inner products, `(n,)` in float64."""
    gram = (rows.double() @ rows.double().T).cpu()  # (k + 1, k + 1)
    weights = torch.cat([torch.ones(len(coordinates), 1, dtype=torch.float64), coordinates.double()], dim=-1)
    return torch.einsum("ni,ij,nj->n", weights, gram, weights).clamp(min=0).numpy()
