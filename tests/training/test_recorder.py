"""What a recorder writes while somebody trains, and the trajectory read back from it."""

from __future__ import annotations

import copy
import os
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, load_model, save_file
from torch import Tensor, distributed, nn
from torch.nn.utils import parameters_to_vector

from lossatlas import Layout, Loss, trajectory_plane
from lossatlas.training.checkpoints import checkpoint_files, read_checkpoints
from lossatlas.training.recorder import Recorder
from tests.conftest import seeded
from tests.networks import LanguageModel, build


class Training:
    """A plain loop with momentum that keeps the weights after every step as a witness."""

    def __init__(self, module: nn.Module, inputs: Tensor, targets: Tensor) -> None:
        self.module, self.inputs, self.targets = module, inputs, targets
        self.optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
        self.seen = [self.weights()]

    def weights(self) -> Tensor:
        return parameters_to_vector(self.module.parameters()).detach().clone()

    def step(self) -> None:
        self.optimizer.zero_grad()
        nn.functional.cross_entropy(self.module(self.inputs), self.targets).backward()
        self.optimizer.step()
        self.seen.append(self.weights())


@pytest.fixture
def training(mlp, moons) -> Training:
    return Training(mlp, *moons)


def steps(folder: Path) -> list[int]:
    return list(checkpoint_files(folder))


def test_the_trajectory_read_back_is_the_one_that_was_trained(training, loss, tmp_path):
    with Recorder(training.module, tmp_path / "a", every=3, optimizer=training.optimizer) as recorder:
        for _ in range(10):
            training.step()
    assert recorder.steps == 10
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == [
        f"step={step:06d}.safetensors" for step in (0, 3, 6, 9, 10)
    ]
    found = read_checkpoints(tmp_path / "a", loss)
    torch.testing.assert_close(found, torch.stack([training.seen[i] for i in (0, 3, 6, 9, 10)]), rtol=0, atol=0)
    training.step()
    assert len(steps(tmp_path / "a")) == 5  # the hooks are gone

    plane = trajectory_plane(loss, found, steps=5)
    own = [float(loss(training.seen[i])) for i in (0, 3, 6, 9, 10)]
    assert plane.path_loss.values == pytest.approx(own)


def test_without_an_optimizer_the_user_counts(training, tmp_path):
    with Recorder(training.module, tmp_path, every=2) as recorder:
        for _ in range(4):
            training.step()
            recorder.step()
        recorder.step(9)  # nine have been done
    assert steps(tmp_path) == [0, 2, 4, 9]


def test_training_is_the_same_with_and_without(tmp_path):
    """Weights, batch statistics, optimizer, mode, gradients, hooks and random streams, bit for bit."""
    ends = []
    for recorded in (False, True):
        module, inputs, targets = build("resnet")
        training = Training(module.train(), inputs, targets)
        torch.manual_seed(3)
        if recorded:
            with Recorder(module, tmp_path, every=1, optimizer=training.optimizer):
                training.step()
                training.step()
        else:
            training.step()
            training.step()
        gradients = [parameter.grad for parameter in module.parameters()]
        ends.append((module.state_dict(), gradients, training.optimizer.state_dict(), torch.get_rng_state()))
        assert all(part.training for part in module.modules())
        assert not training.optimizer._optimizer_step_post_hooks
        assert not training.optimizer._optimizer_step_pre_hooks
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=0)


def test_a_checkpoint_is_a_state_dict_with_batch_statistics(tmp_path):
    module, inputs, targets = build("resnet")
    training = Training(module, inputs, targets)
    with Recorder(module, tmp_path, every=1, optimizer=training.optimizer):
        before = copy.deepcopy(module.state_dict())
        training.step()
    files = checkpoint_files(tmp_path)
    torch.testing.assert_close(load_file(files[0]), dict(before), rtol=0, atol=0)
    assert not torch.equal(load_file(files[1])["stem.1.running_mean"], before["stem.1.running_mean"])
    other = build("resnet")[0]
    other.load_state_dict(load_file(files[1]))
    torch.testing.assert_close(other.state_dict(), module.state_dict(), rtol=0, atol=0)


def test_tied_parameters_are_written_once_and_buffers_may_share_memory(tmp_path):
    module = seeded(LanguageModel)
    table = torch.arange(6.0)
    module.register_buffer("table", table)
    module.register_buffer("head", table[:2])
    module.register_buffer("scratch", torch.zeros(3), persistent=False)
    with Recorder(module, tmp_path):
        pass
    (file,) = checkpoint_files(tmp_path).values()
    assert set(load_file(file)) == {"embedding.weight", "mix.weight", "mix.bias", "table", "head"}
    other = LanguageModel()
    other.register_buffer("table", torch.zeros(6))
    other.register_buffer("head", torch.zeros(2))
    load_model(other, file)
    torch.testing.assert_close(other.state_dict(), module.state_dict(), rtol=0, atol=0)
    assert other.decoder.weight is other.embedding.weight
    theta = read_checkpoints(tmp_path, Layout.of(module))
    assert torch.equal(theta[0], parameters_to_vector(module.parameters()))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_was_there_is_kept_when_training_ends_by_an_exception(training, tmp_path, error):
    def train() -> None:
        with Recorder(training.module, tmp_path, every=2, optimizer=training.optimizer):
            for _ in range(3):
                training.step()
            raise error

    with pytest.raises(error):
        train()
    assert steps(tmp_path) == [0, 2, 3]
    found = read_checkpoints(tmp_path, Layout.of(training.module))
    assert torch.equal(found[-1], training.seen[3])


def test_weights_that_are_half_updated_are_not_written(training, tmp_path):
    """Ctrl-C within the optimizer's step."""

    def train() -> None:
        with Recorder(training.module, tmp_path, every=2, optimizer=training.optimizer):
            for _ in range(3):
                training.step()
            training.optimizer.param_groups[0]["lr"] = Interrupting()
            training.step()

    with pytest.raises(KeyboardInterrupt):
        train()
    assert steps(tmp_path) == [0, 2]


class Interrupting(float):
    def __neg__(self) -> float:
        raise KeyboardInterrupt


def test_a_write_that_fails_leaves_no_file(training, tmp_path, monkeypatch):
    def full(_: int) -> None:
        raise OSError("no space left on device")

    with Recorder(training.module, tmp_path, every=1, optimizer=training.optimizer):
        training.step()
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="no space"):
                training.step()
        assert [file.name for file in tmp_path.iterdir() if "000002" in file.name] == []
    assert steps(tmp_path) == [0, 1, 2]


@pytest.mark.parametrize("count", [3, 5, 12, 17])
def test_a_limit_thins_the_trajectory_evenly(training, tmp_path, count):
    with Recorder(training.module, tmp_path, every=1, optimizer=training.optimizer, limit=4) as recorder:
        for _ in range(count):
            training.step()
            assert len(steps(tmp_path)) <= 4
    kept = steps(tmp_path)
    assert kept[0] == 0
    assert kept[-1] == count
    assert 3 <= len(kept) <= 4
    assert {after - before for before, after in pairwise(kept[:-1])} <= {recorder.every}
    found = read_checkpoints(tmp_path, Layout.of(training.module))
    assert torch.equal(found, torch.stack([training.seen[step] for step in kept]))


def test_a_folder_with_checkpoints_wants_resume(training, tmp_path):
    (tmp_path / "notes.txt").write_text("other files do not matter")
    with Recorder(training.module, tmp_path, every=2, optimizer=training.optimizer):
        for _ in range(3):
            training.step()
    with pytest.raises(FileExistsError, match=r"holds 3 checkpoints .* the last of step 3: .* resume=True"):
        Recorder(training.module, tmp_path).__enter__()

    with Recorder(training.module, tmp_path, every=2, optimizer=training.optimizer, resume=True):
        for _ in range(4):
            training.step()
    assert steps(tmp_path) == [0, 2, 3, 4, 6, 7]
    found = read_checkpoints(tmp_path, Layout.of(training.module))
    assert torch.equal(found, torch.stack([training.seen[step] for step in (0, 2, 3, 4, 6, 7)]))


def test_resume_notices_other_weights_and_takes_a_step_to_go_on_from(training, tmp_path):
    with Recorder(training.module, tmp_path, every=2, optimizer=training.optimizer):
        for _ in range(7):
            training.step()
    torch.nn.utils.vector_to_parameters(training.seen[5], training.module.parameters())
    with pytest.raises(ValueError, match=r"not those of .*step=000007.safetensors.* resume=STEPS"):
        Recorder(training.module, tmp_path, resume=True).__enter__()
    assert steps(tmp_path) == [0, 2, 4, 6, 7]
    with Recorder(training.module, tmp_path, every=2, resume=5) as recorder:
        assert steps(tmp_path) == [0, 2, 4, 5]
        recorder.step()
    assert steps(tmp_path) == [0, 2, 4, 5, 6]


def test_resume_in_an_empty_folder_starts(training, tmp_path):
    with Recorder(training.module, tmp_path / "new", resume=True):
        pass
    assert steps(tmp_path / "new") == [0]


class Wrapper(nn.Module):
    """A module that holds the network, as LightningModules do."""

    def __init__(self, *networks: nn.Module) -> None:
        super().__init__()
        for number, network in enumerate(networks):
            self.add_module(f"net{number}", network)


def compiled(module: nn.Module) -> nn.Module:
    return torch.compile(module, backend="eager")


@pytest.mark.parametrize("wrap", [nn.DataParallel, compiled, lambda module: nn.DataParallel(compiled(module))])
def test_wrappers_do_not_change_names(mlp, tmp_path, wrap):
    """PITFALL: torch.compile and parallel wrappers put "_orig_mod." and "module." before every name."""
    wrapped = wrap(mlp)
    with Recorder(wrapped, tmp_path):
        pass
    (file,) = checkpoint_files(tmp_path).values()
    assert set(load_file(file)) == set(mlp.state_dict())
    expected = parameters_to_vector(mlp.parameters())
    assert not set(Layout.of(wrapped).names) & set(Layout.of(mlp).names)
    for module in (mlp, wrapped):
        assert torch.equal(read_checkpoints(tmp_path, Layout.of(module))[0], expected)


def test_a_compiled_part_and_the_part_of_a_whole_are_found(mlp, tmp_path):
    whole = Wrapper(compiled(mlp))
    with Recorder(whole, tmp_path):
        pass
    (file,) = checkpoint_files(tmp_path).values()
    assert set(load_file(file)) == {f"net0.{name}" for name in mlp.state_dict()}
    expected = parameters_to_vector(mlp.parameters())
    for module in (mlp, whole, Wrapper(mlp)):
        assert torch.equal(read_checkpoints(tmp_path, Layout.of(module))[0], expected)
    assert torch.equal(read_checkpoints(tmp_path, Layout.of(mlp, "2.*"))[0], expected[15:])


def test_two_parts_that_fit_are_not_guessed_between(mlp, tmp_path):
    whole = Wrapper(mlp, copy.deepcopy(mlp))
    with Recorder(whole, tmp_path):
        pass
    with pytest.raises(ValueError, match=r"step=000000.safetensors .* 2 parts that fit, net0., net1.: "):
        read_checkpoints(tmp_path, Layout.of(mlp))
    assert read_checkpoints(tmp_path, Layout.of(whole)).shape == (1, 54)


def test_one_of_several_processes_writes(mlp, tmp_path, monkeypatch):
    store = distributed.HashStore()
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        replica = nn.parallel.DistributedDataParallel(mlp)
        with Recorder(replica, tmp_path / "first", every=1) as first:
            first.step()
        monkeypatch.setattr(distributed, "get_rank", lambda: 1)
        with Recorder(replica, tmp_path / "second", every=1, limit=3) as second:
            for _ in range(5):
                second.step()
    finally:
        monkeypatch.undo()
        distributed.destroy_process_group()
    assert steps(tmp_path / "first") == [0, 1]
    assert second.steps == 5
    assert not (tmp_path / "second").exists()
    assert read_checkpoints(tmp_path / "first", Layout.of(mlp)).shape == (2, 27)


def test_steps_are_in_the_order_of_numbers(mlp, tmp_path):
    for step, value in ((1_000_000, 2.0), (999_999, 1.0), (0, 0.0)):
        nn.init.constant_(mlp[0].bias, value)
        save_file(mlp.state_dict(), tmp_path / f"step={step:06d}.safetensors")
    found = read_checkpoints(tmp_path, Layout.of(mlp, "0.bias"))
    assert found[:, 0].tolist() == [0, 1, 2]


def test_a_loss_gives_its_type(mlp, moons, tmp_path):
    with Recorder(mlp, tmp_path):
        pass
    inputs, targets = moons
    single = Loss.of(copy.deepcopy(mlp).float(), (inputs.float(), targets), nn.CrossEntropyLoss())
    assert read_checkpoints(tmp_path, single).dtype == torch.float32
    assert read_checkpoints(tmp_path, single.layout).dtype == torch.float64


def test_bad_files_are_named_in_one_line(training, tmp_path):
    layout = Layout.of(training.module)
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ValueError, match="holds no checkpoints: wanted files like step="):
            read_checkpoints(folder, layout)
    with Recorder(training.module, tmp_path, every=1, optimizer=training.optimizer):
        training.step()
    wider = Layout.of(nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 2)))
    with pytest.raises(
        ValueError, match=r"step=000000.safetensors is of another architecture: 0.weight has shape"
    ) as e:
        read_checkpoints(tmp_path, wider)
    assert "\n" not in str(e.value)
    deeper = Layout.of(nn.Sequential(*training.module, nn.Linear(2, 2)))
    with pytest.raises(ValueError, match=r"another architecture: it lacks 3.weight, 3.bias"):
        read_checkpoints(tmp_path, deeper)

    file = checkpoint_files(tmp_path)[1]
    whole = file.read_bytes()
    for left in (whole[:-9], whole[:40], b"", b"\xff" * len(whole)):
        file.write_bytes(left)
        with pytest.raises(
            ValueError, match=r"step=000001.safetensors is no complete checkpoint \(.+\): delete it"
        ) as e:
            read_checkpoints(tmp_path, layout)
        assert "\n" not in str(e.value)


@pytest.mark.parametrize(("knobs", "words"), [({"every": 0}, "every is 0"), ({"limit": 2}, "limit is 2")])
def test_bad_knobs(mlp, tmp_path, knobs, words):
    with pytest.raises(ValueError, match=words):
        Recorder(mlp, tmp_path, **knobs)


def test_a_module_without_trainable_parameters(tmp_path):
    with pytest.raises(ValueError, match="no parameter with requires_grad"):
        Recorder(nn.Linear(2, 2).requires_grad_(False), tmp_path)
    with pytest.raises(ValueError, match="no shape yet"):
        Recorder(nn.LazyLinear(2), tmp_path)
