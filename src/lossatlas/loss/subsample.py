"""Which examples stand for all of them, and how much each counts."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lossatlas.loss.batches import Batch, Batches, take_rows
from lossatlas.loss.construction import Components
from lossatlas.loss.counting import joined
from lossatlas.loss.criteria import Criterion, has_class_weights
from lossatlas.loss.functional_module import FunctionalModule, plain_transformer
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


def graded_strata(values: Tensor | None, total: int, count: int, size: int) -> list[Stratum]:
    """About `count` of `total` examples, `size` from each of several strata: the hardest, then ever larger ones.

    Their bounds are at ranks in geometric progression, and from each ranks at even distances are taken, without chance:
    where a few examples make up most of a mean, as of a trained network's gradients, these are all there
    (docs/design/eigenvalues.md). Of no more than `count` examples all are taken.

    Args:
        values: `(total,)`, how hard each example is, in units of the criterion; None: their order stands for it.
        total: examples that there are.
        count: examples of the sample, two strata at least.
        size: of a stratum in the sample.
    """
    if values is None:
        ranked = torch.arange(total)
    else:
        ranked = values.nan_to_num(nan=-torch.inf).argsort(descending=True, stable=True).cpu()
    if total <= count:
        return [Stratum(rows, len(rows)) for rows in ranked.split(size)]
    growth = (total / size) ** (1 / (count // size - 1))
    bounds = [0, *(round(size * growth**step) for step in range(count // size))]
    found = []
    for low, high in itertools.pairwise(bounds):
        taken = min(size, high - low)
        places = low + ((torch.arange(taken) + 0.5) * (high - low) / max(taken, 1)).long()
        found += [Stratum(ranked[places], high - low)] * bool(taken)
    return found


def sampled(
    components: Components, at: Tensor, draw: Callable[[Tensor | None, int], list[Stratum]]
) -> Components | None:
    """The components of the loss on a sample of its examples, as `Loss.subset` says; None where that is another loss.

    Args:
        components: of the loss on all data.
        at: the point `(P,)` that says how hard each example is, and at which it is tried whether they can be taken.
        draw: (how hard each is `(total,)`, or None where it is not known; total) -> the examples.
    """
    functional, statistics = components.functional, components.statistics
    data, averaging = components.data, components.averaging
    if not averaging.counts(data.rows) or why_together(components):
        return None
    with plain_transformer(), functional.at(at), functional.with_buffers(statistics.at(at, data)):
        losses = hardness(functional, data, components.measure.criterion)
        drawn = draw(losses, sum(data.rows))
        places = [stratum.rows.sort().values for stratum in drawn]
        sample, rows = data.taking(places), torch.cat(places)
        if not _stand_alone(components, sample, None if losses is None else losses[rows.to(losses.device)]):
            return None
    return replace(
        components, data=sample,
        averaging=averaging.of_samples(sample.rows, [stratum.population for stratum in drawn]),
        cost=components.cost.times(max(sample.rows) / max(data.rows)),
    )  # fmt: skip


def why_together(components: Components) -> str:
    """Why the loss on some of the examples is no estimate of that on all, as far as can be told without a pass: what
    links them, in a sentence without a full stop; "" where nothing does.

    Args:
        components: of the loss on all data.
    """
    averaging = components.averaging
    if components.statistics.couple_examples:
        return "batch norms take the statistics of the data, so that its examples see each other"
    if components.measure.accumulates:
        return "a metric gathers over batches and has no value of one example"
    if averaging.weighted_by != "sum" and has_class_weights(components.measure.criterion):
        return "the criterion weighs examples by their class"
    if not components.data.stackable:
        return "batches are not tensors of like shape with a row for each example"
    return ""


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


@torch.no_grad()
def _stand_alone(components: Components, sample: Batches, losses: Tensor | None) -> bool:
    """Whether examples of a sample have the losses that they have among all, and their batches are means of halves.

    Args:
        components: of the loss on all data.
        sample: a batch of every stratum.
        losses: of its examples `(n,)` among all; None: there are none.
    """
    try:
        alone = None if losses is None else hardness(components.functional, sample, components.measure.criterion)
        order = torch.zeros(sum(sample.rows)) if losses is None else losses.cpu()
        return _alike(components.functional, losses, alone) and all(
            _is_of_its_halves(components, batch, by_loss.argsort())
            for batch, by_loss in zip(sample, order.split(sample.rows), strict=True)
        )
    except Exception:  # of a module that wants all of its examples, such as the neighbours in an adjacency
        return False


def _is_of_its_halves(components: Components, batch: Batch, order: Tensor) -> bool:
    """Whether the loss and every metric of a batch are the mean, or sum, of those of its first and its second half.

    Args:
        components: of the loss on all data.
        batch: of the sample.
        order: of its examples `(n,)`; those with a small loss first, since halves that are alike tell nothing.
    """
    if len(order) < 2:
        return True
    functional, measure = components.functional, components.measure
    halves = order.tensor_split(2)
    whole = measure(*functional.call(batch)).cpu()
    values = [measure(*functional.call(take_rows(batch, half, len(order)))).cpu() for half in halves]
    together = joined(values, [len(half) for half in halves], added=False)
    if components.averaging.weighted_by == "sum":
        together[0] = joined([value[0] for value in values], [1, 1], added=True)
    return _alike(functional, whole, together)


def _alike(functional: FunctionalModule, first: Tensor | None, second: Tensor | None) -> bool:
    """Whether two rows of numbers, where there are any, differ by no more than rounding."""
    if first is None or second is None:
        return first is second
    tolerance = torch.finfo(functional.coarsest).eps ** 0.6  # above rounding, below what another example makes
    largest = float(first.nan_to_num(0.0, 0.0, 0.0).abs().max())
    return torch.allclose(first, second, rtol=tolerance, atol=tolerance * largest, equal_nan=True)
