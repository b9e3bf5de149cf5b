"""Statistics of batch norms at θ: stored, interpolated between models, re-estimated from the data, or of each batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lossatlas import hardware
from lossatlas.loss.batches import Batches
from lossatlas.loss.functional_module import FunctionalModule
from lossatlas.parameters.layout import Layout

Buffers = Literal["stored", "interpolated", "batch", "re-estimated"]
Norm = nn.modules.batchnorm._NormBase  # batch and instance norms of every dimension, synchronised ones too

# How near a model's share must be to a whole number to be it, without unit. How sums are rounded depends on where
# tensors lie in memory; without it a model would not have its own statistics to the last bit.
SHARE_TOLERANCE = 1e-12

# The smallest eigenvalue of the Gram matrix of the differences between models, relative to the largest, from which they
# are independent. Below it there is rounding only, and the shares of the models would be anything.
INDEPENDENT = 1e-12

# How far a point may be from the line or plane of the models, relative to the way between them, to have buffers of its
# own there: more than the rounding of weights in bfloat16.
OFF_THE_MODELS = 1e-2


class BatchStatistics:
    """Which statistics the batch norms of a module have at θ.

    Args:
        functional: the loss's own copy of the module. With "batch" its norms lose the statistics that are stored.
        source: "stored" in the module; "interpolated" between models; "re-estimated" from the data at θ; those of the
            "batch" itself. None: "stored", which nobody said.
        between: the models, for "interpolated" and nothing else.

    Raises:
        ValueError: another source, or `between` without "interpolated" or the other way round.
    """

    def __init__(
        self, functional: FunctionalModule, source: Buffers | None, between: InterpolatedStatistics | None = None
    ) -> None:
        self.stated = source is not None
        source = source or "stored"
        if source not in get_args(Buffers):
            raise ValueError(f"buffers is {source!r}: wanted one of {get_args(Buffers)}")
        if (source == "interpolated") != (between is not None):
            raise ValueError(
                f"buffers is {source!r} and between is {'missing' if between is None else 'given'}: wanted both "
                'buffers="interpolated" and between=(model, model), whose statistics are meant, or neither'
            )
        self.source: Buffers = source
        self.between = between
        self._functional = functional
        self._norms = {name: part for name, part in functional.module.named_modules() if isinstance(part, Norm)}
        if source == "batch":
            for norm in self._norms.values():  # without statistics a norm uses those of the batch, in eval mode too
                norm.running_mean = norm.running_var = norm.num_batches_tracked = None

    @property
    def depend_on_theta(self) -> bool:
        """Whether every point has statistics of its own, which `at` gives."""
        return self.source in ("interpolated", "re-estimated")

    @property
    def couple_examples(self) -> bool:
        """Whether the output of an example depends on the others."""
        return self.source in ("batch", "re-estimated")

    def of(self, functional: FunctionalModule) -> BatchStatistics:
        """The same choice for another copy of the module, `functional`."""
        return BatchStatistics(functional, self.source if self.stated else None, self.between)

    def borrowed(self, theta: Tensor, trained: Sequence[str]) -> tuple[str, ...]:
        """Those of the `trained` buffers that are at `theta` `(P,)` those of other weights, and nobody said so.

        Args:
            theta: a point; without models to interpolate between one that is not the module's own.
            trained: names of buffers that training writes (`other_models.trained_buffers`).
        """
        if self.between is not None:
            return () if self.between.distance(theta) < OFF_THE_MODELS else tuple(trained)
        if self.source == "re-estimated":
            return tuple(name for name in trained if name.rpartition(".")[0] not in self._norms)
        return () if self.stated else tuple(trained)

    @torch.no_grad()
    def at(self, theta: Tensor, batches: Batches) -> dict[str, Tensor]:
        """Buffers that belong to `theta` `(P,)`, by name; none where the module's own are meant.

        The copy of the module must hold θ (`FunctionalModule.at`). "re-estimated" takes one pass over `batches`.
        """
        if self.between is not None:
            module = self._functional.module
            return {name: tensor.to(module.get_buffer(name)) for name, tensor in self.between(theta).items()}
        norms = {name: norm for name, norm in self._norms.items() if norm.running_mean is not None}
        if self.source != "re-estimated" or not norms:
            return {}
        return reestimated_statistics(self._functional, norms, batches)


def reestimated_statistics(
    functional: FunctionalModule, norms: Mapping[str, Norm], batches: Batches
) -> dict[str, Tensor]:
    """The buffers of batch norms, by name, from one pass over the data with the weights that the copy holds.

    Means and unbiased variances of the batches, averaged by their examples, every norm seeing what those before it make
    of the same batch (`update_bn` of Garipov et al. 2018). Dropout stays off.

    Args:
        functional: the loss's own copy of the module.
        norms: parts of it, by name, that keep statistics.
        batches: the data.
    """
    statistics = {
        f"{name}.{leaf}": torch.zeros_like(getattr(norm, leaf))
        for name, norm in norms.items()
        for leaf in ("running_mean", "running_var", "num_batches_tracked")
    }
    momenta = {name: norm.momentum for name, norm in norms.items()}
    examples = 0
    try:
        with functional.with_buffers(statistics):
            for rows, batch in zip(batches.rows, batches, strict=True):
                examples += rows
                for norm in norms.values():
                    norm.training, norm.momentum = True, rows / examples
                functional.call(batch)
    finally:
        for name, norm in norms.items():
            norm.training, norm.momentum = False, momenta[name]
    return statistics


class InterpolatedStatistics:
    """Buffers as the affine function of θ that gives each of m models its own at its weights.

    On the straight line between two models, and on the plane through three, all floating-point entries of the state
    dict then move linearly together. Elsewhere they are those of the nearest point of that line or plane.

    Args:
        layout: which parameters make up θ.
        module: the loss's own copy, whose floating-point buffers are meant.
        models: of one architecture, or their state dicts; at least two. One copy of θ is kept for each.

    Raises:
        ValueError: fewer than two models, another architecture, weights that lie on a line where m is over two (or are
            all the same), or models that differ in parameters which θ does not hold.

    >>> a, b = (nn.BatchNorm1d(1) for _ in range(2))
    >>> _ = b.weight.data.fill_(3.0), b.running_mean.fill_(4.0)
    >>> statistics = InterpolatedStatistics(Layout.of(a), a, [a, b])
    >>> statistics(torch.tensor([1.5, 0.0]))["running_mean"]  # weight and bias a quarter of the way
    tensor([1.], dtype=torch.float64)
    """

    def __init__(self, layout: Layout, module: nn.Module, models: Sequence[nn.Module | Mapping[str, Tensor]]) -> None:
        if len(models) < 2:
            raise ValueError(f"between holds {len(models)} models: wanted two at least, or their state dicts")
        states = [model.state_dict() if isinstance(model, nn.Module) else model for model in models]
        tensors = {name: tensor for name, tensor in module.state_dict().items() if isinstance(tensor, Tensor)}
        buffers = [name for name, buffer in module.named_buffers() if name in tensors and buffer.is_floating_point()]
        for index, state in enumerate(states):
            lacking = [
                name for name, tensor in tensors.items() if getattr(state.get(name), "shape", None) != tensor.shape
            ]
            if lacking:
                raise ValueError(
                    f"model {index} of between has no {lacking[:5]} of the module's shape: wanted one architecture"
                )
        fixed = [name for name, _ in module.named_parameters() if name not in layout.slices]
        unequal = [name for name in fixed if any(not torch.equal(state[name], states[0][name]) for state in states[1:])]
        if unequal:
            raise ValueError(
                f"the models of between differ in {unequal[:5]}, which θ does not hold: wanted models that differ in θ "
                "and buffers alone (params= and include_frozen= say what θ holds)"
            )
        place = next(module.parameters()).device
        self._buffers = {name: torch.stack([state[name].detach().double() for state in states]) for name in buffers}
        self._first = first = layout.flatten(states[0]).detach().to(place)  # (P,)
        self._axes = torch.stack([layout.flatten(state).detach().to(place).sub_(first) for state in states[1:]])
        self._origin = self._overlaps(first)
        gram = torch.stack([self._overlaps(layout.flatten(state).detach()) - self._origin for state in states[1:]])
        self._gram = gram.T  # (m − 1, m − 1); its columns are what `weights` meets at the models, to the last bit
        if not bool(torch.isfinite(gram).all()):
            raise ValueError("a model of between has weights that are NaN or infinite: wanted finite ones")
        values = torch.linalg.eigvalsh((gram + gram.T) / 2)
        if not values[0] > INDEPENDENT * values[-1]:
            raise ValueError(
                "the models of between have the same weights, or three of them lie on one line: their buffers are then "
                "no function of θ"
            )

    def __len__(self) -> int:
        """The number of models."""
        return len(self._axes) + 1

    def weights(self, theta: Tensor) -> Tensor:
        """What each model counts at `theta` `(P,)`: `(m,)` in float64 with sum 1, exactly 0 and 1 at the models."""
        shares = torch.linalg.solve(self._gram, self._overlaps(theta.detach()) - self._origin)
        shares = torch.where((shares - shares.round()).abs() < SHARE_TOLERANCE, shares.round(), shares)
        return torch.cat([1 - shares.sum()[None], shares])

    def distance(self, theta: Tensor) -> float:
        """How far `theta` `(P,)` is from the line or plane of the models, relative to the way between them."""
        shares = self.weights(theta)[1:].to(self._axes)
        there = self._first + torch.tensordot(shares, self._axes, 1)
        return float((theta.to(there) - there).norm() / self._axes.norm(dim=1).max())

    def __call__(self, theta: Tensor) -> dict[str, Tensor]:
        """The buffers at `theta` `(P,)` by name, in float64."""
        weights = self.weights(theta)
        return {name: torch.tensordot(weights.to(values), values, 1) for name, values in self._buffers.items()}

    def _overlaps(self, theta: Tensor) -> Tensor:
        """Inner products with the axes, `(m − 1,)`, in float64 on the CPU."""
        total = torch.zeros(len(self._axes), dtype=torch.float64)
        size = hardware.FLOAT64_PARAMETERS
        for axes, part in zip(self._axes.split(size, dim=-1), theta.split(size), strict=True):
            total += (axes.double() @ part.to(axes.device).double()).cpu()
        return total
