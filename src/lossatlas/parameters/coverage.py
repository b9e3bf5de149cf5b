"""How much of a module θ holds, and what it leaves out."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from itertools import takewhile
from typing import Self

from torch import nn

from lossatlas.parameters.layout import Layout

# The share of a module's parameters below which θ is told to the caller who did not choose it. A head or an adapter
# that is trained alone holds less; a model of which an embedding or some layers are frozen holds more, and is still
# itself.
HARDLY = 0.1

NAMED = 3  # parts of a module that a line names, the largest; of the others it says how many they are


@dataclass(frozen=True)
class Coverage:
    """Parameters that θ holds, of all that the module has; tied ones count once.

    Args:
        held: entries of θ.
        total: entries of all parameters of the module.
        left_out: entries by why and where, such as ("frozen", "encoder"): a child of the module, or of what it wraps.
    """

    held: int
    total: int
    left_out: dict[tuple[str, str], int]

    @classmethod
    def of(cls, module: nn.Module, layout: Layout) -> Self:
        """What the `layout` holds of the `module`.

        >>> network = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
        >>> _ = network[0].requires_grad_(False)
        >>> print(Coverage.of(network, Layout.of(network)))
        3 of 11 parameters (frozen: 8 in '0')
        """
        parameters = dict(module.named_parameters())
        levels = zip(*(name.split(".")[:-1] for name in parameters), strict=False)
        common = len(list(takewhile(lambda names: len(set(names)) == 1, levels)))  # wrappers with a single child
        left_out: Counter[tuple[str, str]] = Counter()
        for name, parameter in parameters.items():
            if name not in layout.slices:
                reason = "not chosen by params" if parameter.requires_grad else "frozen"
                left_out[reason, ".".join(name.split(".")[: common + 1])] += parameter.numel()
        return cls(layout.size, sum(parameter.numel() for parameter in parameters.values()), dict(left_out))

    @property
    def whole(self) -> bool:
        """Whether θ is the module."""
        return self.held == self.total

    @property
    def share(self) -> str:
        """How many of how many, "640 of 105,920"."""
        return f"{self.held:,} of {self.total:,}"

    def __str__(self) -> str:
        if self.whole:
            return f"all {self.total:,} parameters"
        reasons = sorted({reason for reason, _ in self.left_out})
        told = "; ".join(f"{reason}: {self._parts(reason)}" for reason in reasons)
        return f"{self.share} parameters ({told})"

    def _parts(self, reason: str) -> str:
        parts = sorted(((count, part) for (why, part), count in self.left_out.items() if why == reason), reverse=True)
        told, rest = [f"{count:,} in {part!r}" for count, part in parts[:NAMED]], parts[NAMED:]
        return ", ".join([*told, f"{sum(count for count, _ in rest):,} in {len(rest)} others"] if rest else told)

    def warn_of_little(self) -> None:
        """Say so, to the caller of `Loss.of`, where θ is hardly the module."""
        if self.held < HARDLY * self.total:
            warnings.warn(
                f"θ holds {self}: the landscape is that of these alone; say which are meant by params=, or take the "
                "frozen ones too, include_frozen=True",
                stacklevel=4,
            )
