"""The loss of a module on a data set as a function of its flat parameters θ."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from lossatlas import hardware
from lossatlas.loss.batch_norm import Buffers
from lossatlas.loss.batches import Batch, tensors_of
from lossatlas.loss.construction import Components, assemble, chunk_budget, converted, describe_components
from lossatlas.loss.criteria import Criterion, Forward, Reduction, WeighBy
from lossatlas.loss.evaluation import Points, PointwiseSums, made_points
from lossatlas.loss.functional_module import Point
from lossatlas.loss.second_derivatives import explained
from lossatlas.loss.shares import Share
from lossatlas.loss.subsample import sampled, strata
from lossatlas.loss.validation import check_recording, warn_of_numbers
from lossatlas.parameters.coverage import Coverage
from lossatlas.work import answered, bytes_of

__all__ = ["Batch", "Loss", "Points"]


class Loss:
    """A module, its data and a criterion as a function of θ. Make one with `Loss.of`, which builds its `components`.

    It works on a copy of the module in eval mode: the user's module, its mode, buffers, gradients and hooks stay as
    they are, and so do all random streams. Batches are weighted so that the mean is that over all data at once, and
    summed in float64.
    """

    def __init__(self, components: Components) -> None:
        self.layout = components.functional.layout
        self.theta = components.functional.shared_theta()  # (P,), the parameters the module came with
        self.examples = sum(components.data.rows)
        self.penalty = components.penalty
        self.attrs = dict(components.attrs)
        self._components = components
        self._sums = PointwiseSums(
            components.functional, components.statistics, components.data, components.measure, components.averaging
        )

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
        buffers: Buffers | None = None,
        between: Sequence[nn.Module | Mapping[str, Tensor]] | None = None,
        batch_size: int | None = None,
        max_batches: int | None = None,
        reduction: Reduction | None = None,
        weigh_by: WeighBy | None = None,
        count: Callable[[Batch], int] | None = None,
        train_mode_modules: str | Sequence[str] = (),
        device: torch.device | str | None = None,
        memory: int | None = None,
    ) -> Self:
        """The loss of `module` on `data`. Costs a copy of the module and a few passes of the largest batch.

        Args:
            module: any `nn.Module` that can be copied.
            data: `(inputs, targets)` with a row per example, a mapping of such tensors, a Dataset, or a DataLoader or
                another iterable of batches. Read once and kept: a shuffled or augmented loader is what it was then.
            criterion: `criterion(output, target)` -> a scalar per batch. None: the module computes its own loss, as
                `.loss`, `["loss"]` or its output.
            metrics: more such functions that give a batch mean, by name, from the same forward pass; or instances of
                `torchmetrics.Metric`, which are accumulated over all batches (points are then evaluated one by one).
            forward: `forward(module, batch)` -> `(output, target)`: how a batch enters the module. As it is, a batch
                is `(inputs, targets)`, or a mapping with "labels" that the module takes by name.
            params: which parameters θ holds, as patterns of names ("encoder.*"); the others stay as they are.
            include_frozen: whether θ holds those without requires_grad, too.
            weight_decay: λ of a term λ‖θ‖²/2, in units of the criterion per square of a parameter's.
            penalty: any other function of θ `(P,)`. `evaluate` keeps "loss", "penalty" and their sum "objective" apart;
                calls, gradient and curvature are those of the objective.
            buffers: statistics of batch norms: "stored" in the module; "interpolated" between models along with their
                weights; of each "batch", which must then be as in training; or "re-estimated" from the data at every
                point (one more pass). Derivatives hold interpolated and re-estimated ones fixed. None: "stored", and
                where a probe would say of another model what is true with its own statistics only, it asks.
            between: for "interpolated", two models or more, or their state dicts: each has its own statistics at its
                own weights, and between them they are linear in θ; see `batch_norm.InterpolatedStatistics`.
            batch_size: larger batches are cut, for less memory. On a CPU they are anyway, to pieces that stay in its
                cache, where that leaves the loss and the metrics as they are.
            max_batches: how many batches are read at most, which a warning says where there are more. Without it
                data that do not say their length end with an error after 4,096 batches or 2 GiB.
            reduction: "mean" or "sum" over a batch; by itself found like `weigh_by`.
            weigh_by: what batch means are weighted by: "examples"; "tokens", targets that are not `ignore_index` (or
                -100), weighted by class where the criterion does; or a function of the batch. By itself what a batch
                and its pieces agree with (`counting.find_counts`): examples, tokens, masks, lengths or weights in it.
            count: how many examples a batch has, from 1 up, where its tensors do not say it: graphs, sequences with the
                time first. By itself the rows of its tensors, or where these differ, of its target.
            train_mode_modules: patterns of names of modules that stay in train mode, where eval mode is another
                function (adapters that merge, layers that cache); dropout in them must be 0.
            device: where to compute; as it is, where the module is. Data follow, batch by batch when they are large.
            memory: bytes that the largest activation, and the points, of one chunk of points may take.

        Raises:
            ValueError: no parameters, no examples, a batch that does not go through, a criterion that gives no
                scalar, or a module that gives two values for the same batch.

        >>> loss = Loss.of(nn.Linear(2, 1), (torch.ones(3, 2), torch.zeros(3, 1)), nn.MSELoss())
        >>> loss(torch.tensor([1.0, 2.0, 0.5])).item()
        12.25
        """
        loss = cls(
            assemble(
                module, data, criterion, metrics=metrics, forward=forward, params=params,
                include_frozen=include_frozen, weight_decay=weight_decay, penalty=penalty, buffers=buffers,
                between=between, batch_size=batch_size, max_batches=max_batches, reduction=reduction,
                weigh_by=weigh_by, count=count, train_mode_modules=train_mode_modules, device=device,
                memory=memory,
            )
        )  # fmt: skip
        warn_of_numbers(loss.layout, loss.theta, loss._components.functional.coarsest)
        return loss

    def __repr__(self) -> str:
        return f"Loss({describe_components(self._components)})"

    def to(self, dtype: torch.dtype) -> Self:
        """The same loss with parameters, buffers and floating-point data in `dtype`.

        Args:
            dtype: a floating-point type, such as `torch.float64`. Tensors that `forward` makes without saying of what
                type have it too.

        Raises:
            ValueError: something in the module or the criterion has a precision of its own.
        """
        return type(self)(converted(self._components, dtype))

    def watched(self, callback: Callable[[int], Any]) -> Self:
        """The same loss, which calls `callback(count)` in `evaluate`, when each chunk of `count` points is done.

        So do the losses that `to` and `subset` make of it. This loss stays as it is. What it shares with the new one
        costs no memory; a loss that is watched twice calls both callbacks.

        Args:
            callback: takes the number of points, from 1 up; what it returns is not used, what it raises is passed on.

        >>> counts = []
        >>> loss = Loss.of(nn.Linear(2, 1), (torch.ones(3, 2), torch.zeros(3, 1)), nn.MSELoss()).watched(counts.append)
        >>> values = loss(torch.zeros(7, 3))
        >>> sum(counts)
        7
        """
        loss = copy.copy(self)
        loss.attrs = dict(self.attrs)
        loss._components = replace(self._components, callbacks=(*self._components.callbacks, callback))
        return loss

    def subset(self, examples: int, *, at: Tensor, generator: torch.Generator) -> Self | None:
        """An estimate of the loss from so many of its examples, a fixed sample: a function of θ like the loss itself.

        A quarter are the hardest ones at a point, the others are drawn from the rest (`subsample.strata`). Costs a pass
        over the data and two over the sample. None where examples cannot be told apart, weigh unequally, or see each
        other: statistics of a batch, attention over it, the neighbours in a dense adjacency, a contrastive criterion.

        Args:
            examples: how many, from 1 up to all.
            at: the point `(P,)`.
            generator: of the draws, on the CPU.

        Raises:
            ValueError: there are fewer examples.
        """
        if not 0 < examples <= self.examples:
            raise ValueError(f"wanted a subset of {examples} examples: there are {self.examples}")
        draw = partial(strata, count=examples, generator=generator)
        components = sampled(self._components, at.to(self.theta), draw)
        return None if components is None else type(self)(components)

    @property
    def module(self) -> nn.Module:
        """The loss's own copy of the module."""
        return self._components.functional.module

    @property
    def coverage(self) -> Coverage:
        """How much of the module θ holds, and what it leaves out."""
        return Coverage.of(self.module, self.layout)

    @property
    def names(self) -> tuple[str, ...]:
        """What `evaluate` gives: the loss, the metrics, and with a penalty that and the objective."""
        return (*self._components.measure.names, *(("penalty", "objective") if self.penalty else ()))

    @property
    def batches(self) -> int:
        """The number of batches that a pass over the data takes."""
        return len(self._components.data)

    @property
    def dtype(self) -> torch.dtype:
        """That of θ."""
        return self.theta.dtype

    def fingerprint(self) -> bytes:
        """What tells its data from others: a digest of up to 64 batches at even distances, some numbers of each."""
        data, known = self._components.data, hashlib.blake2b(digest_size=16)
        for index in sorted({round(place) for place in torch.linspace(0, len(data) - 1, 64).tolist()}):
            for tensor in tensors_of(data[index]):
                flat = tensor.flatten()
                known.update(bytes_of(flat[:: max(1, len(flat) // 2**16)]))
        return known.digest()

    def __call__(self, theta: Tensor) -> Tensor:
        """Objective (without a penalty: the loss on the data) in float64 at `theta`: `(P,)` -> `()`, `(n, P)` ->
        `(n,)`.

        Raises:
            ValueError: θ has another number of parameters, or more than two dimensions.
        """
        self.layout.check(theta)
        if theta.ndim > 2:
            raise ValueError(f"θ has shape {tuple(theta.shape)}: wanted one point or a stack, at most two dimensions")
        values = self.evaluate(theta if theta.ndim == 2 else theta[None])
        value = values["objective" if self.penalty else "loss"]
        return value if theta.ndim == 2 else value[0]

    @torch.no_grad()
    def evaluate(self, points: Points) -> dict[str, Tensor]:
        """Loss and metrics at a stack of n `points`, each `(n,)` in float64, never altered: NaN stays NaN.

        With a penalty also "penalty", and "objective", its sum with the loss. The points `(n, P)` may be made chunk by
        chunk (`parameters.curves`).
        """
        values = torch.zeros(len(points), len(self.names), dtype=torch.float64)
        measured, divisors = len(self._components.measure.names), self._components.averaging.divisors
        chunk = self.chunk
        at_once = self._sums.pays(chunk, self.theta.device)
        if not at_once:  # of points that are evaluated one by one, only they themselves are in memory together
            chunk = max(1, min(hardware.LOOPED_POINTS, self._budget // self.theta.nbytes))
        made = None
        for start in range(0, len(points), chunk):
            made = made_points(points, slice(start, start + chunk), made)
            stack = made.to(self.theta)  # (m, P)
            rows = values[start : start + chunk]
            rows[:, :measured] = answered(
                stack, lambda stack=stack: self._sums(stack, at_once=at_once) / divisors, evaluations=len(stack)
            )
            if self.penalty:
                rows[:, -2] = torch.stack([self.penalty(theta).cpu() for theta in stack])
                rows[:, -1] = rows[:, 0] + rows[:, -2]
            for callback in self._components.callbacks:
                callback(len(stack))
        return dict(zip(self.names, values.unbind(-1), strict=True))

    def batch_losses(self, theta: Point) -> Iterator[Tensor]:
        """Each batch's share of the objective at `theta` as a scalar that can be differentiated; they add up to L(θ).

        θ `(P,)`, or all its tensors by name, where only some of them ask for a gradient: what leads to the others is
        then not computed. Every share has its part of the penalty, by examples. A batch in which no target counts is
        left out.

        Raises:
            ValueError: θ asks for a gradient, and the loss has none.
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

    def batch_outputs(self, theta: Point) -> Iterator[tuple[Any, Share]]:
        """Each batch's output at `theta`, and its share of the loss on the data as a function of that output."""
        for output, share, _ in self._batch_outputs(theta):
            yield output, share

    @contextmanager
    def holding(self, theta: Tensor) -> Iterator[None]:
        """While it lasts, the loss's copy of the module holds `theta` `(P,)`.

        What computes a part of its forward again in the backward pass, such as activation checkpointing, then does so
        at θ: gradients of `batch_losses` and `batch_outputs` are to be taken inside. `gradient` and the operators do.

        Raises:
            ValueError: inside, torch has no derivative of an operation; the layer and the remedy are named.
        """
        functional, data = self._components.functional, self._components.data
        with functional.at(theta.detach().to(self.theta)), functional.differentiable(), explained(functional, data):
            yield

    @torch.enable_grad()
    def gradient(self, theta: Tensor) -> Tensor:
        """∇L(θ) at `theta` `(P,)`, in the loss's own precision; interpolated and re-estimated statistics are held
        fixed.

        Raises:
            ValueError: θ is no single point, or the loss has no derivative.
        """
        self.layout.check(theta, single=True)
        leaf = theta.detach().to(self.theta).requires_grad_()

        def summed() -> Tensor:
            total = torch.zeros_like(leaf)
            with self.holding(leaf):
                for share in self.batch_losses(leaf):
                    if share.requires_grad:  # not so where the loss does not depend on θ
                        total += torch.autograd.grad(share, leaf)[0]
            return total

        return answered(leaf, summed, evaluations=1).to(leaf.device)

    @property
    def chunk(self) -> int:
        """Points evaluated at once, from the largest activation of one point."""
        return max(1, self._budget // max(self._components.cost.bytes, 4 * self.layout.size))

    @property
    def operations(self) -> float:
        """Floating-point operations of one evaluation, those of matrix products and convolutions."""
        return self._components.cost.operations * self.examples / max(self._components.data.rows)

    @property
    def _budget(self) -> int:
        return chunk_budget(self._components.memory, self.theta.device)

    def _batch_outputs(self, theta: Point) -> Iterator[tuple[Any, Share, int]]:
        check_recording()
        if not isinstance(theta, Mapping):
            self.layout.check(theta, single=True)
        statistics = self._statistics(theta)
        data, averaging = self._components.data, self._components.averaging
        criterion, summed = self._components.measure.criterion, averaging.weighted_by == "sum"
        factors = (averaging.weights[:, 0] / averaging.divisors[0]).tolist()
        for factor, rows, batch in zip(factors, data.rows, data, strict=True):
            if factor:
                output, target = self._components.functional.output(theta, batch, statistics)
                yield output, Share(criterion, target, factor, summed), rows

    def _flat(self, theta: Point) -> Tensor:
        return theta if isinstance(theta, Tensor) else self.layout.flatten(theta)

    def _statistics(self, theta: Point) -> dict[str, Tensor]:
        functional, statistics = self._components.functional, self._components.statistics
        if not statistics.depend_on_theta:
            return {}
        point = self._flat(theta).detach().to(self.theta)
        with functional.at(point):
            return statistics.at(point, self._components.data)
