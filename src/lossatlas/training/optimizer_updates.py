"""When is an update of the weights done? What one or several optimizers do, seen from outside."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import wraps
from types import FrameType
from typing import Any

from torch.optim import Optimizer

# Methods that make an update in two halves, the weights between them being perturbed ones: of sharpness-aware
# minimisation (Foret et al. 2021) in its widespread forms, which call no `step`.
HALVES = (("first_step", "second_step"), ("ascent_step", "descent_step"))


class OptimizerUpdates:
    """Calls `done()` after each update, which is complete when every optimizer has made one.

    An optimizer's update is its `step`, or the second of two halves; a half within `step`, or a `step` within a half,
    is a part of that. Hooks and methods are in place from `attach` to `detach`.

    Args:
        optimizers: one, or several.
        done: takes nothing.

    Raises:
        ValueError: something that is no `torch.optim.Optimizer`.
    """

    def __init__(self, optimizers: Optimizer | Iterable[Optimizer] | None, done: Callable[[], Any]) -> None:
        self._optimizers = _listed(optimizers)
        self._done = done
        self._updates: list[_Update] = []
        self._waited_for: set[int] = set()

    def attach(self) -> None:
        """From now on updates are seen."""
        self._waited_for = set(range(len(self._optimizers)))
        self._updates = [
            _Update(optimizer, lambda number=number: self._finished(number))
            for number, optimizer in enumerate(self._optimizers)
        ]

    def detach(self) -> None:
        """Leave every optimizer as it was."""
        for update in self._updates:
            update.detach()

    @property
    def in_the_middle(self) -> bool:
        """Whether some weights are updated and others are not, or all are perturbed."""
        return any(update.perturbed or update.call is not None for update in self._updates)

    @property
    def waiting(self) -> bool:
        """Whether some optimizers have made their update and others have not."""
        return 0 < len(self._waited_for) < len(self._optimizers)

    def _finished(self, number: int) -> None:
        self._waited_for.discard(number)
        if not self._waited_for:
            self._waited_for = set(range(len(self._optimizers)))
            self._done()


class _Update:
    """One optimizer's: `call` is the outermost one of its methods at work, None where none is."""

    def __init__(self, optimizer: Optimizer, finished: Callable[[], Any]) -> None:
        self.call: FrameType | None = None
        self.perturbed = False
        self._finished = finished
        self._hooks = [
            optimizer.register_step_pre_hook(lambda *_: self._enter(sys._getframe(1))),
            optimizer.register_step_post_hook(lambda *_: self._leave(sys._getframe(1), perturbed=False)),
        ]
        self._attributes = vars(optimizer)
        self._replaced = dict(self._attributes)
        self._halves: list[str] = []
        for halves in HALVES:
            for name, perturbs in zip(halves, (True, False), strict=True):
                if all(callable(getattr(optimizer, half, None)) for half in halves):
                    self._attributes[name] = self._seen(getattr(optimizer, name), perturbs=perturbs)
                    self._halves.append(name)

    def detach(self) -> None:
        for hook in self._hooks:
            hook.remove()
        for name in self._halves:
            if name in self._replaced:
                self._attributes[name] = self._replaced[name]
            else:
                del self._attributes[name]

    def _seen(self, method: Callable[..., Any], *, perturbs: bool) -> Callable[..., Any]:
        @wraps(method)
        def half(*args: Any, **kwargs: Any) -> Any:
            frame = sys._getframe()
            self._enter(frame)
            result = method(*args, **kwargs)
            self._leave(frame, perturbed=perturbs)
            return result

        return half

    def _enter(self, frame: FrameType) -> None:
        """A call that an exception has ended is not on the stack any more, and the next one is the outermost."""
        if self.call is None or not _on_stack(self.call):
            self.call = frame

    def _leave(self, frame: FrameType, *, perturbed: bool) -> None:
        if frame is self.call:
            self.call, self.perturbed = None, perturbed
            if not perturbed:
                self._finished()


def _on_stack(frame: FrameType) -> bool:
    caller: FrameType | None = sys._getframe()
    while caller is not None and caller is not frame:
        caller = caller.f_back
    return caller is not None


def _listed(optimizers: Optimizer | Iterable[Optimizer] | None) -> list[Optimizer]:
    if optimizers is None:
        return []
    listed = [optimizers] if isinstance(optimizers, Optimizer) or not isinstance(optimizers, Iterable) else optimizers
    distinct = list({id(optimizer): optimizer for optimizer in listed}.values())
    for optimizer in distinct:
        if not isinstance(optimizer, Optimizer):
            raise ValueError(
                f"optimizer holds a {type(optimizer).__name__}: wanted a torch.optim.Optimizer or several; for what is "
                "none, leave it out and say recorder.step() after each update"
            )
    return distinct
