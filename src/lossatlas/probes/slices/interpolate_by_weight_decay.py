"""How does the landscape change with weight decay?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import xarray as xr
from torch import Tensor

from lossatlas.parameters.curves import Segment
from lossatlas.probes.sampling import Losses, sample
from lossatlas.probes.weight_decays import check_family, join_family, squared_norms


def interpolate_by_weight_decay(
    losses: Losses, starts: Tensor, ends: Tensor, weight_decays: Sequence[float], *, steps: int = 51
) -> xr.Dataset:
    """Loss and metrics on the straight line from initial to final weights, for a network per weight decay.

    The loss is that of the data alone, and must come without a penalty of its own. Beside it stands `penalty`, λ‖θ‖²/2
    over all of θ, whose gradient λθ is what the `weight_decay=λ` of torch.optim's SGD and Adam adds (AdamW's does not:
    it is no term of the loss); their sum is what was trained. Costs `steps` evaluations of each loss per weight decay.

    Args:
        starts, ends: `(w, P)`, a row per weight decay.

    Returns:
        loss and metrics `(weight_decay, alpha)`, penalty `(weight_decay, alpha)`, which has no split.

    >>> from lossatlas.loss import toys
    >>> ends = torch.tensor([[2.0], [1.0]])
    >>> result = interpolate_by_weight_decay(toys.bowl(1), torch.zeros(2, 1), ends, (0, 0.5), steps=3)
    >>> result.loss.values
    array([[0.   , 0.5  , 2.   ],
           [0.   , 0.125, 0.5  ]])
    >>> result.penalty.values
    array([[0.    , 0.    , 0.    ],
           [0.    , 0.0625, 0.25  ]])
    """
    check_family(losses, weight_decays, starts=starts, ends=ends)
    if steps < 2:
        raise ValueError(f"steps is {steps}: wanted at least 2, for the two ends")
    alpha = torch.linspace(0, 1, steps, dtype=torch.float64)
    parts = []
    for start, end in zip(starts, ends, strict=True):
        line = sample(losses, Segment(start, end, alpha), {"alpha": alpha.numpy()})
        norms = squared_norms(torch.stack([start, end - start]), alpha[:, None])
        parts.append(line.assign(penalty=("alpha", norms)))
    return join_family(parts, weight_decays).assign_attrs(probe="interpolate_by_weight_decay")
