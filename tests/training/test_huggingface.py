"""A real training of a tiny randomly initialised model by the Hugging Face Trainer with the callback."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

from lossatlas import Layout, Loss, trajectory_plane
from lossatlas.training.checkpoints import checkpoint_files, read_checkpoints
from lossatlas.training.huggingface import RecorderCallback
from tests.conftest import seeded

# Transformers and accelerate warn of pinned memory without a GPU, and of what their own dependencies deprecate.
pytestmark = pytest.mark.filterwarnings("ignore")


class Witness(TrainerCallback):
    """The weights at the end of every step."""

    def __init__(self) -> None:
        self.seen: dict[int, Tensor] = {}

    def on_train_begin(self, args, state, control, model=None, **_) -> None:
        self.on_step_end(args, state, control, model=model)

    def on_step_end(self, args, state, control, model=None, **_) -> None:
        self.seen[state.global_step] = parameters_to_vector(model.parameters()).detach().clone()


@pytest.fixture
def model() -> nn.Module:
    config = GPT2Config(
        vocab_size=11, n_positions=8, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0, pad_token_id=0
    )
    return seeded(lambda: GPT2LMHeadModel(config))


@pytest.fixture
def sentences(generator) -> list[dict[str, Tensor]]:
    tokens = torch.randint(1, 11, (12, 6), generator=generator)
    return [{"input_ids": row, "labels": row} for row in tokens]


def train(model: nn.Module, data: list, folder: Path, *callbacks: TrainerCallback, **knobs) -> Trainer:
    arguments = TrainingArguments(
        output_dir=str(folder / "out"), per_device_train_batch_size=4, num_train_epochs=2, learning_rate=0.01,
        report_to=[], disable_tqdm=True, use_cpu=True, logging_strategy="no", **{"save_strategy": "no", **knobs},
    )  # fmt: skip
    return Trainer(model=model, args=arguments, train_dataset=data, callbacks=list(callbacks))


def test_a_training_is_recorded_and_drawn(model, sentences, tmp_path):
    witness = Witness()
    train(model, sentences, tmp_path, witness, RecorderCallback(tmp_path / "a", every=2)).train()
    assert list(checkpoint_files(tmp_path / "a")) == [0, 2, 4, 6]
    expected = torch.stack([witness.seen[step] for step in (0, 2, 4, 6)])
    assert len(expected.unique(dim=0)) == 4
    loss = Loss.of(model, {key: torch.stack([row[key] for row in sentences]) for key in sentences[0]})
    found = read_checkpoints(tmp_path / "a", loss)
    assert torch.equal(found, expected)
    plane = trajectory_plane(loss, found, steps=3)
    assert float(plane.path_loss[-1]) == pytest.approx(float(loss(loss.theta)), rel=1e-6)


def test_a_training_that_goes_on_goes_on_in_the_same_folder(model, sentences, tmp_path):
    knobs = {"save_strategy": "steps", "save_steps": 4}
    train(model, sentences, tmp_path, RecorderCallback(tmp_path / "a", every=5, limit=3), **knobs).train()
    assert list(checkpoint_files(tmp_path / "a")) == [0, 5, 6]
    with pytest.raises(FileExistsError, match="give another folder"):
        train(model, sentences, tmp_path, RecorderCallback(tmp_path / "a"), **knobs).train()
    witness = Witness()
    again = train(model, sentences, tmp_path, witness, RecorderCallback(tmp_path / "a", every=1), **knobs)
    again.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-4"))
    assert list(checkpoint_files(tmp_path / "a")) == [0, 4, 5, 6]  # 5 is the new one
    found = read_checkpoints(tmp_path / "a", Layout.of(model))
    assert torch.equal(found[1:], torch.stack([witness.seen[step] for step in (4, 5, 6)]))
