"""The loss of a module on a data set as a function of its flat parameters θ."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils._python_dispatch import TorchDispatchMode

from lossatlas.parameters import Layout

Criterion = Callable[[Any, Any], Tensor]
Batch = tuple[Tensor, Tensor]

# Bytes of the largest activation in one chunk of points. Beyond a few MiB the activations fall out of the
# cache and a point costs more, not less: see docs/architecture.md for the measurement.
CHUNK_BYTES = 4 * 2**20


class Points(Protocol):
    """A stack of points θ that may be made chunk by chunk: a tensor `(n, P)` is one, and so are `paths`."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: slice, /) -> Tensor: ...


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """Fraction of examples whose largest logit is the target class."""
    return (output.argmax(-1) == target).to(output.dtype).mean()


class Loss:
    """A module, its data and a criterion as a function of θ. Make one with `Loss.of`.

    It works on a copy of the module in eval mode: the user's module, its mode, buffers and gradients stay as
    they are. Averages over batches are weighted by their number of examples and summed in float64.
    """

    def __init__(
        self,
        module: nn.Module,
        batches: list[Batch],
        criterion: Criterion,
        metrics: Mapping[str, Criterion],
    ) -> None:
        self.module = module
        self.layout = Layout.of(module)
        self.theta = self.layout.theta_of(module)  # (P,), the parameters the module came with
        self.metrics = dict(metrics)
        self.examples = sum(len(inputs) for inputs, _ in batches)
        self._batches = batches
        self._criterion = criterion
        self._chunk: int | None = None
        self._stacked = vmap(self._values, in_dims=(0, None, None))

    @classmethod
    def of(
        cls,
        module: nn.Module,
        data: Batch | Iterable[Batch],
        criterion: Criterion,
        *,
        metrics: Mapping[str, Criterion] | None = None,
    ) -> Self:
        """The loss of `module` on `data`.

        Args:
            module: any `nn.Module`; a deep copy of it is kept.
            data: a pair `(inputs, targets)` with one row per example, or an iterable of such pairs, read once. The
                tensors are kept as they are, not copied.
            criterion: `criterion(output, target)` -> the mean over the batch, a scalar.
            metrics: more functions of `(output, target)` that give a batch mean, by name; they come out of the
                same forward pass as the loss.

        Raises:
            ValueError: no parameters, no examples, or inputs and targets of different length.

        >>> loss = Loss.of(nn.Linear(2, 1), (torch.ones(3, 2), torch.zeros(3, 1)), nn.MSELoss())
        >>> loss(torch.tensor([1.0, 2.0, 0.5])).item()
        12.25
        """
        pair = isinstance(data, (tuple, list)) and len(data) == 2 and all(isinstance(part, Tensor) for part in data)
        batches: list[Batch] = [(data[0], data[1])] if pair else [(x, y) for x, y in data]  # type: ignore[index]
        if not batches or not all(len(inputs) for inputs, _ in batches):
            raise ValueError("the data hold no examples: wanted at least one in every batch")
        for inputs, targets in batches:
            if len(inputs) != len(targets):
                raise ValueError(f"a batch has {len(inputs)} inputs and {len(targets)} targets: wanted as many")
        return cls(copy.deepcopy(module).eval(), batches, criterion, metrics or {})

    def to(self, dtype: torch.dtype) -> Self:
        """The same loss with parameters, buffers and floating-point data in `dtype`."""
        cast = [
            (x.to(dtype) if x.is_floating_point() else x, y.to(dtype) if y.is_floating_point() else y)
            for x, y in self._batches
        ]
        return type(self)(copy.deepcopy(self.module).to(dtype), cast, self._criterion, self.metrics)

    @property
    def names(self) -> tuple[str, ...]:
        """What one forward pass yields: the loss, then the metrics."""
        return ("loss", *self.metrics)

    @property
    def batches(self) -> int:
        return len(self._batches)

    @property
    def dtype(self) -> torch.dtype:
        return self.theta.dtype

    def __call__(self, theta: Tensor) -> Tensor:
        """Mean loss over the data, float64: `(P,)` -> `()`, `(n, P)` -> `(n,)`."""
        self.layout.check(theta)
        points = theta if theta.ndim == 2 else theta[None]
        values = self.evaluate(points)["loss"]
        return values if theta.ndim == 2 else values[0]

    @torch.no_grad()
    def evaluate(self, points: Points) -> dict[str, Tensor]:
        """Loss and metrics at a stack of n points, each `(n,)` in float64, never altered: NaN stays NaN."""
        total = torch.zeros(len(points), len(self.names), dtype=torch.float64)
        chunk = self.chunk
        for start in range(0, len(points), chunk):
            stack = points[start : start + chunk].to(self.dtype)  # (m, P)
            for inputs, targets in self._batches:
                values = self._stacked(stack, inputs, targets)  # (m, names)
                total[start : start + chunk] += values.to("cpu", torch.float64) * len(inputs)
        return dict(zip(self.names, (total / self.examples).unbind(-1), strict=True))

    def batch_losses(self, theta: Tensor) -> Iterable[Tensor]:
        """Each batch's share of the mean loss as a scalar that can be differentiated; they add up to L(θ)."""
        self.layout.check(theta)
        for inputs, targets in self._batches:
            yield self._criterion(self._output(theta, inputs), targets) * (len(inputs) / self.examples)

    @torch.enable_grad()
    def gradient(self, theta: Tensor) -> Tensor:
        """∇L(θ), `(P,)`, in the loss's own precision."""
        leaf = theta.detach().to(self.dtype).requires_grad_()
        total = torch.zeros_like(leaf)
        for share in self.batch_losses(leaf):
            if share.requires_grad:  # not so where the loss does not depend on θ
                total += torch.autograd.grad(share, leaf)[0]
        return total

    @property
    def chunk(self) -> int:
        """Points evaluated at once, from the largest activation of one point (measured at the first call)."""
        if self._chunk is None:
            with _LargestOutput() as seen, torch.no_grad():
                inputs, targets = max(self._batches, key=lambda batch: len(batch[0]))
                self._values(self.theta, inputs, targets)
            self._chunk = max(1, CHUNK_BYTES // max(seen.bytes, 4 * self.layout.size))
        return self._chunk

    def _output(self, theta: Tensor, inputs: Tensor) -> Any:
        return functional_call(self.module, self.layout.unflatten(theta), (inputs,))

    def _values(self, theta: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        output = self._output(theta, inputs)
        values = [self._criterion(output, targets), *(metric(output, targets) for metric in self.metrics.values())]
        return torch.stack([value.to(self.dtype) for value in values])  # (names,)


class _LargestOutput(TorchDispatchMode):
    """Records the largest tensor that any operation inside the block makes, in bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(value, Tensor):
                self.bytes = max(self.bytes, value.numel() * value.element_size())
        return out
