"""Operations whose second derivative torch lacks or gets wrong, made of others that it differentiates rightly.

Each has the arguments and, up to rounding, the values of torch's own. Seen with torch 2.13: `_weight_norm` gives a
Hessian that is not symmetric; `group_norm` fails, or is wrong, where several rows are pulled back at once; the others
raise. The gradient of `embedding` leaves out the row at `padding_idx`, or scales rows: it is not that of the values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from lossatlas.loss.ctc import ctc_loss

SCALED_BEYOND = 1e-7  # torch's embedding_renorm_ adds it to the norm that it divides by
BROADCAST_POINTS = 25  # up to which torch computes Euclidean distances from differences, not by a matrix product


def weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """g v / ‖v‖.

    Args:
        v: the directions, of the weight's shape.
        g: the lengths, of the shape of the norms.
        dim: the axis of which every index has a norm of its own; −1 for a single norm.
    """
    if dim == -1:
        return v * (g / torch.linalg.vector_norm(v))
    others = [axis for axis in range(v.ndim) if axis != dim % v.ndim]
    return v * (g / torch.linalg.vector_norm(v, dim=others, keepdim=True))


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Tensor:  # fmt: skip
    """Groups of channels, each with mean 0 and variance 1, then times `weight` plus `bias` `(channels,)`.

    Args:
        input: `(n, channels, ...)`.
        num_groups: into which the channels are divided.
        weight: of every channel.
        bias: of every channel.
        eps: added to the variance.
        cudnn_enabled: without a meaning here.
    """
    groups = input.reshape(len(input), num_groups, -1)
    normalized = F.layer_norm(groups, groups.shape[2:], eps=eps).reshape(input.shape)
    channels = (-1, *[1] * (input.ndim - 2))
    normalized = normalized if weight is None else normalized * weight.reshape(channels)
    return normalized if bias is None else normalized + bias.reshape(channels)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """(x + 3) / 6 between 0 and 1, for every x of `input`, which is written to if `inplace` says so."""
    values = F.relu6(input + 3) / 6
    return input.copy_(values) if inplace else values


def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str = "use_mm_for_euclid_dist_if_necessary") -> Tensor:
    """Distances of every point of `x1` `(..., n, d)` from every one of `x2` `(..., m, d)`: `(..., n, m)`.

    Args:
        x1: points.
        x2: points.
        p: of the norm.
        compute_mode: when torch multiplies matrices instead, which has a second derivative.
    """
    many = max(x1.shape[-2], x2.shape[-2]) > BROADCAST_POINTS
    multiplied = compute_mode == "use_mm_for_euclid_dist" or (compute_mode.endswith("if_necessary") and many)
    if p == 0 or (p == 2 and multiplied):
        return torch.cdist(x1, x2, p, compute_mode)
    return _lengths(x1.unsqueeze(-2) - x2.unsqueeze(-3), p)


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """Distances in the `p`-norm of all pairs of rows of `input` `(n, d)`: `(n (n − 1) / 2,)`."""
    first, second = torch.triu_indices(len(input), len(input), 1, device=input.device)
    return _lengths(input[first] - input[second], p)


def _lengths(differences: Tensor, p: float) -> Tensor:
    """Norms along the last axis; where a difference is 0, so are all derivatives, as in torch's."""
    apart = (differences != 0).any(-1)
    lengths = torch.linalg.vector_norm(torch.where(apart[..., None], differences, 1.0), p, dim=-1)
    return torch.where(apart, lengths, 0.0)


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of `weight`, with the derivatives of the values: no row is left out or scaled, and none is written to.

    Args:
        input: indices of rows.
        weight: `(rows, d)`.
        padding_idx: without a meaning here, as it changes the gradient alone.
        max_norm: to which longer rows are scaled.
        norm_type: of that norm.
        scale_grad_by_freq: without a meaning here.
        sparse: without a meaning here.
    """
    rows = F.embedding(input, weight)
    if max_norm is None:
        return rows
    lengths = _lengths(rows, norm_type)[..., None]
    return torch.where(lengths > max_norm, rows * (max_norm / (lengths + SCALED_BEYOND)), rows)


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Sums, means or maxima of rows of `weight`, `(bags, d)`; 0 for a bag without rows.

    Args:
        input: indices of rows, `(bags, rows of each)`, or those of all bags `(n,)`.
        weight: `(rows, d)`.
        offsets: where bags begin, for indices `(n,)`.
        max_norm, norm_type, scale_grad_by_freq: as in `embedding`.
        mode: "sum", "mean" or "max".
        sparse: without a meaning here.
        per_sample_weights: what each index counts in a sum.
        include_last_offset: whether the last of the offsets is the end.
        padding_idx: of the row that does not count.
    """
    indices, bags, count = _bags(input, offsets, include_last_offset)
    counted = torch.ones_like(bags, dtype=torch.bool) if padding_idx is None else indices != padding_idx % len(weight)
    bags = bags[counted]
    rows = embedding(indices[counted], weight, max_norm=max_norm, norm_type=norm_type)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.reshape(-1)[counted][:, None]
    empty = rows.new_zeros(count, rows.shape[1])
    if mode == "max":
        return empty.scatter_reduce(0, bags[:, None].expand_as(rows), rows, "amax", include_self=False)
    sums = empty.index_add(0, bags, rows)
    return sums / torch.bincount(bags, minlength=count).clamp_min(1)[:, None] if mode == "mean" else sums


def _bags(input: Tensor, offsets: Tensor | None, include_last_offset: bool) -> tuple[Tensor, Tensor, int]:
    """All indices `(n,)`, the bag of each, and the number of bags."""
    if input.ndim == 2 or offsets is None:
        bags = torch.arange(len(input), device=input.device).repeat_interleave(input.shape[1])
        return input.reshape(-1), bags, len(input)
    starts = offsets[:-1] if include_last_offset else offsets
    places = torch.arange(len(input), device=input.device, dtype=starts.dtype)
    return input, torch.searchsorted(starts, places, right=True) - 1, len(starts)


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Σ max(0, margin − score of the target + other score)ᵖ / classes.

    Args:
        input: scores `(n, classes)`, or `(classes,)`.
        target: classes `(n,)`.
        p: 1 or 2.
        margin: by which the target's score is to be the largest.
        weight: of every class.
        reduction: "mean", "sum" or "none" over examples.
    """
    scores, classes = torch.atleast_2d(input), target.reshape(-1, 1)
    terms = (margin - scores.gather(1, classes) + scores).clamp_min(0) ** p
    terms = terms if weight is None else terms * weight[classes]
    losses = terms.scatter(1, classes, 0.0).sum(1) / scores.shape[1]
    return _reduced(losses.reshape(target.shape), reduction)


def multilabel_margin_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Σ max(0, 1 − score of a target + score of another class) / classes.

    Args:
        input: scores `(n, classes)`, or `(classes,)`.
        target: classes up to the first −1, of the same shape.
        reduction: "mean", "sum" or "none" over examples.
    """
    scores, labels = torch.atleast_2d(input), torch.atleast_2d(target)
    counted = (labels >= 0).cumprod(1).bool()
    classes = torch.where(counted, labels, 0)
    wanted = torch.zeros_like(labels).scatter_reduce(1, classes, counted.to(labels.dtype), "amax").bool()
    terms = (1 - scores.gather(1, classes)[:, :, None] + scores[:, None, :]).clamp_min(0)  # (n, targets, classes)
    losses = torch.where(counted[:, :, None] & ~wanted[:, None, :], terms, 0.0).sum((1, 2)) / scores.shape[1]
    return _reduced(losses.reshape(input.shape[:-1]), reduction)


def linear_cross_entropy(*args: Any, **kwargs: Any) -> Tensor:
    """A linear layer and the cross-entropy of its outputs, not in parts of the batch, whose Hessian would be 0.

    Args:
        *args: as torch's own takes them.
        **kwargs: the same; `options` about the parts are left out.
    """
    return F.linear_cross_entropy(*args, **kwargs | {"options": None})


def _reduced(losses: Tensor, reduction: str) -> Tensor:
    return losses.mean() if reduction == "mean" else losses.sum() if reduction == "sum" else losses


def _without_cudnn(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same by torch's own kernels: those of cuDNN have no second derivative, and in eval mode no first one."""

    def call(*args: Any, **kwargs: Any) -> Any:
        with torch.backends.cudnn.flags(enabled=False):
            return function(*args, **kwargs)

    return call


EMBEDDING_OPTIONS = ("max_norm", "scale_grad_by_freq", "sparse")
RECURRENT = (torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu)
REPLACEMENTS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch._weight_norm: weight_norm,  # pyright: ignore[reportPrivateImportUsage]
    torch.group_norm: group_norm,
    torch.cdist: cdist,
    torch.pdist: pdist,
    F.group_norm: group_norm,
    F.hardsigmoid: hardsigmoid,
    F.embedding: embedding,
    F.embedding_bag: embedding_bag,
    F.multi_margin_loss: multi_margin_loss,
    F.multilabel_margin_loss: multilabel_margin_loss,
    F.ctc_loss: ctc_loss,
    **{function: _without_cudnn(function) for function in RECURRENT},
}
if hasattr(F, "linear_cross_entropy"):  # since torch 2.13
    REPLACEMENTS[F.linear_cross_entropy] = linear_cross_entropy

LEGACY = ("size_average", "reduce")  # what `reduction` was once called; where they are used, torch's own loss stays
NO_CHECKPOINTS = (
    "activation checkpointing does not go with operations to which lossatlas gives a second derivative (group norm, "
    "weight norm and others), since its second pass is without it: switch checkpointing off for this module"
)


def replacement(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Any] | None:
    """What stands in place of an operation in a call; None where torch's own derivatives are right.

    Args:
        func: the operation.
        args: of the call, those by position.
        kwargs: of the call, those by name.
    """
    if func in RECURRENT and not args[0].is_cuda:
        return None
    if func is F.embedding and kwargs.get("padding_idx") is None and not any(map(kwargs.get, EMBEDDING_OPTIONS)):
        return None
    if any(kwargs.get(name) is not None for name in LEGACY):
        return None
    return REPLACEMENTS.get(func)


class DifferentiableOperations(TorchFunctionMode):
    """Puts what is in `REPLACEMENTS` in place of torch's operations inside the block."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        other = replacement(func, args, kwargs)
        if other is None:
            return func(*args, **kwargs)
        return other(*args, **{name: value for name, value in kwargs.items() if name not in LEGACY})


class ReplaceableOperations(TorchFunctionMode):
    """Sees whether there is an operation inside the block that `DifferentiableOperations` would replace."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.seen |= replacement(func, args, kwargs) is not None
        return func(*args, **kwargs)
