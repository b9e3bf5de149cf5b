"""Checkpoints of the user's own training, and the trajectory read back from them.

A checkpoint is a safetensors file, `step=000100.safetensors`, with every parameter under the first of its names and the
buffers that a state dict has; `safetensors.torch.load_model(module, file)` puts one back.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from safetensors.torch import load_file
from torch import Tensor, distributed, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim import Optimizer

from lossatlas.parameters.layout import Layout
from lossatlas.training.checkpoints import (
    checkpoint_files,
    named_tensors,
    read_checkpoint,
    save_tensors,
)
from lossatlas.training.optimizer_updates import OptimizerUpdates
from lossatlas.training.weights import COMPILED

FEWEST = 3  # checkpoints that a trajectory plane takes


class Recorder:
    """Writes the weights while you train: the initial ones, those after every so many steps, and the last.

        with Recorder(model, "checkpoints", every=100, optimizer=optimizer):
            train as usual

    The last weights are also written when training ends by an exception or Ctrl-C, unless that came in the middle of
    an optimizer's step, and where they changed in a way that nothing counted, which a warning says. The module, its
    mode, the optimizer and all random streams stay as they are. Where several processes train together, the first one
    writes. Costs a copy of the weights in memory and the time to write it, during which training waits.

    Args:
        module: what is trained, also inside torch.compile or DistributedDataParallel; or the part of it that matters.
        folder: where to; it may hold other files, but checkpoints only with `resume`.
        every: optimizer steps from one checkpoint to the next.
        optimizer: whose steps are counted; of several, a step is done when every one has made its own. Two half steps
            (`first_step` and `second_step`, as for sharpness-aware minimisation) are one, and the perturbed weights
            between them are not recorded. Without an optimizer, say `recorder.step()` after each.
        limit: most checkpoints to keep, at least three. Over it, `every` doubles and those in between are deleted.
        resume: go on in a folder with checkpoints. True: where the last one is, whose weights the module must have. A
            number: after so many steps; checkpoints later than that are deleted.

    Raises:
        FileExistsError: the folder holds checkpoints and `resume` is not given.
        ValueError: `every` or `limit` is too small, the optimizer is none of torch's, or with `resume` the module has
            other weights than the last checkpoint.
    """

    def __init__(
        self,
        module: nn.Module,
        folder: str | Path,
        *,
        every: int = 100,
        optimizer: Optimizer | Iterable[Optimizer] | None = None,
        limit: int | None = None,
        resume: bool | int = False,
    ) -> None:
        if every < 1:
            raise ValueError(f"every is {every}: wanted a number of steps from 1 up")
        if limit is not None and limit < FEWEST:
            raise ValueError(f"limit is {limit}: wanted at least {FEWEST} checkpoints, fewer make no trajectory")
        self.module = _bare(module)
        self.layout = Layout.of(self.module)  # says it where there is nothing to train
        self.folder = Path(folder)
        self.every = every
        self.steps = 0  # done so far
        self._limit, self._resume = limit, resume
        self._updates = OptimizerUpdates(optimizer, self.step)
        self._written: int | None = None  # the step of the newest checkpoint

    def __repr__(self) -> str:
        written = "nothing" if self._written is None else f"step {self._written:,}"
        return (
            f"Recorder({type(self.module).__name__}, {self.layout.size:,} parameters, into {str(self.folder)!r} every "
            f"{self.every:,} steps: {self.steps:,} done, {written} written last)"
        )

    def __enter__(self) -> Self:
        there = checkpoint_files(self.folder)
        if _writes():
            self._prepare(there)
        if self._resume is not False:
            self.steps = max(there, default=0) if self._resume is True else self._resume
        if self._written is None:
            self._write()
        self._updates.attach()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._updates.detach()
        if self._updates.in_the_middle:  # some weights are updated and some are not, or all are perturbed
            return
        if self._updates.waiting:  # one of several optimizers came last
            self.steps += 1
        elif self._written == self.steps and self._changed():
            self.steps += 1
            warnings.warn(
                f"the weights changed after step {self.steps - 1} by something that was not counted: they are recorded "
                f"as step {self.steps}; say recorder.step() after each update that is not by the optimizer given",
                stacklevel=2,
            )
        if self._written != self.steps:
            self._write()
        self._thin(keep_last=True)

    def step(self, done: int | None = None) -> None:
        """Count one step of the optimizer, or say with `done` how many have been done; write a checkpoint where one is
        due.
        """
        before, self.steps = self.steps, self.steps + 1 if done is None else done
        if self.steps // self.every > before // self.every:
            self._write()
            self._thin()

    def _prepare(self, there: Mapping[int, Path]) -> None:
        """Check or clear what lies in the folder already."""
        if not there:
            return
        last = max(there)
        if self._resume is False:
            raise FileExistsError(
                f"{self.folder} holds {len(there)} checkpoints of an earlier training, the last of step {last}: "
                "give another folder, delete them, or go on with resume=True"
            )
        if self._resume is True:
            if not torch.equal(read_checkpoint(there[last], self.layout), self.layout.theta_of(self.module).cpu()):
                raise ValueError(
                    f"the weights are not those of {there[last]}, with which the record ends: load them first, or "
                    "say after how many steps training goes on, resume=STEPS"
                )
            self._written = last
            return
        for step, file in there.items():
            if step > self._resume:
                file.unlink()

    def _write(self) -> None:
        if _writes():
            save_tensors(named_tensors(self.module), self.folder / f"step={self.steps:06d}.safetensors")
        self._written = self.steps

    def _changed(self) -> bool:
        """Whether the weights are others than in the newest checkpoint; where only buffers are, it is written anew."""
        if not _writes():
            return False
        file = checkpoint_files(self.folder).get(self.steps)
        recorded, now = load_file(file) if file else {}, named_tensors(self.module)
        different = {name for name in now if name not in recorded or not _same(now[name], recorded[name])}
        if not different:
            return False
        self._written = None
        return bool(file) and any(name.replace(COMPILED, "") in different for name, _ in self.module.named_parameters())

    def _thin(self, *, keep_last: bool = False) -> None:
        """Double `every` until what it leaves is within the limit, and delete the rest."""
        if self._limit is None or not _writes():
            return
        there = checkpoint_files(self.folder)
        kept = list(there)
        while len(kept) > self._limit:
            self.every *= 2
            kept = _thinned(list(there), self.every, keep_last=keep_last)
        for step in set(there).difference(kept):
            there[step].unlink()


def _bare(module: nn.Module) -> nn.Module:
    """The module inside torch.compile and parallel wrappers."""
    while True:
        if isinstance(compiled := getattr(module, COMPILED[:-1], None), nn.Module):
            module = compiled
        elif isinstance(module, (DataParallel, DistributedDataParallel)):
            module = module.module
        else:
            return module


def _same(a: Tensor, b: Tensor) -> bool:
    """Bit for bit, but for the many kinds of NaN."""
    return a.shape == b.shape and a.dtype == b.dtype and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)


def _writes() -> bool:
    """Whether this process is the only one, or the first of those that train together."""
    return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0


def _thinned(steps: list[int], every: int, *, keep_last: bool) -> list[int]:
    """The first of `steps`, then the first in each stretch of `every` steps, and the very last where wanted.

    >>> _thinned([0, 100, 200, 300, 400, 450], 200, keep_last=True)
    [0, 200, 400, 450]
    """
    kept = steps[:1]
    for step in steps[1:]:
        if step // every > kept[-1] // every:
            kept.append(step)
    return [*kept, steps[-1]] if keep_last and kept[-1] != steps[-1] else kept
