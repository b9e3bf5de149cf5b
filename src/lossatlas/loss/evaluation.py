"""Sums over all batches at a stack of points, vectorised where that is possible and pays, one by one elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.func import vmap

from lossatlas import hardware
from lossatlas.loss.accumulation import Accumulators
from lossatlas.loss.averaging import Averaging
from lossatlas.loss.batch_norm import BatchStatistics
from lossatlas.loss.batches import Batch, Batches
from lossatlas.loss.criteria import Measure
from lossatlas.loss.functional_module import FunctionalModule, plain_transformer
from lossatlas.parameters.curves import Affine, Segment


class Points(Protocol):
    """A stack of points θ that may be made chunk by chunk: a tensor `(n, P)` is one, and so are `parameters.curves`."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: slice, /) -> Tensor: ...


def made_points(points: Points, index: slice, memory: Tensor | None) -> Tensor:
    """A slice of the points `(m, P)`, where that can be done in the memory of the one before.

    Getting fresh memory for a large θ from the system takes three times as long as computing it.

    Args:
        points: all of them.
        index: which of them.
        memory: the slice before, which is overwritten where it has as many points; None for the first.
    """
    if memory is None or not isinstance(points, Segment | Affine) or len(memory) != len(range(len(points))[index]):
        return points[index]
    return points.write(index, memory)


class PointwiseValues:
    """What a function of output and target gives on every batch, at a stack of points.

    A module that `vmap` cannot take is evaluated one point at a time from then on, which is said once.

    Args:
        functional: the loss's own copy of the module.
        statistics: where those of its batch norms come from.
        data: every batch.
        measure: (output, target) -> a tensor for a batch.
        accumulators: what takes in every output in a loop over points; None: nothing does.
    """

    def __init__(
        self,
        functional: FunctionalModule,
        statistics: BatchStatistics,
        data: Batches,
        measure: Callable[[Any, Any], Tensor],
        accumulators: Accumulators | None = None,
    ) -> None:
        self._functional, self._statistics, self._data, self._measure = functional, statistics, data, measure
        self._accumulators = accumulators
        self._refused = False
        self._proven = False
        self._vectorized = vmap(self._values, in_dims=(0, None))

    def pays(self, points: int, device: torch.device) -> bool:
        """Whether so many `points` at once are evaluated sooner than one by one on the `device`, as far as they can
        be.
        """
        # In half precision another kernel gives visibly other values than the module's own.
        half = torch.finfo(self._functional.coarsest).bits < 32
        possible = not (half or self._refused or self._statistics.depend_on_theta or self._accumulators)
        return possible and hardware.vectorization_pays(points, device)

    @torch.no_grad()
    def __call__(self, stack: Tensor, *, at_once: bool) -> tuple[list[Tensor], Tensor | None]:
        """Of every batch the values at every point of a `stack` `(m, P)`, `(m, ...)`; and what was accumulated at each,
        `(m, accumulating)`, None where nothing is.

        Args:
            stack: the points.
            at_once: all together; else one by one.
        """
        with plain_transformer():
            if not at_once or self._refused:
                return self._looped(stack)
            try:
                return self._at_once(stack), None
            except Exception as error:
                values = self._looped(stack)  # raises by itself where the module or θ is at fault
                self._refused = True
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                name = type(self._functional.module).__name__
                warnings.warn(
                    f"{name} cannot be vectorised over points, so they are evaluated one by one: the same values, "
                    f"more slowly ({reason})",
                    stacklevel=5,
                )
                return values

    def _at_once(self, stack: Tensor) -> list[Tensor]:
        if why := self._functional.traits.unstackable:
            raise RuntimeError(why)
        if self._proven:
            return [self._vectorized(stack, batch) for batch in self._data]
        with warnings.catch_warnings():
            # Operations without a rule of their own run in a slow loop inside vmap: ours is faster.
            warnings.filterwarnings("error", message="There is a performance drop")
            values = [self._vectorized(stack, batch) for batch in self._data]
        self._proven = True
        return values

    def _looped(self, stack: Tensor) -> tuple[list[Tensor], Tensor | None]:
        functional, accumulators = self._functional, self._accumulators
        columns: list[list[Tensor]] = [[] for _ in range(len(self._data))]  # of every batch, a value for each point
        accumulated = []
        with functional.at_each(stack) as rows:
            for theta in rows:
                if accumulators:
                    accumulators.reset()
                with self._own_statistics(theta):
                    for column, batch in zip(columns, self._data, strict=True):
                        output, target = functional.call(batch)
                        column.append(self._measure(output, target))
                        if accumulators:
                            accumulators.update(output, target)
                if accumulators:
                    accumulated.append(accumulators.values())
        return [torch.stack(column) for column in columns], torch.stack(accumulated) if accumulated else None

    def _own_statistics(self, theta: Tensor) -> AbstractContextManager[None]:
        if not self._statistics.depend_on_theta:
            return nullcontext()
        return self._functional.with_buffers(self._statistics.at(theta, self._data))

    def _values(self, theta: Tensor, batch: Batch) -> Tensor:
        return self._measure(*self._functional.output(theta, batch, {}))


class PointwiseSums:
    """Weighted sums of the loss and every metric over all batches: `(m, P)` -> `(m, names)` in float64.

    Args:
        functional: the loss's own copy of the module.
        statistics: where those of its batch norms come from.
        data: every batch.
        measure: the criterion and the metrics.
        averaging: what each batch counts.
    """

    def __init__(
        self,
        functional: FunctionalModule,
        statistics: BatchStatistics,
        data: Batches,
        measure: Measure,
        averaging: Averaging,
    ) -> None:
        self._accumulators = Accumulators(measure.metrics, data.device)
        self._values = PointwiseValues(functional, statistics, data, measure, self._accumulators)
        self._weights, self._divisors = averaging.weights, averaging.divisors  # (batches, names), (names,)
        self._all_count = bool(averaging.weights.all())

    def pays(self, points: int, device: torch.device) -> bool:
        """Whether so many `points` at once are evaluated sooner than one by one on the `device`, as far as they can
        be.
        """
        return self._values.pays(points, device)

    def __call__(self, stack: Tensor, *, at_once: bool) -> Tensor:
        """The sums at every point of a `stack` `(m, P)`, of all together where `at_once` says so, or of one by one."""
        values, accumulated = self._values(stack, at_once=at_once)
        # A batch of weight 0 counts nothing, whatever its value.
        shares = torch.stack(values, 1).to("cpu", torch.float64) * self._weights
        sums = (shares if self._all_count else torch.where(self._weights == 0, 0.0, shares)).sum(1)
        if accumulated is not None:
            places = self._accumulators.columns
            sums[:, places] = accumulated * self._divisors[places]  # no sums, but divided as they are
        return sums
