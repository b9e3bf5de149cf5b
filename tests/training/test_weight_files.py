"""Checkpoints that other programs wrote: their order, and the state dict in them."""

from __future__ import annotations

import argparse
import copy
import random

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lossatlas import Layout, Loss, Problem
from lossatlas.errors import InputError
from lossatlas.training.checkpoints import read_checkpoints
from lossatlas.training.weight_files import weight_files
from lossatlas.training.weights import state_of, theta_of

ORDERS = {
    "epochs": [f"epoch_{i}.pt" for i in range(1, 13)],
    "ckpt": ["ckpt-5.pth", "ckpt-10.pth", "ckpt-100.pth"],
    "steps after a metric": [f"val_loss={v}-step={s}.ckpt" for v, s in (("0.91", 8), ("0.5", 90), ("0.731", 100))],
    "a number after a metric": [f"{v}_{s}.pt" for v, s in (("0.91", 8), ("0.5", 90), ("0.731", 100))],
    "epoch and step": ["step=90-epoch=1.ckpt", "step=8-epoch=2.ckpt", "step=10-epoch=2.ckpt"],
    "half epochs": ["resnet18-epoch0.5.pt", "resnet18-epoch1.pt", "resnet18-epoch1.5.pt", "resnet18-epoch10.pt"],
    "exponents": ["loss1e-05_step3.pt", "loss2e-06_step20.pt"],
    "dates": ["2024-01-09_3.pt", "2024-01-10_1.pt", "2024-02-01_2.pt"],
}


@pytest.mark.parametrize("kind", ORDERS)
def test_files_are_in_the_order_of_their_numbers(kind, mlp, tmp_path):
    wanted = ORDERS[kind]
    for name in random.Random(0).sample(wanted, len(wanted)):
        with torch.no_grad():
            mlp[0].bias.fill_(wanted.index(name))
        torch.save(mlp.state_dict(), tmp_path / name)
    assert [file.name for file in weight_files(tmp_path)] == wanted
    path = read_checkpoints(tmp_path, Layout.of(mlp, "0.bias"))
    assert path[:, 0].tolist() == list(range(len(wanted)))


def test_the_problem_reads_the_same_folder(mlp, moons, tmp_path):
    for epoch in (2, 10, 9):
        nn.init.constant_(mlp[0].bias, epoch)
        save_file(mlp.state_dict(), tmp_path / f"model-{epoch}.safetensors")
    problem = Problem(mlp, moons, nn.CrossEntropyLoss(), checkpoints=tmp_path, options={"params": "0.bias"})
    path = problem.trajectory(problem.losses()["train"])
    assert path[:, 0].tolist() == [2, 9, 10, 9]  # the model itself is the last


def test_what_has_no_place_in_the_order_is_left_out_and_said(mlp, tmp_path):
    for name in ("epoch_2.pt", "epoch_10.pt", "best.pt", "last.pth", ".hidden_3.pt"):
        torch.save(mlp.state_dict(), tmp_path / name)
    with pytest.warns(UserWarning, match=r"best, last have no number .* left out"):
        assert [file.name for file in weight_files(tmp_path)] == ["epoch_2.pt", "epoch_10.pt"]
    for name in ("epoch_2.pt", "epoch_10.pt"):
        (tmp_path / name).unlink()
    with pytest.warns(UserWarning, match=r"best, last have no numbers .* order of the alphabet"):
        assert [file.name for file in weight_files(tmp_path)] == ["best.pt", "last.pth"]


def test_one_name_of_two_kinds_is_one_checkpoint_and_folders_are_read(mlp, tmp_path):
    for folder in ("checkpoint-500", "checkpoint-1000"):
        (tmp_path / folder).mkdir()
        save_file(mlp.state_dict(), tmp_path / folder / "model.safetensors")
    assert [file.parent.name for file in weight_files(tmp_path)] == ["checkpoint-500", "checkpoint-1000"]
    save_file(mlp.state_dict(), tmp_path / "step_1.safetensors")
    torch.save(mlp.state_dict(), tmp_path / "step_1.pt")
    assert [file.name for file in weight_files(tmp_path)] == ["step_1.safetensors"]
    assert weight_files(tmp_path / "nowhere") == []


# What is in them ----------------------------------------------------------------------------------------------


def checkpoints(module):
    state, average = module.state_dict(), {f"module.{k}": v for k, v in module.state_dict().items()}
    optimizer = torch.optim.Adam(module.parameters())
    sum(parameter.sum() for parameter in module.parameters()).backward()
    optimizer.step()
    other = nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 1)).state_dict()
    rest = {"optimizer_state_dict": optimizer.state_dict(), "epoch": 3, "loss": torch.tensor(0.3)}
    return {
        **{name: {name: state, **rest} for name in ("state_dict", "model_state_dict", "model", "net", "weights")},
        "module": {"module": average, **rest},
        "nested": {"trainer": {"state": {"model": state}}, **rest},
        "generator": {"G": state, "D": other},
        "flat": {**{f"network.{k}": v for k, v in state.items()}, "epoch": 3},
        "averaged": {"averaged": {**average, "n_averaged": torch.tensor(4)}},
    }


@pytest.mark.parametrize("kind", checkpoints(nn.Linear(1, 1)))
def test_the_state_dict_in_a_checkpoint_is_found(kind, mlp, moons, tmp_path):
    loss = Loss.of(copy.deepcopy(mlp), moons, nn.CrossEntropyLoss())
    checkpoint = checkpoints(mlp)[kind]
    torch.save(checkpoint, tmp_path / "epoch_3.pt")
    witness = nn.utils.parameters_to_vector(mlp.parameters())
    assert torch.equal(theta_of(tmp_path / "epoch_3.pt", loss, "it"), witness)
    assert torch.equal(theta_of(checkpoint, loss, "it"), witness)
    assert torch.equal(read_checkpoints(tmp_path, loss)[0], witness)


def test_several_that_fit_are_told_with_how_to_choose(mlp, moons, tmp_path):
    loss = Loss.of(mlp, moons, nn.CrossEntropyLoss())
    file = tmp_path / "epoch_1.pt"
    torch.save({"model": mlp.state_dict(), "ema": mlp.state_dict(), "epoch": 1}, file)
    words = (
        r'2 state dicts that fit, \["model"\], \["ema"\]: give the one that is meant, such as torch.load.*\["model"\]'
    )
    with pytest.raises(InputError, match=rf"solution 'a', .*epoch_1.pt, does not fit the model: it holds {words}"):
        theta_of(file, loss, "solution 'a'")
    with pytest.raises(ValueError, match=words):
        read_checkpoints(tmp_path, loss)


@pytest.mark.parametrize(
    ("loaded", "words"),
    [
        (
            {"encoder": {"w": torch.ones(2)}, "epoch": 3},
            "no state dict with 0.weight .* its keys are encoder, epoch, w",
        ),
        ({"0.weight": torch.ones(5, 2)}, "it lacks 0.bias, 2.weight, 2.bias; it holds 0.weight"),
        ({"epoch": 3, "args": {"lr": 0.1}}, "its keys are epoch, args"),
        ([1, 2], "holds a list: wanted a state dict"),
        (argparse.Namespace(lr=0.1), r"cannot be read: it holds more than tensors .* torch.load\(file, weights_only=F"),
    ],
)
def test_what_is_there_is_listed_where_nothing_fits(loaded, words, mlp, moons, tmp_path):
    torch.save(loaded, tmp_path / "x.pt")
    with pytest.raises(InputError, match=words) as error:
        theta_of(tmp_path / "x.pt", Loss.of(mlp, moons, nn.CrossEntropyLoss()), "it")
    assert "\n" not in str(error.value)


# Buffers ------------------------------------------------------------------------------------------------------


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.norm(self.first(x)))


def test_a_state_dict_has_the_buffers_and_every_name_of_the_module():
    module, other = Tied(), Tied()
    other.norm(torch.randn(5, 3) + 2)
    loss = Loss.of(module, (torch.randn(4, 3), torch.randn(4, 3)), nn.MSELoss())
    once = {name: tensor for name, tensor in other.state_dict().items() if name != "second.weight"}
    wrapped = {f"module.{name}": tensor for name, tensor in once.items()}
    for source in (other, other.state_dict(), once, wrapped, {"model_state_dict": wrapped}):
        found = state_of(source, loss, "it")
        torch.testing.assert_close(found, dict(other.state_dict()), rtol=0, atol=0)
    bare = {name: tensor for name, tensor in once.items() if "running" not in name}
    assert state_of(bare, loss, "it") is None
    assert state_of(loss.theta, loss, "it") is None
