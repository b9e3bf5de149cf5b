"""What single examples have a part in: the loss, and the derivative of the output by θ."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vjp, vmap

from lossatlas import hardware
from lossatlas.loss.batches import Batch, describe, has_rows, map_tensors, take_rows
from lossatlas.loss.functional_module import plain_transformer
from lossatlas.loss.loss import Loss
from lossatlas.loss.shares import Share

COMPARED = 8  # examples whose outputs alone are compared with those in their batch; more take longer and tell no more


class LinkedExamples(ValueError):
    """The examples of a loss cannot be told apart, or see each other.

    Args:
        why: what links them, in a sentence without a full stop.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)


@dataclass(frozen=True)
class ExampleLosses:
    """The loss on the data, Σ wᵢ ℓᵢ, example by example.

    Args:
        numbers: `(n,)` of int, where each example stands in the data as they were read, from 0 up.
        losses: `(n,)` in float64, ℓ: what the criterion says of an example alone; 0 where its target is ignored.
        weights: `(n,)` in float64, w: 1 / n each in a mean over n, 0 where the target is ignored.
    """

    numbers: Tensor
    losses: Tensor
    weights: Tensor


@dataclass(frozen=True)
class BatchOfExamples:
    """A batch whose examples can be told apart.

    Args:
        output: `(n, ...)`, of the module.
        share: of the batch in the loss on the data.
        squared_gradients: rows u `(n, r, ...)` of the outputs' shape -> `(n, r)`, ‖Jᵢᵀ u‖² with Jᵢ the derivative of
            example i's output by θ.
    """

    output: Tensor
    share: Share
    squared_gradients: Callable[[Tensor], Tensor]


@torch.no_grad()
def example_losses(loss: Loss, theta: Tensor) -> ExampleLosses:
    """The losses of single examples at `theta` `(P,)`, without a penalty, which is no example's. Costs an evaluation.

    Args:
        loss: on data with a row for each example.
        theta: the point.

    Raises:
        LinkedExamples: there are no such losses, and why.
    """
    _refuse_linked(loss, theta)
    numbers, losses, weights = [], [], []
    rows = loss._components.data.rows
    starts = [sum(rows[:index]) for index in range(len(rows))]
    for index, (output, share) in zip(_counting(loss), loss.batch_outputs(theta.to(loss.theta)), strict=True):
        try:
            known, weight = share.of_examples(output)
        except ValueError as error:
            raise LinkedExamples(str(error)) from error
        every = torch.zeros(len(weight), dtype=torch.float64)
        every[weight.cpu() > 0] = known.cpu().double()
        numbers.append(starts[index] + torch.arange(len(weight)))
        losses.append(every)
        weights.append(weight.cpu().double())
    return ExampleLosses(torch.cat(numbers), torch.cat(losses), torch.cat(weights))


def batches_of_examples(loss: Loss, theta: Tensor) -> Iterator[BatchOfExamples]:
    """Every batch that counts at `theta` `(P,)`, in order, of a loss that has `example_losses`.

    A squared gradient costs a gradient: of as many examples at once as `hardware.EXAMPLE_GRADIENT_BYTES` holds, or of
    one after the other where `vmap` cannot take the module.

    Args:
        loss: on data with a row for each example.
        theta: the point.
    """
    gradients = _ExampleGradients(loss, theta)
    batches = (loss._components.data[index] for index in _counting(loss))
    for batch, (output, share) in zip(batches, loss.batch_outputs(theta.to(loss.theta)), strict=True):
        yield BatchOfExamples(output, share, lambda rows, batch=batch: gradients.squared(batch, rows))


class _ExampleGradients:
    """Squared norms of gradients of single outputs by θ."""

    def __init__(self, loss: Loss, theta: Tensor) -> None:
        self._loss, self._theta = loss, theta.detach().to(loss.theta)
        self._functional = loss._components.functional
        self._tensors = loss.layout.unflatten(self._theta)
        self._statistics = loss._statistics(self._theta)
        self._refused = bool(self._functional.traits.unstackable)

    def squared(self, batch: Batch, rows: Tensor) -> Tensor:
        """‖Jᵢᵀ u‖² of every row u of `rows` `(n, r, ...)` for the examples of `batch`, `(n, r)`."""
        if not self._refused:
            try:
                with warnings.catch_warnings():
                    # Operations without a rule of their own run in a slow loop inside vmap: ours is faster.
                    warnings.filterwarnings("error", message="There is a performance drop")
                    return vmap(self._of_one, chunk_size=self._at_once(rows))(batch, rows)
            except Exception:  # whatever vmap, or a module inside it, raises: one by one it raises again or does not
                self._refused = True
        examples = torch.arange(len(rows)).split(1)
        with self._loss.holding(self._theta):
            return torch.stack([self._alone(take_rows(batch, i, len(rows)), rows[int(i)]) for i in examples])

    def _at_once(self, rows: Tensor) -> int:
        return max(1, hardware.EXAMPLE_GRADIENT_BYTES // (self._theta.nbytes * max(rows.shape[1], 1)))

    def _of_one(self, example: Batch, rows: Tensor) -> Tensor:
        """Of one example inside vmap, whose tensors have lost their first dimension."""
        batch = map_tensors(lambda tensor: tensor[None], example)

        def output(tensors: dict[str, Tensor]) -> Tensor:
            return self._functional.output(tensors, batch, self._statistics)[0][0]

        pullback = vjp(output, self._tensors)[1]
        (gradients,) = vmap(pullback)(rows)  # each (r, *shape)
        norms = [torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in gradients.values()]
        return torch.stack(norms).square().sum(0)

    @torch.enable_grad()
    def _alone(self, batch: Batch, rows: Tensor) -> Tensor:
        """Of a batch that is one example."""
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in self._tensors.items()}
        (output,) = self._functional.output(leaves, batch, self._statistics)[0]
        found = []
        for row in rows:
            gradients = torch.autograd.grad(
                output, list(leaves.values()), row, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            found.append(torch.stack([gradient.square().sum() for gradient in gradients]).sum())
        return torch.stack(found)


def _counting(loss: Loss) -> list[int]:
    """The batches that `Loss.batch_outputs` goes through."""
    return [index for index, weight in enumerate(loss._components.averaging.weights[:, 0].tolist()) if weight]


def _refuse_linked(loss: Loss, theta: Tensor) -> None:
    """Raise LinkedExamples where the examples of a batch are not rows of its tensors, or see each other."""
    data = loss._components.data
    if loss._components.statistics.couple_examples:
        raise LinkedExamples("batch norms take the statistics of the data, so that its examples see each other")
    counting = _counting(loss)
    for index in counting:
        if not has_rows(data[index], data.rows[index]):
            raise LinkedExamples(f"a batch, {describe(data[index])}, has tensors without a row for each example")
    largest = max(counting, key=lambda index: data.rows[index])
    _refuse_company(loss, theta.to(loss.theta), data[largest], data.rows[largest])


def _refuse_company(loss: Loss, theta: Tensor, batch: Batch, rows: int) -> None:
    """Raise LinkedExamples where a few examples of `batch` have another output alone than among all its `rows`."""
    functional, statistics, data = loss._components.functional, loss._components.statistics, loss._components.data
    few = torch.arange(min(rows // 2, COMPARED))
    with functional.at(theta), plain_transformer(), functional.with_buffers(statistics.at(theta, data)):
        among, _ = functional.call(batch)
        if not isinstance(among, Tensor) or not among.ndim or len(among) != rows:
            raise LinkedExamples(f"the output for {rows} examples is {describe(among)}: wanted a row for each")
        if not len(few):
            return
        try:
            alone, _ = functional.call(take_rows(batch, few, rows))
        except Exception as error:  # whatever a module that wants its batches whole raises
            raise LinkedExamples(f"the module does not take a part of a batch ({error})") from error
    tolerance = torch.finfo(functional.coarsest).eps ** 0.5 * float(among.abs().max())  # above rounding by far
    same = alone.shape == among[: len(few)].shape
    if not same or not torch.allclose(alone, among[: len(few)], rtol=0, atol=tolerance, equal_nan=True):
        raise LinkedExamples("the module's output for an example depends on the other examples of its batch")
