"""Flat parameter vectors θ and the named tensors of a module, one as the view of the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Self

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Layout:
    """Which parameters make up θ, in `named_parameters()` order: tied ones once, frozen ones left out.

    The order is that of `torch.nn.utils.parameters_to_vector`. θ is `(P,)`, a stack of points `(n, P)`.

    >>> layout = Layout.of(nn.Linear(3, 2))
    >>> layout.names, layout.size
    (('weight', 'bias'), 8)
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, module: nn.Module) -> Self:
        trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
        if not trained:
            raise ValueError(
                f"{type(module).__name__} has no parameter with requires_grad: there is no landscape to look at"
            )
        return cls(tuple(trained), tuple(tuple(p.shape) for p in trained.values()))

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        return tuple(torch.Size(shape).numel() for shape in self.shapes)

    @property
    def size(self) -> int:
        """P, the number of parameters."""
        return sum(self.sizes)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Where each named tensor lies in θ."""
        stops = list(accumulate(self.sizes))
        starts = [0, *stops[:-1]]
        return {name: slice(a, b) for name, a, b in zip(self.names, starts, stops, strict=True)}

    def flatten(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """`{name: (..., *shape)}` -> `(..., P)`; names beyond the layout's are ignored."""
        missing = [name for name in self.names if name not in tensors]
        if missing:
            raise ValueError(f"the parameters {missing} are missing; got {sorted(tensors)}")
        parts = []
        for name, shape in zip(self.names, self.shapes, strict=True):
            tensor = tensors[name]
            lead = tensor.ndim - len(shape)
            if lead < 0 or tuple(tensor.shape[lead:]) != shape:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}, wanted {shape}")
            parts.append(tensor.reshape(*tensor.shape[:lead], -1))
        return torch.cat(parts, dim=-1)

    def unflatten(self, theta: Tensor) -> dict[str, Tensor]:
        """`(..., P)` -> `{name: (..., *shape)}`, views of θ."""
        self.check(theta)
        # One split, not a slice per tensor: its backward is one concatenation.
        parts = theta.split(self.sizes, dim=-1)
        return {
            name: part.reshape(*part.shape[:-1], *shape)
            for name, part, shape in zip(self.names, parts, self.shapes, strict=True)
        }

    def check(self, theta: Tensor) -> None:
        """Raise ValueError unless θ has P entries in its last dimension."""
        if theta.ndim == 0 or theta.shape[-1] != self.size:
            raise ValueError(
                f"θ has shape {tuple(theta.shape)}, but the module has {self.size} parameters: "
                f"wanted ({self.size},) or (n, {self.size})"
            )

    def theta_of(self, module: nn.Module) -> Tensor:
        """The module's present parameters as a detached copy, `(P,)`."""
        return self.flatten({name: p.detach() for name, p in module.named_parameters()}).clone()
