"""The recorder as a callback of Lightning, from the package `lightning` or `pytorch_lightning`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lossatlas.training.recorder import Recorder

try:
    from lightning.pytorch import Callback, LightningModule, Trainer  # pyright: ignore[reportMissingImports]
except ModuleNotFoundError:  # both names are one framework, and one of them is usually there
    from pytorch_lightning import Callback, LightningModule, Trainer  # pyright: ignore[reportMissingImports]


class RecorderCallback(Callback):  # pyright: ignore[reportGeneralTypeIssues]
    """Writes checkpoints for `read_checkpoints` while Lightning trains.

        Trainer(callbacks=[RecorderCallback("checkpoints", every=100)])

    Steps are Lightning's `global_step`: those of all optimizers together. A fit that goes on from a Lightning
    checkpoint goes on in the same folder; what was recorded after that step is deleted.

    Args:
        folder: where to.
        every: optimizer steps from one checkpoint to the next.
        limit: most checkpoints to keep, at least three; see `Recorder`.
        part: the submodule to record, by name, where not all of the LightningModule matters ("net").
    """

    def __init__(self, folder: str | Path, *, every: int = 100, limit: int | None = None, part: str = "") -> None:
        self.folder, self.every, self.limit, self.part = folder, every, limit, part
        self._recorder: Recorder | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._recorder = Recorder(
            pl_module.get_submodule(self.part), self.folder, every=self.every, limit=self.limit,
            resume=trainer.global_step or False,
        ).__enter__()  # fmt: skip

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if self._recorder is not None and trainer.global_step > self._recorder.steps:  # not while gradients accumulate
            self._recorder.step(trainer.global_step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.__exit__(None, None, None)
