"""Is the loss of somebody's own model what their own loop computes? Each check is a number with its limit."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from lossatlas.check import Check, Measured, checked
from lossatlas.loss.batches import Batch, cut, fresh, has_rows, is_graph, is_pair, join, rows_of, tensors_of
from lossatlas.loss.criteria import own_loss, supervised
from lossatlas.loss.few_examples import few_examples
from lossatlas.loss.functional_module import plain_transformer, untouched_randomness
from lossatlas.loss.loss import Loss
from lossatlas.model_report.problem import Problem
from lossatlas.operators.derivative_check import MARGIN, SOUND, Deviation, check_derivatives
from lossatlas.operators.hessian import Hessian

MOST_EXAMPLES = 2048  # of the batches that the user's own loop goes through; all of them where there are fewer
OF_STATISTICS = ("buffers", "between")  # options that the user's own loop cannot obey
MOVED = 0.3  # distance of the other point, relative to the size of the weights


@dataclass(frozen=True)
class Trial:
    """A problem's loss on its first batches, and the same by the user's own module."""

    problem: Problem
    batches: list[Batch]
    loss: Loss

    @cached_property
    def moved(self) -> Tensor:
        """θ beside the weights that were handed in."""
        noise = torch.randn(self.loss.layout.size, generator=torch.Generator().manual_seed(0)).to(self.loss.theta)
        return self.loss.theta + MOVED * (self.loss.theta.norm() / len(noise) ** 0.5).clamp_min(0.1) * noise

    @cached_property
    def precise(self) -> Loss:
        """In float64 where the model can be computed in it, whose differences say most."""
        try:
            return self.loss.to(torch.float64) if self.loss.dtype is torch.float32 else self.loss
        except (ValueError, TypeError, RuntimeError):
            return self.loss

    @cached_property
    def deviations(self) -> list[Deviation]:
        """Of derivatives, at the model's own weights and beside them."""
        points = self.loss.theta, self.moved
        return [one for theta in points for one in check_derivatives(self.precise, theta).deviations]

    @property
    def rounding(self) -> float:
        return 100 * torch.finfo(self.loss.dtype).eps

    def own(self, theta: Tensor) -> float:
        """The user's own module with θ in it, on the user's own batches, by the user's own criterion.

        The batches are joined where they can be, so that the mean is that over all examples and needs no weights.
        """
        module, criterion = self.problem.module, self.problem.criterion or own_loss
        forward = self.problem.options.get("forward") or supervised
        whole = self._whole()
        batches = self.batches if whole is None else [whole]
        with self._holding(theta), torch.no_grad(), untouched_randomness(), plain_transformer():
            values = [float(criterion(*forward(module, fresh(batch)))) for batch in batches]
        weights = [1.0] if len(batches) == 1 else self._weights()
        value = sum(weight * one for weight, one in zip(weights, values, strict=True))
        return value + (float(self.loss.penalty(theta)) if self.loss.penalty else 0.0)

    def _whole(self) -> Batch | None:
        """All batches as one; None where their tensors have not a row for each example, or do not fit together."""
        rows = [*map(rows_of, self.batches)]
        if "count" in self.problem.options or not all(map(has_rows, self.batches, rows)):
            return None
        return join(self.batches, rows)

    def _weights(self) -> list[float]:
        """What each of the user's batches counts where they are not joined; the loss may have cut them further."""
        averaging, sizes = self.loss._components.averaging, self.loss._components.data.rows
        if averaging.weighted_by == "sum":
            return [1.0] * len(self.batches)
        remaining, weights = (
            list(zip(sizes, (averaging.weights[:, 0] / averaging.divisors[0]).tolist(), strict=True)),
            [],
        )
        for rows in map(self.problem.options.get("count") or rows_of, self.batches):
            size = total = 0.0
            while remaining and size < rows:
                part, weight = remaining.pop(0)
                size, total = size + part, total + weight
            weights.append(total)
        return weights

    @contextmanager
    def _holding(self, theta: Tensor) -> Iterator[None]:
        """While it lasts, the user's module holds θ and is in eval mode; afterwards it is as it was, bit for bit."""
        module, named = self.problem.module, self.loss.layout.unflatten(theta)
        held = {name: tensor.detach().clone() for name, tensor in module.state_dict(keep_vars=True).items()
                if isinstance(tensor, Tensor)}  # fmt: skip
        modes = {part: part.training for part in module.modules()}
        try:
            with torch.no_grad():
                for name, parameter in module.named_parameters():
                    if name in named:
                        parameter.copy_(named[name])
            for name, part in self.loss.module.named_modules():
                module.get_submodule(name).training = part.training
            yield
        finally:
            with torch.no_grad():
                for name, tensor in module.state_dict(keep_vars=True).items():
                    if name in held and not torch.equal(tensor, held[name]):
                        tensor.copy_(held[name])
            for part, training in modes.items():
                part.training = training


def own_loop(trial: Trial) -> Measured:
    return _worst(trial, lambda theta: _relative(float(trial.loss(theta)), trial.own(theta)))


def one_by_one(trial: Trial) -> Measured:
    stack = torch.stack([trial.loss.theta, trial.moved])
    found, alone = trial.loss(stack), torch.stack([trial.loss(theta) for theta in stack])
    return Measured(max(_relative(float(a), float(b)) for a, b in zip(found, alone, strict=True)), trial.rounding)


def repeated(trial: Trial) -> Measured:
    return _worst(trial, lambda theta: _relative(float(trial.loss(theta)), float(trial.loss(theta))))


def precision(trial: Trial) -> Measured:
    if trial.precise is trial.loss:
        return Measured(0.0, trial.rounding)
    return _worst(trial, lambda theta: _relative(float(trial.loss(theta)), float(trial.precise(theta))), times=10)


def gradient(trial: Trial) -> Measured:
    return _derivative(trial, "the gradient")


def hessian(trial: Trial) -> Measured:
    return _derivative(trial, "the Hessian")


def symmetry(trial: Trial) -> Measured:
    return _derivative(trial, "the symmetry of the Hessian")


def rows(trial: Trial) -> Measured:
    """Products of several rows at once against one by one."""
    few = few_examples(trial.precise)
    product = Hessian(few, trial.moved)
    vectors = torch.randn(3, few.layout.size, generator=torch.Generator().manual_seed(1)).to(few.theta)
    together, alone = product(vectors), torch.cat([product(row[None]) for row in vectors])
    scale = float(alone.norm()) or 1.0
    return Measured(float((together - alone).norm()) / scale, 1e3 * torch.finfo(few.dtype).eps)


def untouched(trial: Trial) -> Measured:
    """Tensors, modes and hooks of the user's module, and of the batches, that probing has changed."""
    before = _state(trial)
    trial.loss.gradient(trial.moved)
    trial.loss(trial.moved)
    after = _state(trial)
    return Measured(sum(before.get(key) != after.get(key) for key in before | after), 0)


CHECKS: dict[str, tuple[str, Callable[[Trial], Measured]]] = {
    "own_loop": ("the loss, against your module in your own loop, at its weights and at others", own_loop),
    "repeated": ("the same weights twice", repeated),
    "one_by_one": ("points at once, against one by one", one_by_one),
    "precision": ("its precision, against float64", precision),
    "gradient": ("the gradient, against differences of values", gradient),
    "hessian": ("Hessian products, against differences of gradients", hessian),
    "symmetry": ("symmetry of the Hessian", symmetry),
    "rows": ("Hessian products at once, against one by one", rows),
    "untouched": ("what was changed of your module and batches", untouched),
}


def check_problem(problem: Problem, device: str | None = None) -> Iterator[Check]:
    """Every check of a problem, one after another; what a check says of a model, `docs/howto/right_number.md` has.

    Args:
        problem: of the user's. Its module is written to in two of the checks and put back bit for bit.
        device: where the loss is computed; None: where the module is.

    Raises:
        InputError: the loss cannot be made.
    """
    batches = first_batches(problem.data)
    options = {name: value for name, value in problem.options.items() if name not in OF_STATISTICS}
    options["buffers"] = "stored"  # as they are in the module that is compared with
    part = Problem(problem.module, batches, problem.criterion, metrics=problem.metrics, options=options)
    trial = Trial(problem, batches, part.losses(device=device)["train"])
    return (checked(name, what, measure, trial) for name, (what, measure) in CHECKS.items())


def first_batches(data: Any) -> list[Batch]:
    """Batches of the data as the user's own loop would have them, up to `MOST_EXAMPLES` or the first.

    Args:
        data: as `Problem.data`.
    """
    if isinstance(data, Dataset):
        shuffle = None if isinstance(data, IterableDataset) else False
        data = DataLoader(data, batch_size=256, shuffle=shuffle)
    elif is_graph(data):
        return [data]
    elif isinstance(data, (Tensor, Mapping)) or is_pair(data):
        whole = data
        if rows_of(whole) > MOST_EXAMPLES and all(len(one) == rows_of(whole) for one in tensors_of(whole) if one.ndim):
            whole = cut(whole, MOST_EXAMPLES)[0]
        return [whole]
    batches, examples = [], 0
    for batch in itertools.islice(data, MOST_EXAMPLES):
        batches.append(batch)
        examples += rows_of(batch)
        if examples >= MOST_EXAMPLES:
            break
    return batches


def _worst(trial: Trial, off: Callable[[Tensor], float], times: float = 1.0) -> Measured:
    """The larger of two deviations: at the model's own weights, and beside them."""
    return Measured(max(off(trial.loss.theta), off(trial.moved)), times * trial.rounding)


def _relative(one: float, other: float) -> float:
    return 0.0 if one == other else abs(one - other) / max(abs(one), abs(other))


def _derivative(trial: Trial, of: str) -> Measured:
    """The worse of two points; the limit is what differences there can tell."""
    found = [one for one in trial.deviations if one.of == of]
    worst = max(found, key=lambda one: one.value / _limit(one))
    return Measured(worst.value, _limit(worst))


def _limit(one: Deviation) -> float:
    return max(SOUND, MARGIN * one.error)


def _state(trial: Trial) -> dict[str, Any]:
    module = trial.problem.module
    held: dict[str, Any] = {
        name: (tensor.detach().cpu().numpy().tobytes(), tensor.data_ptr(), tensor.requires_grad, tensor.grad is None)
        for name, tensor in (*module.named_parameters(), *module.named_buffers())
        if tensor.dtype is not torch.bfloat16
    }
    held |= {f"mode of {name}": part.training for name, part in module.named_modules()}
    held |= {f"hooks of {name}": len(part._forward_hooks) for name, part in module.named_modules()}
    tensors = itertools.chain.from_iterable(map(tensors_of, trial.batches))
    return held | {
        f"tensor {place} of the data": (one._version, one.requires_grad) for place, one in enumerate(tensors)
    }
