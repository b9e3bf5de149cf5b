"""What is asked or said where a loss is measured at the weights of other models than its own."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from torch import Tensor

from lossatlas.loss.other_models import borrowed_buffers
from lossatlas.probes.sampling import Losses, by_split

CHOICES = (
    'Loss.of(..., buffers="interpolated", between=(a, b)) with those models or their state dicts, "re-estimated" from '
    'the data at every point, or "stored", those of the loss\'s module everywhere'
)


def refuse_borrowed_buffers(losses: Losses, models: Mapping[str, Tensor]) -> None:
    """Raise ValueError where the loss of a model would be measured with the buffers of another, and nobody said so.

    Args:
        losses: one `Loss`, or a mapping of them by split.
        models: `(P,)` each, by what messages call them.
    """
    if found := _borrowed(losses, models):
        raise ValueError(
            f"{found[0]} would be measured with buffers that training wrote for another model, {_listed(found[1])}, "
            f"and that is not its own loss: say which are meant, {CHOICES}"
        )


def warn_of_borrowed_buffers(losses: Losses, points: Mapping[str, Tensor]) -> None:
    """Say to the caller of a probe where `refuse_borrowed_buffers` would refuse.

    Args:
        losses: one `Loss`, or a mapping of them by split.
        points: `(P,)` each, by what messages call them.
    """
    if found := _borrowed(losses, points):
        warnings.warn(
            f"{found[0]} is measured with buffers that training wrote for other weights, {_listed(found[1])}: losses "
            f"there are not those that the weights had with their own; say which are meant, {CHOICES}",
            stacklevel=4,
        )


def _borrowed(losses: Losses, points: Mapping[str, Tensor]) -> tuple[str, tuple[str, ...]] | None:
    """The first of the points that has other weights' buffers, and which."""
    return next(filter(None, (borrowed_buffers(loss, points) for loss in by_split(losses).values())), None)


def _listed(names: tuple[str, ...]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
