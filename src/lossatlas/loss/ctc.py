"""Connectionist temporal classification by its forward recursion, which can be differentiated twice."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# The logarithm of a chance of 0: −∞ has no derivative, and sums of this one stay far below any logarithm of a chance.
IMPOSSIBLE = -1e30

Lengths = Tensor | Sequence[int]


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths,
    target_lengths: Lengths,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Minus the logarithm of the chance of `targets` (Graves et al. 2006, equations 6 to 8), as `F.ctc_loss` has it.

    Args:
        log_probs: `(times, n, classes)`, or `(times, classes)`.
        targets: classes `(n, labels)`, or those of all examples one after the other.
        input_lengths: times of each example.
        target_lengths: labels of each example.
        blank: the class that stands for no label.
        reduction: "mean" over examples of the loss by label, "sum" or "none".
        zero_infinity: whether a loss that is infinite counts as 0.
    """
    single = log_probs.ndim == 2
    chances = log_probs[:, None] if single else log_probs
    times, labels = (
        torch.as_tensor(lengths, device=chances.device).reshape(-1) for lengths in (input_lengths, target_lengths)
    )
    classes = _with_blanks(_padded(targets, labels), blank)  # (n, 2 labels + 1)
    paths = _last_chances(chances, classes, times, blank)
    ends = paths.gather(1, torch.stack([2 * labels, (2 * labels - 1).clamp_min(0)], 1))
    ends = torch.where(torch.stack([labels >= 0, labels > 0], 1), ends, IMPOSSIBLE)  # without labels there is one end
    losses = -ends.logsumexp(1)
    losses = torch.where(losses > -IMPOSSIBLE / 2, 0.0 if zero_infinity else torch.inf, losses)
    if reduction == "mean":
        return (losses / labels.clamp_min(1)).mean()
    return losses.sum() if reduction == "sum" else losses[0] if single else losses


def _padded(targets: Tensor, lengths: Tensor) -> Tensor:
    """Targets `(n, labels)`, from those, or from all of them in one row."""
    if targets.ndim == 2 or len(lengths) == 1:
        return targets.reshape(len(lengths), -1)
    parts = targets.split(lengths.tolist())
    return torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True)


def _with_blanks(targets: Tensor, blank: int) -> Tensor:
    """A blank before, between and after the labels."""
    classes = targets.new_full((len(targets), 2 * targets.shape[1] + 1), blank)
    classes[:, 1::2] = targets
    return classes.long()


def _last_chances(log_probs: Tensor, classes: Tensor, times: Tensor, blank: int) -> Tensor:
    """Logarithms of the chance that the labels up to each place of `classes` are read by the last time, `(n, places)`.

    A place is reached from itself, from the one before, and past a blank between two labels that differ.
    """
    emitted = log_probs.gather(2, classes.expand(len(log_probs), -1, -1))  # (times, n, places)
    places = torch.arange(classes.shape[1], device=classes.device)
    skips = torch.zeros_like(classes, dtype=torch.bool)
    skips[:, 2:] = (classes[:, 2:] != blank) & (classes[:, 2:] != classes[:, :-2])
    paths = torch.where(places < 2, emitted[0], IMPOSSIBLE)
    for time in range(1, len(emitted)):
        ways = [paths, _moved(paths, 1), torch.where(skips, _moved(paths, 2), IMPOSSIBLE)]
        paths = torch.where((time < times)[:, None], torch.stack(ways).logsumexp(0) + emitted[time], paths)
    return paths


def _moved(paths: Tensor, places: int) -> Tensor:
    """Each row a number of places further on."""
    return torch.nn.functional.pad(paths, (places, 0), value=IMPOSSIBLE)[:, : paths.shape[1]]
