"""Terms of the objective that depend on θ alone, kept apart from the loss on the data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lossatlas import hardware


@dataclass(frozen=True)
class Penalty:
    """λ‖θ‖²/2, whose gradient λθ is the `weight_decay=λ` of SGD and Adam, plus any function of θ `(P,)`.

    Args:
        weight_decay: λ, per square of a parameter's unit; from 0 up.
        function: θ `(P,)` -> a scalar tensor, which is differentiated twice for curvature.

    Raises:
        ValueError: λ is negative or not finite.

    >>> Penalty(weight_decay=0.5)(torch.tensor([2.0, 2.0])).item()
    2.0
    """

    weight_decay: float = 0.0
    function: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError(f"weight_decay is {self.weight_decay}: wanted a finite number from 0 up")

    def __bool__(self) -> bool:
        return bool(self.weight_decay) or self.function is not None

    def __call__(self, theta: Tensor) -> Tensor:
        """The penalty at one point `theta` `(P,)`, a float64 scalar that can be differentiated.

        Raises ValueError where the function of θ gives no scalar tensor.
        """
        total = torch.zeros((), dtype=torch.float64, device=theta.device)
        if self.weight_decay:
            for part in theta.split(hardware.FLOAT64_PARAMETERS):
                total = total + self.weight_decay / 2 * part.double().square().sum()
        if self.function is not None:
            value = self.function(theta)
            if not isinstance(value, Tensor) or value.ndim:
                shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise ValueError(f"penalty(θ) is {shape} for θ of shape {tuple(theta.shape)}: wanted a scalar tensor")
            total = total + value
        return total
