"""Flat parameter vectors θ and the named tensors of a module, one as the view of the other."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import accumulate
from typing import Self

import torch
from torch import Tensor, nn


@dataclass(frozen=True, repr=False)
class Layout:
    """Which parameters make up θ, in `named_parameters()` order: tied ones once, frozen ones left out unless wanted.

    The order is that of `torch.nn.utils.parameters_to_vector`. θ is `(P,)`, a stack of points `(n, P)`. Make one with
    `Layout.of`.

    Args:
        names: of the parameters, in the order of θ.
        shapes: of each of them.

    >>> layout = Layout.of(nn.Linear(3, 2))
    >>> layout.names, layout.size
    (('weight', 'bias'), 8)
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, module: nn.Module, params: str | Sequence[str] = "*", *, include_frozen: bool = False) -> Self:
        """The layout of the parameters whose name matches one of the patterns, as a shell matches file names.

        A tied parameter has all its names, and goes by the first.

        Args:
            module: whose parameters they are.
            params: one pattern of names or several, such as "encoder.*".
            include_frozen: take those without requires_grad, too.

        Raises:
            ValueError: a pattern matches nothing (the message lists the names that there are), or a parameter has no
                shape yet or is not floating-point.

        >>> network = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
        >>> Layout.of(network, "1.*").names
        ('1.weight', '1.bias')
        """
        kind = type(module).__name__
        parameters = dict(module.named_parameters())
        if not parameters:
            raise ValueError(f"{kind} has no parameters: there is no landscape to look at")
        wanted = {name: p for name, p in parameters.items() if include_frozen or p.requires_grad}
        if not wanted:
            raise ValueError(
                f"{kind} has no parameter with requires_grad: there is no landscape to look at; "
                "for the frozen ones say include_frozen=True"
            )
        chosen = _matching(module, [params] if isinstance(params, str) else list(params), wanted)
        lazy = [name for name in chosen if nn.parameter.is_lazy(wanted[name])]
        if lazy:
            raise ValueError(f"the parameters {lazy} have no shape yet: run one batch through the module first")
        other = [name for name in chosen if not wanted[name].is_floating_point()]
        if other:
            raise ValueError(f"the parameters {other} are {wanted[other[0]].dtype}: wanted real floating-point ones")
        return cls(tuple(chosen), tuple(tuple(wanted[name].shape) for name in chosen))

    def only(self, names: Collection[str]) -> Self:
        """The layout of these `names` alone, in the same order as here; ValueError where there is no such one.

        >>> Layout.of(nn.Linear(3, 2)).only(["bias"])
        Layout(2 parameters: bias (2,))
        """
        unknown = [name for name in names if name not in self.slices]
        if unknown or not names:
            raise ValueError(
                f"got the parameters {unknown or 'of no name'}: wanted some of {_listed(list(self.names))}"
            )
        kept = [(name, shape) for name, shape in zip(self.names, self.shapes, strict=True) if name in names]
        return type(self)(tuple(name for name, _ in kept), tuple(shape for _, shape in kept))

    def __repr__(self) -> str:
        tensors = [f"{name} {shape}" for name, shape in zip(self.names, self.shapes, strict=True)]
        return f"Layout({self.size:,} parameters: {_listed(tensors, 4)})"

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
        """θ `(..., P)` from `tensors`, `{name: (..., *shape)}`; names beyond the layout's are ignored.

        Raises ValueError where a parameter is missing or has another shape.
        """
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
        """Named tensors `{name: (..., *shape)}` from `theta`, θ `(..., P)`: views of it."""
        self.check(theta)
        # One split, not a slice per tensor: its backward is one concatenation.
        parts = theta.split(self.sizes, dim=-1)
        return {
            name: part.reshape((*part.shape[:-1], *shape))
            for name, part, shape in zip(self.names, parts, self.shapes, strict=True)
        }

    def check(self, theta: Tensor, *, single: bool = False) -> None:
        """Raise ValueError unless `theta` has P entries in its last dimension, and with `single` no other dimension."""
        if not isinstance(theta, Tensor):
            raise ValueError(
                f"θ is a {type(theta).__name__}: wanted a flat tensor; loss.layout.theta_of(module) and "
                "loss.layout.flatten(state_dict) give one, and torch.stack makes one of several"
            )
        if single and theta.ndim > 1 and theta.shape[-1] == self.size:
            raise ValueError(f"θ has shape {tuple(theta.shape)}, a stack of points: wanted one, ({self.size},)")
        if theta.ndim == 0 or theta.shape[-1] != self.size:
            raise ValueError(
                f"θ has shape {tuple(theta.shape)}, but the module has {self.size} parameters: "
                f"wanted ({self.size},) or (n, {self.size})"
            )

    def theta_of(self, module: nn.Module) -> Tensor:
        """The present parameters of `module` as a detached copy, `(P,)`."""
        return self.flatten({name: p.detach() for name, p in module.named_parameters()})  # a new tensor, always


def _matching(module: nn.Module, patterns: list[str], wanted: Mapping[str, nn.Parameter]) -> list[str]:
    """First names, in the module's order, of the wanted parameters that match a pattern by any of their names."""
    first = {id(parameter): name for name, parameter in wanted.items()}
    chosen: set[str] = set()
    for pattern in patterns:
        matched = {
            first[id(parameter)]
            for name, parameter in module.named_parameters(remove_duplicate=False)
            if id(parameter) in first and fnmatchcase(name, pattern)
        }
        if not matched:
            frozen = any(fnmatchcase(name, pattern) for name, _ in module.named_parameters(remove_duplicate=False))
            raise ValueError(
                f"params={pattern!r} matches no parameter"
                + (" that is not frozen (include_frozen=True takes those too)" if frozen else "")
                + f"; there are: {_listed(list(wanted))}"
            )
        chosen |= matched
    if not chosen:
        raise ValueError(f"params is empty: wanted one pattern at least; there are: {_listed(list(wanted))}")
    return [name for name in wanted if name in chosen]


def _listed(names: list[str], most: int = 40) -> str:
    return ", ".join(names[:most]) + (f", and {len(names) - most} more" if len(names) > most else "")
