"""Which examples stand for all of them, and how much each counts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lossatlas.loss.batches import Batches
from lossatlas.loss.criteria import Criterion
from lossatlas.loss.functional_module import FunctionalModule
from lossatlas.loss.shares import single_losses

HARD_SHARE = 4  # one example of the sample in so many is taken from the hardest ones; docs/design/evaluation.md


@dataclass(frozen=True)
class Stratum:
    """Examples that stand for others, themselves among them.

    Args:
        rows: `(n,)` of int, counted through all batches.
        population: examples that they stand for.
    """

    rows: Tensor
    population: int


def strata(values: Tensor | None, total: int, count: int, generator: torch.Generator) -> list[Stratum]:
    """`count` of `total` examples: the hardest quarter of them all, the others at random from the rest.

    Near a minimum the loss is that of a few examples; with all of them in the sample (a certainty stratum; Cochran
    1977, chapter 5) its logarithm follows that of the loss on all data.

    Args:
        values: `(total,)`, how hard each example is, in units of the criterion; None: all are drawn at random.
        total: examples that there are.
        count: examples of the sample.
        generator: of the draws, on the CPU.
    """
    taken = torch.zeros(total, dtype=torch.bool)
    if values is not None:
        ranked = values.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)  # NaN: a target that is ignored
        taken[ranked.topk(count // HARD_SHARE).indices.cpu()] = True
    hard, rest = taken.nonzero()[:, 0], (~taken).nonzero()[:, 0]
    drawn = Stratum(rest[torch.randperm(len(rest), generator=generator)[: count - len(hard)]], len(rest))
    return [Stratum(hard, len(hard)), drawn] if len(hard) else [drawn]


@torch.no_grad()
def hardness(functional: FunctionalModule, data: Batches, criterion: Criterion) -> Tensor | None:
    """The criterion of every example alone `(examples,)`, with the weights that the module's copy holds.

    None where outputs and targets are not tensors with a row per example, or the criterion does not take one alone.

    Args:
        functional: the loss's own copy of the module.
        data: every batch.
        criterion: `criterion(output, target)` -> a scalar.
    """
    losses = []
    for rows, batch in zip(data.rows, data, strict=True):
        output, target = functional.call(batch)
        if not all(isinstance(part, Tensor) and part.ndim and len(part) == rows for part in (output, target)):
            return None
        try:
            losses.append(single_losses(criterion, output, target))
        except Exception:  # whatever a criterion of the user's raises: the sample is then drawn without it
            return None
    return torch.cat(losses)
