"""The recorder as a callback of the Hugging Face Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import (  # pyright: ignore[reportMissingImports]
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from lossatlas.training.recorder import Recorder


class RecorderCallback(TrainerCallback):
    """Writes checkpoints for `read_checkpoints` while the Trainer trains.

        Trainer(..., callbacks=[RecorderCallback("checkpoints", every=100)])

    Training that is resumed from a Trainer's checkpoint goes on in the same folder; what was recorded after that step
    is deleted. The Trainer does not tell callbacks of exceptions: then the last weights are not written, and all
    checkpoints before are kept.

    Args:
        folder: where to.
        every: optimizer steps from one checkpoint to the next.
        limit: most checkpoints to keep, at least three; see `Recorder`.
    """

    def __init__(self, folder: str | Path, *, every: int = 100, limit: int | None = None) -> None:
        self.folder, self.every, self.limit = folder, every, limit
        self._recorder: Recorder | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._recorder = Recorder(
            kwargs["model"], self.folder, every=self.every, limit=self.limit, resume=state.global_step or False
        ).__enter__()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._recorder is not None:
            self._recorder.step(state.global_step)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.__exit__(None, None, None)
