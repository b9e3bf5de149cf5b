"""A real fit of Lightning with the callback, against the weights that a callback of our own has seen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector
from torch.utils.data import DataLoader, TensorDataset

from lossatlas import Layout
from lossatlas.training.checkpoints import checkpoint_files, read_checkpoints
from lossatlas.training.lightning import RecorderCallback

# Lightning warns of few workers, of a missing logger, and of what its own dependencies deprecate.
pytestmark = pytest.mark.filterwarnings("ignore")


class Classifier(LightningModule):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        inputs, targets = batch
        return nn.functional.cross_entropy(self.net(inputs), targets)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.net.parameters(), lr=0.01)


class Witness(Callback):
    """The weights at the end of every batch by global step, and an exception at one of them."""

    def __init__(self, stop_at: int | None = None, error: type[BaseException] = RuntimeError) -> None:
        self.seen: dict[int, Tensor] = {}
        self.stop_at, self.error = stop_at, error

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.on_train_batch_end(trainer, module)

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_) -> None:
        self.seen[trainer.global_step] = parameters_to_vector(module.parameters()).detach().clone()
        if trainer.global_step == self.stop_at:
            raise self.error


def trainer(folder: Path, *callbacks: Callback, epochs: int = 2, accumulate: int = 1) -> Trainer:
    return Trainer(
        max_epochs=epochs, callbacks=list(callbacks), default_root_dir=folder, accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        accumulate_grad_batches=accumulate,
    )  # fmt: skip


@pytest.fixture
def classifier(mlp: nn.Module) -> Classifier:
    return Classifier(mlp)


@pytest.fixture
def loader(moons) -> DataLoader:
    return DataLoader(TensorDataset(*moons), batch_size=8)  # five batches


def test_a_fit_is_recorded(classifier, loader, tmp_path):
    witness = Witness()
    trainer(tmp_path, witness, RecorderCallback(tmp_path / "a", every=4)).fit(classifier, loader)
    assert list(checkpoint_files(tmp_path / "a")) == [0, 4, 8, 10]
    expected = torch.stack([witness.seen[step] for step in (0, 4, 8, 10)])
    assert torch.equal(read_checkpoints(tmp_path / "a", Layout.of(classifier)), expected)
    assert torch.equal(read_checkpoints(tmp_path / "a", Layout.of(classifier.net)), expected)


def test_steps_are_those_of_the_optimizer_and_a_part_can_be_recorded(classifier, loader, tmp_path):
    classifier.frozen_copy = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 2)).requires_grad_(False)
    recorder = RecorderCallback(tmp_path / "a", every=1, limit=5, part="net")
    trainer(tmp_path, recorder, accumulate=2).fit(classifier, loader)
    assert list(checkpoint_files(tmp_path / "a")) == [0, 2, 4, 6]  # 3 steps an epoch
    assert read_checkpoints(tmp_path / "a", Layout.of(classifier.net)).shape == (4, 27)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_keeps_what_was_there(classifier, loader, tmp_path, error):
    witness = Witness(stop_at=3, error=error)
    fit = trainer(tmp_path, RecorderCallback(tmp_path / "a", every=2), witness)
    with pytest.raises((RuntimeError, SystemExit, KeyboardInterrupt)):
        fit.fit(classifier, loader)
    assert list(checkpoint_files(tmp_path / "a")) == [0, 2, 3]
    assert torch.equal(read_checkpoints(tmp_path / "a", Layout.of(classifier))[-1], witness.seen[3])


def test_a_fit_that_goes_on_goes_on_in_the_same_folder(classifier, loader, tmp_path):
    recorder = RecorderCallback(tmp_path / "a", every=3)
    first = trainer(tmp_path, recorder, epochs=1)
    first.fit(classifier, loader)
    first.save_checkpoint(tmp_path / "state.ckpt")
    with pytest.raises(FileExistsError, match="give another folder"):
        trainer(tmp_path, RecorderCallback(tmp_path / "a")).fit(classifier, loader)
    assert list(checkpoint_files(tmp_path / "a")) == [0, 3, 5]
    witness = Witness()
    second = trainer(tmp_path, witness, RecorderCallback(tmp_path / "a", every=3))
    second.fit(classifier, loader, ckpt_path=tmp_path / "state.ckpt")
    assert min(witness.seen) == 5
    assert list(checkpoint_files(tmp_path / "a")) == [0, 3, 5, 6, 9, 10]
    found = read_checkpoints(tmp_path / "a", Layout.of(classifier))
    assert torch.equal(found[2:], torch.stack([witness.seen[step] for step in (5, 6, 9, 10)]))
