"""The loss of a module on a data set as a function of its flat parameters θ."""

from __future__ import annotations

import copy
import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from lossatlas.loss.batch_norm import Between
from lossatlas.loss.batches import Batch, Batches, first_rows, read
from lossatlas.loss.criteria import (
    Averaging,
    Criterion,
    Forward,
    Measure,
    Reduction,
    WeighBy,
    adds_up,
    has_class_weights,
    name_of,
    needs_target,
    own_loss,
    reduction_of,
    supervised,
    target_of,
)
from lossatlas.loss.evaluation import Stacked
from lossatlas.loss.functional_module import Buffers, ModuleState, Point, private_copy, untouched_randomness
from lossatlas.loss.inputs import check_kinds, check_recording
from lossatlas.loss.microbatches import in_pieces
from lossatlas.loss.penalty import Penalty
from lossatlas.loss.subsample import hardness, strata
from lossatlas.loss.validation import SOME_ROWS, Cost, first_pass, warn_of_numbers
from lossatlas.parameters.curves import Affine, Segment
from lossatlas.parameters.layout import Layout

__all__ = ["Batch", "Loss", "Points", "accuracy"]

# Bytes of the largest activation in one chunk of points. Beyond a few MiB the activations fall out of the
# cache and a point costs more, not less: see docs/architecture.md for the measurement.
CHUNK_BYTES = 4 * 2**20
LOOPED = 64  # points in a chunk that is evaluated one by one: what a chunk costs is nothing beside them
GPU_CHUNK_BYTES = 256 * 2**20  # a GPU wants large kernels; not measured


class Points(Protocol):
    """A stack of points θ that may be made chunk by chunk: a tensor `(n, P)` is one, and so are `paths`."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: slice, /) -> Tensor: ...


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """Fraction of targets that are the class with the largest logit: `(..., classes)` and `(...)` -> a scalar.

    Targets of −100, which torch's losses leave out, do not count.
    """
    counted = target != -100
    return ((output.argmax(-1) == target) & counted).sum().to(output.dtype) / counted.sum()


class Loss:
    """A module, its data and a criterion as a function of θ. Make one with `Loss.of`.

    It works on a copy of the module in eval mode: the user's module, its mode, buffers, gradients and hooks stay as
    they are, and so do all random streams. Batches are weighted so that the mean is that over all data at once, and
    summed in float64.
    """

    def __init__(
        self,
        state: ModuleState,
        data: Batches,
        measure: Measure,
        averaging: Averaging,
        penalty: Penalty,
        memory: int | None,
        attrs: Mapping[str, Any],
    ) -> None:
        self.layout = state.layout
        self.theta = state.shared_theta()  # (P,), the parameters the module came with
        self.examples = sum(data.rows)
        self.penalty = penalty
        self.attrs = dict(attrs)  # what a result says about the loss that it was measured on
        self._state, self._data, self._measure, self._averaging, self._memory = state, data, measure, averaging, memory
        self._stacked = Stacked(state, data, measure, averaging)
        self._known: Cost | None = None  # of the largest batch

    @classmethod
    def of(
        cls,
        module: nn.Module,
        data: Any,
        criterion: Criterion | None = None,
        *,
        metrics: Mapping[str, Criterion] | None = None,
        forward: Forward | None = None,
        params: str | Sequence[str] = "*",
        include_frozen: bool = False,
        weight_decay: float = 0.0,
        penalty: Callable[[Tensor], Tensor] | None = None,
        buffers: Buffers = "stored",
        between: Sequence[nn.Module | Mapping[str, Tensor]] | None = None,
        batch_size: int | None = None,
        reduction: Reduction | None = None,
        weigh_by: WeighBy | None = None,
        device: torch.device | str | None = None,
        memory: int | None = None,
    ) -> Self:
        """The loss of `module` on `data`. Costs a copy of the module, a pass of the largest batch, and a few of a part
        of it.

        Args:
            module: any `nn.Module` that can be copied.
            data: `(inputs, targets)` with a row per example, a mapping of such tensors, a Dataset, or a DataLoader or
                another iterable of batches. Read once and kept: a shuffled or augmented loader is what it was then.
            criterion: `criterion(output, target)` -> a scalar per batch. None: the module computes its own loss, as
                `.loss`, `["loss"]` or its output.
            metrics: more such functions that give a batch mean, by name, from the same forward pass.
            forward: `forward(module, batch)` -> `(output, target)`: how a batch enters the module. As it is, a batch
                is `(inputs, targets)`, or a mapping with "labels" that the module takes by name.
            params: which parameters θ holds, as patterns of names ("encoder.*"); the others stay as they are, and
                frozen ones too unless `include_frozen`.
            weight_decay, penalty: λ of a term λ‖θ‖²/2, and any other function of θ `(P,)`. `evaluate` keeps "loss",
                "penalty" and their sum "objective" apart; calls, gradient and curvature are those of the objective.
            buffers: statistics of batch norms: "stored" in the module; "interpolated" between models along with their
                weights; of each "batch", which must then be as in training; or "re-estimated" from the data at every
                point (one more pass). Derivatives hold interpolated and re-estimated ones fixed.
            between: for "interpolated", two models or more, or their state dicts: each has its own statistics at its
                own weights (`layout.theta_of`), and between them they are linear in θ; see `between.Between`.
            batch_size: larger batches are cut, for less memory. On a CPU they are anyway, to pieces that stay in its
                cache, where that leaves the loss and the metrics as they are.
            reduction: "mean" or "sum" over a batch; read from the criterion where it says, and else found by giving it
                the same batch twice.
            weigh_by: what batch means are weighted by: "examples"; "tokens", targets that are not `ignore_index` (or
                -100), weighted by class where the criterion does; or a function of the batch. By itself, "tokens"
                where the criterion has an ignore_index or a module with its own loss has labels of two dimensions;
                where `forward` gives the targets, that takes a pass over the data.
            device: where to compute; as it is, where the module is. Data follow, batch by batch when they are large.
            memory: bytes that the largest activation, and the points, of one chunk of points may take.

        Raises:
            ValueError: no parameters, no examples, a batch that does not go through, a criterion that gives no
                scalar, or a module that gives two values for the same batch.

        >>> loss = Loss.of(nn.Linear(2, 1), (torch.ones(3, 2), torch.zeros(3, 1)), nn.MSELoss())
        >>> loss(torch.tensor([1.0, 2.0, 0.5])).item()
        12.25
        """
        check_kinds(module, criterion, metrics)
        if memory is not None and memory < 1:
            raise ValueError(f"memory is {memory}: wanted a number of bytes from 1 up")
        layout = Layout.of(module, params, include_frozen=include_frozen)
        terms = Penalty(weight_decay, penalty)
        measure = Measure(own_loss if criterion is None else criterion, dict(metrics or {}))
        said = reduction_of(measure.criterion, reduction)
        with untouched_randomness(getattr(data, "generator", None)):
            batches = read(data, batch_size)
            copied = private_copy(module, device)
            models = None if between is None else Between(layout, copied, between)
            state = ModuleState(copied, layout, forward or supervised, buffers, models)
            place = next(state.module.parameters()).device
            measure = measure.to(place)
            kept = Batches(batches, place, budget=_budget(memory, place))
            cost = first_pass(state, kept.largest(), measure)
            summed = said == "sum" or (said is None and _adds_up(state, kept, measure))
            pieces = in_pieces(state, batches, kept, cost, measure, weigh_by, summed=summed)
            if len(pieces) > len(batches):
                batches, whole = pieces, max(kept.rows)
                kept = Batches(batches, place, budget=_budget(memory, place))
                cost = cost.times(max(kept.rows) / whole)
            if forward is None or not needs_target(measure.criterion, weigh_by):
                targets = [target_of(batch) if forward is None else None for batch in batches]
            else:  # only a pass over the data tells
                targets = state.targets(kept)
            averaging = Averaging.of(batches, targets, measure, weigh_by, summed)
        attrs = {"buffers": buffers, "weighted_by": averaging.weighted_by, **_choices(params, terms, models)}
        loss = cls(state, kept, measure, averaging, terms, memory, attrs)
        loss._known = cost
        warn_of_numbers(layout, loss.theta, state.coarsest)
        return loss

    def to(self, dtype: torch.dtype) -> Self:
        """The same loss with parameters, buffers and floating-point data in `dtype`."""
        old = self._state
        state = ModuleState(copy.deepcopy(old.module).to(dtype), self.layout, old.forward, old.buffers, old.between)
        state.traits = old.traits
        measure = self._measure.to(self.theta.device, dtype)
        data = self._data.to(dtype)
        return type(self)(state, data, measure, self._averaging, self.penalty, self._memory, self.attrs)

    def subset(self, examples: int, *, at: Tensor, generator: torch.Generator) -> Self | None:
        """An estimate of the loss from so many of its examples, a fixed sample: a function of θ like the loss itself.

        A quarter are the hardest ones at the point `at` `(P,)`, the others are drawn from the rest (`sampling.strata`).
        None where examples cannot be told apart, weigh unequally, or share the statistics of their batch. Raises
        ValueError where there are fewer examples.
        """
        if not 0 < examples <= self.examples:
            raise ValueError(f"wanted a subset of {examples} examples: there are {self.examples}")
        if (
            not self._averaging.counts(self._data.rows)
            or (self._averaging.weighted_by != "sum" and has_class_weights(self._measure.criterion))
            or self._state.buffers in ("batch", "re-estimated")
            or not self._data.stackable
        ):
            return None
        with self._state.at(at.to(self.theta)), self._state.with_buffers(self._state.statistics(at, self._data)):
            values = hardness(self._state, self._data, self._measure.criterion)
        drawn = strata(values, self.examples, examples, generator)
        data = self._data.taking([stratum.rows for stratum in drawn])
        averaging = self._averaging.of_samples(data.rows, [stratum.population for stratum in drawn])
        some = type(self)(self._state, data, self._measure, averaging, self.penalty, self._memory, self.attrs)
        some._known = self._cost.times(max(data.rows) / max(self._data.rows))
        return some

    @property
    def module(self) -> nn.Module:
        """The loss's own copy of the module."""
        return self._state.module

    @property
    def names(self) -> tuple[str, ...]:
        """What `evaluate` gives: the loss, the metrics, and with a penalty that and the objective."""
        return (*self._measure.names, *(("penalty", "objective") if self.penalty else ()))

    @property
    def batches(self) -> int:
        return len(self._data)

    @property
    def dtype(self) -> torch.dtype:
        return self.theta.dtype

    def __call__(self, theta: Tensor) -> Tensor:
        """Objective (without a penalty: the loss on the data) in float64: `(P,)` -> `()`, `(n, P)` -> `(n,)`."""
        self.layout.check(theta)
        if theta.ndim > 2:
            raise ValueError(f"θ has shape {tuple(theta.shape)}: wanted one point or a stack, at most two dimensions")
        values = self.evaluate(theta if theta.ndim == 2 else theta[None])
        value = values["objective" if self.penalty else "loss"]
        return value if theta.ndim == 2 else value[0]

    @torch.no_grad()
    def evaluate(self, points: Points) -> dict[str, Tensor]:
        """Loss and metrics at a stack of n points, each `(n,)` in float64, never altered: NaN stays NaN.

        With a penalty also "penalty", and "objective", its sum with the loss.
        """
        total = torch.zeros(len(points), len(self.names), dtype=torch.float64)
        measured = len(self._measure.names)
        chunk = self.chunk
        at_once = self._stacked.pays(chunk, self.theta.device)
        if not at_once:  # of points that are evaluated one by one, only they themselves are in memory together
            chunk = max(1, min(LOOPED, _budget(self._memory, self.theta.device) // self.theta.nbytes))
        made = None
        for start in range(0, len(points), chunk):
            made = _points(points, slice(start, start + chunk), made)
            stack = made.to(self.theta)  # (m, P)
            rows = total[start : start + chunk]
            rows[:, :measured] = self._stacked(stack, at_once=at_once) / self._averaging.divisors
            if self.penalty:
                rows[:, -2] = torch.stack([self.penalty(theta).cpu() for theta in stack])
                rows[:, -1] = rows[:, 0] + rows[:, -2]
        return dict(zip(self.names, total.unbind(-1), strict=True))

    def batch_losses(self, theta: Point) -> Iterator[Tensor]:
        """Each batch's share of the objective as a scalar that can be differentiated; they add up to L(θ).

        θ `(P,)`, or all its tensors by name, where only some of them ask for a gradient: what leads to the others is
        then not computed. Every share has its part of the penalty, by examples. A batch in which no target counts is
        left out.
        """
        depends = False
        for output, share, rows in self._batch_outputs(theta):
            value = share(output)
            value = value + self.penalty(self._flat(theta)) * (rows / self.examples) if self.penalty else value
            depends |= value.requires_grad
            yield value
        if isinstance(theta, Tensor) and theta.requires_grad and torch.is_grad_enabled() and not depends:
            raise ValueError(
                "the loss has no derivative in θ: wanted one that autograd can follow (is it cut off by .detach(), "
                ".item(), argmax, a comparison or torch.no_grad, or is no parameter of θ in use?)"
            )

    def batch_outputs(self, theta: Point) -> Iterator[tuple[Any, Callable[[Any], Tensor]]]:
        """Each batch's output, and its share of the loss on the data as a function of that output."""
        for output, share, _ in self._batch_outputs(theta):
            yield output, share

    @torch.enable_grad()
    def gradient(self, theta: Tensor) -> Tensor:
        """∇L(θ), `(P,)`, in the loss's own precision; interpolated and re-estimated statistics are held fixed."""
        self.layout.check(theta, single=True)
        leaf = theta.detach().to(self.theta).requires_grad_()
        total = torch.zeros_like(leaf)
        for share in self.batch_losses(leaf):
            if share.requires_grad:  # not so where the loss does not depend on θ
                total += torch.autograd.grad(share, leaf)[0]
        return total

    @property
    def chunk(self) -> int:
        """Points evaluated at once, from the largest activation of one point."""
        return max(1, _budget(self._memory, self.theta.device) // max(self._cost.bytes, 4 * self.layout.size))

    @property
    def operations(self) -> float:
        """Floating-point operations of one evaluation, those of matrix products and convolutions."""
        return self._cost.operations * self.examples / max(self._data.rows)

    @property
    def _cost(self) -> Cost:
        if self._known is None:
            self._known = first_pass(self._state, self._data.largest(), self._measure)
        return self._known

    def _batch_outputs(self, theta: Point) -> Iterator[tuple[Any, Callable[[Any], Tensor], int]]:
        check_recording()
        if not isinstance(theta, Mapping):
            self.layout.check(theta, single=True)
        statistics = self._statistics(theta)
        factors = (self._averaging.weights[:, 0] / self._averaging.divisors[0]).tolist()
        for factor, rows, batch in zip(factors, self._data.rows, self._data, strict=True):
            if factor:
                output, target = self._state.output(theta, batch, statistics)
                yield output, partial(self._share, target=target, factor=factor), rows

    def _share(self, output: Any, *, target: Any, factor: float) -> Tensor:
        return torch.as_tensor(self._measure.criterion(output, target)) * factor

    def _flat(self, theta: Point) -> Tensor:
        return theta if isinstance(theta, Tensor) else self.layout.flatten(theta)

    def _statistics(self, theta: Point) -> dict[str, Tensor]:
        if not self._state.moving:
            return {}
        point = self._flat(theta).detach().to(self.theta)
        with self._state.at(point):
            return self._state.statistics(point, self._data)


def _points(points: Points, index: slice, old: Tensor | None) -> Tensor:
    """A slice of the points, where that can be done in the memory of the one before: getting fresh memory for a large
    θ from the system takes three times as long as computing it."""
    if old is None or not isinstance(points, Segment | Affine) or len(old) != len(range(len(points))[index]):
        return points[index]
    return points.write(index, old)


def _budget(memory: int | None, device: torch.device) -> int:
    return memory or (GPU_CHUNK_BYTES if device.type == "cuda" else CHUNK_BYTES)


@torch.no_grad()
def _adds_up(state: ModuleState, data: Batches, measure: Measure) -> bool:
    """Whether the criterion sums over a batch: what a part of the largest one says, or else the first one that tells.

    Where none does and there are several, that is said: a mean is assumed.
    """
    if measure.criterion is own_loss:
        return False
    try:
        for batch in itertools.chain([first_rows(data.largest(), SOME_ROWS)], data):
            told = adds_up(measure.criterion, *state.call(batch))
            if told is not None:
                return told
    except Exception:  # a criterion that takes batches of one size only cannot be asked
        return False
    if len(data) > 1:
        warnings.warn(
            f"{name_of(measure.criterion)} is 0 or not finite on all data, so that it does not show whether it sums "
            'over a batch or takes its mean: a mean is assumed; say which by reduction="sum" or "mean"',
            stacklevel=3,
        )
    return False


def _choices(params: str | Sequence[str], penalty: Penalty, between: Between | None) -> dict[str, Any]:
    """What differs from the loss of all parameters without a penalty, as attributes of a result."""
    patterns = [params] if isinstance(params, str) else params
    chosen: dict[str, Any] = {} if list(patterns) == ["*"] else {"params": " ".join(patterns)}
    if between is not None:
        chosen["between"] = len(between)  # models
    if penalty.weight_decay:
        chosen["weight_decay"] = penalty.weight_decay
    if penalty.function is not None:
        chosen["penalty_function"] = name_of(penalty.function)
    return chosen
