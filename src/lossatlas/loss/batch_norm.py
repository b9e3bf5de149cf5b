"""What several models keep beside their weights (batch statistics), as a function of θ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lossatlas.parameters.layout import Layout

PIECE = 2**22  # parameters multiplied at once, so that no second copy of a large θ is made in float64
SNAP = 1e-12  # how sums are rounded depends on where tensors lie in memory: so near to a model is at it


class Between:
    """Buffers as the affine function of θ that gives each of m models its own at its weights.

    On the straight line between two models, and on the plane through three, all floating-point entries of the state
    dict then move linearly together. Elsewhere they are those of the nearest point of that line or plane.

    Args:
        models: of one architecture, or their state dicts; at least two. One copy of θ is kept for each but the first.

    Raises:
        ValueError: fewer than two models, another architecture, weights that lie on a line where m is over two (or are
            all the same), or models that differ in parameters which θ does not hold.

    >>> a, b = (nn.BatchNorm1d(1) for _ in range(2))
    >>> _ = b.weight.data.fill_(3.0), b.running_mean.fill_(4.0)
    >>> between = Between(Layout.of(a), a, [a, b])
    >>> between(torch.tensor([1.5, 0.0]))["running_mean"]  # weight and bias a quarter of the way
    tensor([1.], dtype=torch.float64)
    """

    def __init__(self, layout: Layout, module: nn.Module, models: Sequence[nn.Module | Mapping[str, Tensor]]) -> None:
        if len(models) < 2:
            raise ValueError(f"between holds {len(models)} models: wanted two at least, or their state dicts")
        states = [model.state_dict() if isinstance(model, nn.Module) else model for model in models]
        own = {name: tensor for name, tensor in module.state_dict().items() if isinstance(tensor, Tensor)}
        moving = [name for name, buffer in module.named_buffers() if name in own and buffer.is_floating_point()]
        for index, state in enumerate(states):
            odd = [name for name, tensor in own.items() if getattr(state.get(name), "shape", None) != tensor.shape]
            if odd:
                raise ValueError(
                    f"model {index} of between has no {odd[:5]} of the module's shape: wanted one architecture"
                )
        still = [name for name, _ in module.named_parameters() if name not in layout.slices]
        apart = [name for name in still if any(not torch.equal(state[name], states[0][name]) for state in states[1:])]
        if apart:
            raise ValueError(
                f"the models of between differ in {apart[:5]}, which θ does not hold: wanted models that differ in θ "
                "and buffers alone (params= and include_frozen= say what θ holds)"
            )
        place = next(module.parameters()).device
        self._buffers = {name: torch.stack([state[name].detach().double() for state in states]) for name in moving}
        first = layout.flatten(states[0]).detach().to(place)  # (P,)
        self._axes = torch.stack([layout.flatten(state).detach().to(place).sub_(first) for state in states[1:]])
        self._origin = self._overlaps(first)
        gram = torch.stack([self._overlaps(layout.flatten(state).detach()) - self._origin for state in states[1:]])
        self._gram = gram.T  # (m − 1, m − 1); its columns are what `weights` meets at the models, to the last bit
        if not bool(torch.isfinite(gram).all()):
            raise ValueError("a model of between has weights that are NaN or infinite: wanted finite ones")
        values = torch.linalg.eigvalsh((gram + gram.T) / 2)
        if not values[0] > 1e-12 * values[-1]:
            raise ValueError(
                "the models of between have the same weights, or three of them lie on one line: their buffers are then "
                "no function of θ"
            )

    def __len__(self) -> int:
        """The number of models."""
        return len(self._axes) + 1

    def weights(self, theta: Tensor) -> Tensor:
        """What each model counts at θ `(P,)`: `(m,)` in float64 with sum 1, exactly 0 and 1 at the models."""
        others = torch.linalg.solve(self._gram, self._overlaps(theta.detach()) - self._origin)
        others = torch.where((others - others.round()).abs() < SNAP, others.round(), others)
        return torch.cat([1 - others.sum()[None], others])

    def __call__(self, theta: Tensor) -> dict[str, Tensor]:
        """The buffers at θ `(P,)` by name, in float64."""
        weights = self.weights(theta)
        return {name: torch.tensordot(weights.to(values), values, 1) for name, values in self._buffers.items()}

    def _overlaps(self, theta: Tensor) -> Tensor:
        """Inner products with the axes, `(m − 1,)`, in float64 on the CPU."""
        total = torch.zeros(len(self._axes), dtype=torch.float64)
        for axes, part in zip(self._axes.split(PIECE, dim=-1), theta.split(PIECE), strict=True):
            total += (axes.double() @ part.to(axes.device).double()).cpu()
        return total
