"""Which examples stand for all of them, and how much each counts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vmap

from lossatlas.loss.batches import Batches
from lossatlas.loss.criteria import Criterion
from lossatlas.loss.functional_module import ModuleState

HARDEST = 4  # one example in so many is taken from the hardest ones


@dataclass(frozen=True)
class Stratum:
    """Examples that stand for `population` examples, themselves among them."""

    rows: Tensor  # (n,) of int, counted through all batches
    population: int


def strata(values: Tensor | None, total: int, count: int, generator: torch.Generator) -> list[Stratum]:
    """`count` of `total` examples: the hardest quarter of them all, the others at random from the rest.

    Near a minimum the loss is that of a few examples; with all of them in the sample (a certainty stratum; Cochran
    1977, chapter 5) its logarithm follows that of the loss on all data. `values` `(total,)` say how hard each is;
    without them all are random.
    """
    taken = torch.zeros(total, dtype=torch.bool)
    if values is not None:
        known = values.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)  # NaN: a target that is ignored
        taken[known.topk(count // HARDEST).indices.cpu()] = True
    hard, rest = taken.nonzero()[:, 0], (~taken).nonzero()[:, 0]
    some = rest[torch.randperm(len(rest), generator=generator)[: count - len(hard)]]
    found = [Stratum(some, len(rest))]
    return [Stratum(hard, len(hard)), *found] if len(hard) else found


@torch.no_grad()
def hardness(state: ModuleState, data: Batches, criterion: Criterion) -> Tensor | None:
    """The criterion of every example alone `(examples,)`, with the weights that the module's copy holds.

    None where outputs and targets are not tensors with a row per example, or the criterion does not take one alone.
    """
    found = []
    for rows, batch in zip(data.rows, data, strict=True):
        output, target = state.call(batch)
        if not all(isinstance(part, Tensor) and part.ndim and len(part) == rows for part in (output, target)):
            return None
        try:
            found.append(vmap(lambda one, other: criterion(one[None], other[None]))(output, target))
        except Exception:  # whatever a criterion of the user's raises: the sample is then drawn without it
            return None
    return torch.cat(found)
