"""Accuracies: means over targets, whose reading is decided by shapes alone, and told where two of them fit.

What is no mean over examples (F1, AUROC, mean IoU, R²) is accumulated over batches: see `loss.accumulation`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from lossatlas.loss.batches import describe
from lossatlas.loss.criteria import IGNORED

PROBABILITIES = "all outputs lie between 0 and 1"  # how the warning starts that `Loss.of` makes an error

SAYING = 'metrics={{"accuracy": functools.partial(lossatlas.{}, {})}}'  # how a keyword is given with a metric

SUM_TOLERANCE = 1e-2  # of probabilities from 1; in bfloat16 those of many classes miss it by as much


def accuracy(
    output: Tensor,
    target: Tensor,
    *,
    class_dim: int | None = None,
    threshold: float | None = None,
    ignore_index: int = IGNORED,
) -> Tensor:
    """Fraction of targets that are the class with the largest logit, or of one logit whether it is above 0: a scalar.

    Classes are the last dimension of the output, `(N, C)` with `(N,)` or `(N, T, C)` with `(N, T)`, or, as torch's
    losses have it, the second, `(N, C, H, W)` with `(N, H, W)`: whichever leaves the shape of the target. One logit a
    target is `(N,)` or `(N, 1)`, with targets 0 and 1 in either shape. Several outputs and as many targets an example
    are labels or classes by choice: `multilabel_accuracy` or `one_hot_accuracy`. NaN where no target counts.

    Args:
        output: logits.
        target: labels of any type.
        class_dim: the dimension of the classes, where the shapes leave a choice.
        threshold: above which one logit means 1; by default 0. Of probabilities: 0.5.
        ignore_index: targets that do not count.

    Raises:
        ValueError: no reading fits the shapes or two do, or a target is no class.

    >>> accuracy(torch.tensor([[0.1, 2.0], [0.3, 0.2], [1.0, 0.0]]), torch.tensor([1, 0, 1]))
    tensor(0.6667)
    >>> accuracy(torch.tensor([[-1.0], [2.0], [3.0], [-4.0]]), torch.tensor([0, 1, 0, 0]))
    tensor(0.7500)
    """
    _check_logits("accuracy", output, target)
    dim = _dimension_of_classes("accuracy", output.shape, target.shape, class_dim)
    if dim is None:
        above = _above("accuracy", output.reshape(target.shape), threshold)
        return _binary("accuracy", above, target, output.dtype, ignore_index=ignore_index)
    _check_labels("accuracy", target, output.shape[dim], ignore_index=ignore_index)
    return _fraction(output.argmax(dim) == target, _counted(target, ignore_index), output.dtype)


def top_k_accuracy(
    k: int, *, class_dim: int | None = None, ignore_index: int = IGNORED
) -> Callable[[Tensor, Tensor], Tensor]:
    """The metric that says of which fraction of targets the class is among the `k` largest logits.

    Args:
        k: from 1 up; the output has as many classes at least.
        class_dim: as for `accuracy`.
        ignore_index: targets that do not count.

    Raises:
        ValueError: k is below 1; from the metric also where the shapes do not fit, or there are fewer classes.

    >>> top_2 = top_k_accuracy(2)
    >>> top_2(torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]), torch.tensor([1, 2]))
    tensor(0.5000)
    """
    if k < 1:
        raise ValueError(f"k is {k}: wanted a number of classes from 1 up")
    return partial(_top_k, k=k, class_dim=class_dim, ignore_index=ignore_index)


def multilabel_accuracy(
    output: Tensor, target: Tensor, *, threshold: float | None = None, ignore_index: int = IGNORED
) -> Tensor:
    """Fraction of labels that are right, a scalar: every output is one logit with a target of its own, 0 or 1.

    Args:
        output: logits `(N, L)`, or of any other shape.
        target: 0 and 1 in the same shape, of any type.
        threshold: above which a logit means 1; by default 0. Of probabilities: 0.5.
        ignore_index: targets that do not count.

    Raises:
        ValueError: the shapes differ, or a target is neither 0 nor 1.

    >>> multilabel_accuracy(torch.tensor([[1.0, -2.0, 3.0]]), torch.tensor([[1.0, 1.0, 1.0]]))
    tensor(0.6667)
    """
    _check_logits("multilabel_accuracy", output, target)
    if output.shape != target.shape:
        raise ValueError(_misfit("multilabel_accuracy", output.shape, target.shape) + ": wanted one shape of both")
    above = _above("multilabel_accuracy", output, threshold)
    return _binary("multilabel_accuracy", above, target, output.dtype, ignore_index=ignore_index)


def one_hot_accuracy(
    output: Tensor, target: Tensor, *, class_dim: int | None = None, ignore_index: int = IGNORED
) -> Tensor:
    """Fraction of examples whose largest logit is the most probable class of the target, a scalar.

    Args:
        output: logits `(N, C)`, or with classes in another dimension.
        target: in the same shape, a 1 among zeros or probabilities.
        class_dim: the dimension of the classes; needed where there are more than two.
        ignore_index: an example whose targets are all this does not count.

    Raises:
        ValueError: the shapes differ, or the targets of an example do not add up to 1.

    >>> one_hot_accuracy(torch.tensor([[2.0, 1.0], [2.0, 1.0]]), torch.tensor([[0.9, 0.1], [0.0, 1.0]]))
    tensor(0.5000)
    """
    name = "one_hot_accuracy"
    _check_logits(name, output, target)
    if output.shape != target.shape or output.ndim < 1:
        raise ValueError(_misfit(name, output.shape, target.shape) + ": wanted one shape of both, (N, C)")
    if class_dim is None and output.ndim > 2:
        raise ValueError(
            f"{_misfit(name, output.shape, target.shape)}: wanted the dimension of the classes, "
            + SAYING.format(name, "class_dim=1")
        )
    dim = -1 if class_dim is None else class_dim
    counted = _counted(target, ignore_index).any(dim)
    _check_sums(target, counted, dim)
    return _fraction(output.argmax(dim) == target.to(output.dtype).argmax(dim), counted, output.dtype)


def _top_k(output: Tensor, target: Tensor, *, k: int, class_dim: int | None, ignore_index: int) -> Tensor:
    _check_logits("top_k_accuracy", output, target)
    dim = _dimension_of_classes("top_k_accuracy", output.shape, target.shape, class_dim)
    classes = 1 if dim is None else output.shape[dim]
    if dim is None or classes < k:
        raise ValueError(
            f"{_misfit('top_k_accuracy', output.shape, target.shape)}, of which {k} of {classes} classes are to be "
            "taken: wanted as many classes at least; one logit a target is for lossatlas.accuracy"
        )
    _check_labels("top_k_accuracy", target, classes, ignore_index=ignore_index)
    right = (output.topk(k, dim).indices == target.unsqueeze(dim)).any(dim)
    return _fraction(right, _counted(target, ignore_index), output.dtype)


def _counted(target: Tensor, ignore_index: int) -> Tensor:
    """Which targets count; in uint8 a label of 156 would equal −100."""
    return (target.long() if target.dtype == torch.uint8 else target) != ignore_index


def _fraction(right: Tensor, counted: Tensor, dtype: torch.dtype) -> Tensor:
    """Sums of ones are exact in float32 up to 2²⁴, in half precision up to 2,048 only."""
    wide = torch.promote_types(dtype, torch.float32)
    return (right & counted).sum().to(wide) / counted.sum()


def _binary(name: str, above: Tensor, target: Tensor, dtype: torch.dtype, *, ignore_index: int) -> Tensor:
    counted = _counted(target, ignore_index)
    if _is_known(target):
        other = target[counted & (target != 0) & (target != 1)]
        if len(other):
            raise ValueError(f"{name}: a target is {other[0].item():g}: wanted 0 or 1, one for each logit")
    return _fraction(above == target, counted, dtype)


def _above(name: str, output: Tensor, threshold: float | None) -> Tensor:
    """Which outputs mean 1. Probabilities that are taken for logits all do, which is told where values can be seen."""
    if threshold is None and output.numel() and _is_known(output):
        least, most = output.aminmax()
        if least >= 0 and 0 < most <= 1:
            warnings.warn(
                f"{PROBABILITIES}, and {name} takes them for logits, of which 1 is above 0: of probabilities say "
                f"{SAYING.format(name, 'threshold=0.5')}, of logits threshold=0",
                stacklevel=4,
            )
    return output > (0 if threshold is None else threshold)


def _dimension_of_classes(name: str, output: torch.Size, target: torch.Size, class_dim: int | None) -> int | None:
    """Which dimension of `output` has the classes that `target` names; None where there is one logit for each target.

    ValueError where no reading fits the shapes, or two do.
    """
    places = (1, -1) if class_dim is None else (class_dim,)
    dims = sorted({dim % len(output) for dim in places if -len(output) <= dim < len(output)})
    fitting = [dim for dim in dims if _without(output, dim) == target]
    if len(fitting) > 1 and output[1] > 1:
        raise ValueError(
            f"{_misfit(name, output, target)}: dimension 1 and the last may be the classes; say which, "
            f"{SAYING.format(name, 'class_dim=1')} or class_dim=-1"
        )
    if fitting:
        return None if output[fitting[0]] == 1 else fitting[0]
    if class_dim is None:  # (N, 1), and images (N, 1, H, W), are of one logit; (N, 1, C) may be of C classes
        single = output == target and (len(output) < 2 or (output[1] == 1 and len(output) != 3))
    else:
        single = output == target and bool(dims) and output[dims[0]] == 1
    if single or any(
        target[dim] == 1 and _without(target, dim) == output for dim in (1, -1) if -1 <= dim < len(target)
    ):
        return None
    wanted = "wanted (N, C) with (N,), (N, C, ...) or (N, ..., C) with (N, ...), or one logit, (N,) or (N, 1) with (N,)"
    if output == target:
        wanted = (
            "use lossatlas.multilabel_accuracy where every target is a label of its own, lossatlas.one_hot_accuracy "
            "where those of an example are one class or probabilities"
        )
    raise ValueError(f"{_misfit(name, output, target)}: {wanted}")


def _without(shape: torch.Size, dim: int) -> tuple[int, ...]:
    sizes = list(shape)
    del sizes[dim]
    return tuple(sizes)


def _misfit(name: str, output: torch.Size, target: torch.Size) -> str:
    return f"{name} of outputs {tuple(output)} and targets {tuple(target)}"


def _check_logits(name: str, output: Tensor, target: Tensor) -> None:
    if not (isinstance(output, Tensor) and isinstance(target, Tensor)):
        raise ValueError(
            f"{name} of {describe(output)} and {describe(target)}: wanted two tensors; take them out, "
            f"lambda output, target: lossatlas.{name}(output.logits, target)"
        )
    if not output.is_floating_point():
        raise ValueError(f"{name}: the outputs are {describe(output)}: wanted logits, of a floating-point type")


def _check_labels(name: str, target: Tensor, classes: int, *, ignore_index: int) -> None:
    if not _is_known(target):
        return
    counted = target[_counted(target, ignore_index)]
    wrong = counted[~((counted >= 0) & (counted < classes) & (counted == counted.long()))]
    if len(wrong):
        raise ValueError(
            f"{name}: a target is {wrong[0].item():g} and there are {classes} classes: wanted 0 to {classes - 1}; what "
            f"does not count is said by {SAYING.format(name, f'ignore_index={wrong[0].item():g}')}"
        )


def _check_sums(target: Tensor, counted: Tensor, dim: int) -> None:
    if not _is_known(target):
        return
    sums = target.double().sum(dim)[counted]
    wrong = sums[~((sums - 1).abs() <= SUM_TOLERANCE)]
    if len(wrong):
        raise ValueError(
            f"one_hot_accuracy: the targets of an example add up to {wrong[0].item():.4g}: wanted 1, of a class or of "
            "probabilities; for labels that are each on or off use lossatlas.multilabel_accuracy"
        )


def _is_known(tensor: Tensor) -> bool:
    """Whether values can be looked at: not inside vmap, of what differs from point to point."""
    return not torch._C._functorch.is_functorch_wrapped_tensor(tensor)  # pyright: ignore[reportAttributeAccessIssue]
