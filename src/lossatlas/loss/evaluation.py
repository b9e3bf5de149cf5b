"""Sums over all batches at a stack of points, vectorised where that is possible and pays, one by one elsewhere."""

from __future__ import annotations

import warnings
from contextlib import nullcontext

import torch
from torch import Tensor
from torch.func import vmap

from lossatlas.loss.batches import Batch, Batches
from lossatlas.loss.criteria import Averaging, Measure
from lossatlas.loss.functional_module import ModuleState, plain_transformer

LOOP_BELOW = 32  # points; smaller chunks are faster one by one on a CPU: see docs/architecture.md


class Stacked:
    """Weighted sums of the loss and every metric over all batches: `(m, P)` -> `(m, names)` in float64.

    A module that `vmap` cannot take is evaluated one point at a time from then on, which is said once.
    """

    def __init__(self, state: ModuleState, data: Batches, measure: Measure, averaging: Averaging) -> None:
        self._state, self._data, self._measure = state, data, measure
        self._weights = averaging.weights  # (batches, names)
        self._all_count = bool(averaging.weights.all())
        self._refused = False
        self._proven = False
        self._vectorized = vmap(self._functional, in_dims=(0, None))

    def pays(self, points: int, device: torch.device) -> bool:
        """Whether so many points at once are evaluated sooner than one by one, as far as they can be."""
        # In half precision another kernel gives visibly other values than the module's own.
        half = torch.finfo(self._state.coarsest).bits < 32
        least = 2 if device.type == "cuda" else LOOP_BELOW
        return points >= least and not (half or self._refused or self._state.moving)

    @torch.no_grad()
    def __call__(self, stack: Tensor, *, at_once: bool) -> Tensor:
        """The sums at every point, of all at once or of one by one."""
        with plain_transformer():
            if not at_once or self._refused:
                return self._looped(stack)
            try:
                return self._at_once(stack)
            except Exception as error:
                sums = self._looped(stack)  # raises by itself where the module or θ is at fault
                self._refused = True
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                warnings.warn(
                    f"{type(self._state.module).__name__} cannot be vectorised over points, so they are evaluated one "
                    f"by one: the same values, more slowly ({reason})",
                    stacklevel=4,
                )
                return sums

    def _at_once(self, stack: Tensor) -> Tensor:
        if self._state.traits.writes:
            raise RuntimeError(f"its forward writes to its buffers {list(self._state.traits.writes)}")
        if self._state.traits.differentiates:
            raise RuntimeError("it takes derivatives itself")
        if self._proven:
            return self._sums([self._vectorized(stack, batch) for batch in self._data])
        with warnings.catch_warnings():
            # Operations without a rule of their own run in a slow loop inside vmap: ours is faster.
            warnings.filterwarnings("error", message="There is a performance drop")
            values = [self._vectorized(stack, batch) for batch in self._data]
        self._proven = True
        return self._sums(values)

    def _looped(self, stack: Tensor) -> Tensor:
        state = self._state
        columns: list[list[Tensor]] = [[] for _ in self._weights]  # of every batch, a value for each point
        with state.walking(stack) as rows:
            for theta in rows:
                with state.with_buffers(state.statistics(theta, self._data)) if state.moving else nullcontext():
                    for column, batch in zip(columns, self._data, strict=True):
                        column.append(self._measure(*state.call(batch)))
        return self._sums([torch.stack(column) for column in columns])

    def _functional(self, theta: Tensor, batch: Batch) -> Tensor:
        return self._measure(*self._state.output(theta, batch, {}))

    def _sums(self, values: list[Tensor]) -> Tensor:
        """Σ weight · value over batches `(m, names)`; a batch of weight 0 counts nothing, whatever its value."""
        found = torch.stack(values, 1).to("cpu", torch.float64)
        shares = found * self._weights
        return (shares if self._all_count else torch.where(self._weights == 0, 0.0, shares)).sum(1)
