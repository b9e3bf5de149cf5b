"""What counts as a step of training, whatever makes it, and that the record ends with the module as it is."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils import parameters_to_vector

from lossatlas import Layout
from lossatlas.training.checkpoints import checkpoint_files, read_checkpoints
from lossatlas.training.recorder import Recorder


def weights(module: nn.Module) -> torch.Tensor:
    return parameters_to_vector(module.parameters()).detach().clone()


def recorded(folder: Path, module: nn.Module) -> dict[int, torch.Tensor]:
    return dict(zip(checkpoint_files(folder), read_checkpoints(folder, Layout.of(module)), strict=True))


class Wrapped(torch.optim.Optimizer):
    """Sharpness-aware minimisation around another optimizer, with two halves and a closure."""

    def __init__(self, parameters, base, **knobs):
        super().__init__(list(parameters), {"rho": 0.3, **knobs})
        self.base = base(self.param_groups, **knobs)

    @torch.no_grad()
    def first_step(self, zero_grad=False):
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["kept"] = p.clone()
                p.add_(p.grad, alpha=group["rho"])
        if zero_grad:
            self.zero_grad()

    @torch.no_grad()
    def second_step(self, zero_grad=False):
        for group in self.param_groups:
            for p in group["params"]:
                p.copy_(self.state[p]["kept"])
        self.base.step()
        if zero_grad:
            self.zero_grad()

    @torch.no_grad()
    def step(self, closure=None):
        assert closure is not None
        self.first_step(zero_grad=True)
        with torch.enable_grad():
            closure()
        self.second_step()


class Inherited(torch.optim.SGD):
    """The same by inheritance: its second half is the parent's step, and so has the parent's hooks."""

    @torch.no_grad()
    def first_step(self):
        self.kept = [p.clone() for p in self.param_groups[0]["params"]]
        for p in self.param_groups[0]["params"]:
            p.add_(p.grad, alpha=0.3)

    @torch.no_grad()
    def second_step(self):
        for p, kept in zip(self.param_groups[0]["params"], self.kept, strict=True):
            p.copy_(kept)
        super().step()
        for p in self.param_groups[0]["params"]:
            p.mul_(0.999)  # the update ends here, not where its parent's step does


class Ascent(torch.optim.SGD):
    """Ascends under another name, and descends by an ordinary step."""

    @torch.no_grad()
    def ascent_step(self):
        for p in self.param_groups[0]["params"]:
            p.add_(p.grad, alpha=0.3)

    @torch.no_grad()
    def descent_step(self):
        for p in self.param_groups[0]["params"]:
            p.sub_(p.grad, alpha=0.4)


def by_halves(optimizer, loss, first="first_step", second="second_step"):
    for half in (first, second):
        optimizer.zero_grad()
        loss().backward()
        getattr(optimizer, half)()


def by_closure(optimizer, loss):
    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    closure()
    optimizer.step(closure)


KINDS = {
    "around Adam, halves": (lambda p: Wrapped(p, torch.optim.Adam, lr=0.1), by_halves),
    "around SGD, closure": (lambda p: Wrapped(p, torch.optim.SGD, lr=0.1), by_closure),
    "inherited": (lambda p: Inherited(p, lr=0.1), by_halves),
    "ascent": (lambda p: Ascent(p, lr=0.1), lambda o, loss: by_halves(o, loss, "ascent_step", "descent_step")),
    "L-BFGS": (lambda p: torch.optim.LBFGS(p, max_iter=3), by_closure),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_of_two_halves_is_one_step_and_perturbed_weights_are_never_recorded(kind, mlp, moons, tmp_path):
    torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)  # from now on SGD.step itself has hooks
    make, update = KINDS[kind]
    optimizer, seen = make(mlp.parameters()), [weights(mlp)]
    attributes = dict(vars(optimizer))
    with Recorder(mlp, tmp_path, every=2, optimizer=optimizer) as recorder:
        for _ in range(5):
            update(optimizer, lambda: nn.functional.cross_entropy(mlp(moons[0]), moons[1]))
            seen.append(weights(mlp))
    assert recorder.steps == 5
    found = recorded(tmp_path, mlp)
    assert list(found) == [0, 2, 4, 5]
    assert all(torch.equal(theta, seen[step]) for step, theta in found.items())
    assert set(vars(optimizer)) - {"kept"} == set(attributes)
    assert not optimizer._optimizer_step_post_hooks
    assert "first_step" not in vars(optimizer)


def test_an_end_between_the_halves_is_not_recorded(mlp, moons, tmp_path):
    optimizer = Inherited(mlp.parameters(), lr=0.1)

    def train() -> None:
        with Recorder(mlp, tmp_path, every=5, optimizer=optimizer):
            nn.functional.cross_entropy(mlp(moons[0]), moons[1]).backward()
            optimizer.first_step()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    assert list(checkpoint_files(tmp_path)) == [0]


def test_a_method_of_the_optimizers_own_is_put_back(mlp, tmp_path):
    optimizer = torch.optim.SGD(mlp.parameters(), lr=0.1)
    optimizer.first_step = optimizer.second_step = own = lambda: None
    with Recorder(mlp, tmp_path, optimizer=optimizer) as recorder:
        optimizer.first_step()
        optimizer.second_step()
    assert recorder.steps == 1
    assert optimizer.first_step is own
    assert optimizer.second_step is own


def test_training_goes_on_after_a_step_that_failed(mlp, moons, tmp_path):
    """An exception that the user catches, at another depth of the stack than the steps that follow."""
    optimizer = torch.optim.SGD(mlp.parameters(), lr=0.1)

    def failing() -> None:
        def closure() -> float:
            raise MemoryError

        with pytest.raises(MemoryError):
            optimizer.step(closure)

    with Recorder(mlp, tmp_path, every=1, optimizer=optimizer) as recorder:
        failing()
        for _ in range(2):
            optimizer.zero_grad()
            nn.functional.cross_entropy(mlp(moons[0]), moons[1]).backward()
            optimizer.step()
    assert recorder.steps == 2
    assert torch.equal(recorded(tmp_path, mlp)[2], weights(mlp))


# Several optimizers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["ab", "ba", "aab", "bba"])
def test_a_step_is_done_when_every_optimizer_has_made_its_own(order, mlp, moons, tmp_path):
    optimizers = {"a": torch.optim.SGD(mlp[0].parameters(), lr=0.1), "b": torch.optim.Adam(mlp[2].parameters())}
    seen = [weights(mlp)]
    with Recorder(mlp, tmp_path, every=1, optimizer=list(optimizers.values())) as recorder:
        for _ in range(4):
            for name in order:
                optimizers[name].zero_grad()
                nn.functional.cross_entropy(mlp(moons[0]), moons[1]).backward()
                optimizers[name].step()
            seen.append(weights(mlp))
    assert recorder.steps == 4
    found = recorded(tmp_path, mlp)
    assert list(found) == list(range(5))
    assert all(torch.equal(theta, seen[step]) for step, theta in found.items())


def test_what_the_last_optimizer_did_alone_is_in_the_record(mlp, moons, tmp_path):
    first, second = (torch.optim.SGD(part.parameters(), lr=0.1) for part in (mlp[0], mlp[2]))
    nn.functional.cross_entropy(mlp(moons[0]), moons[1]).backward()
    with Recorder(mlp, tmp_path, every=1, optimizer=(first, second)):
        first.step()
        second.step()
        first.step()
    found = recorded(tmp_path, mlp)
    assert list(found) == [0, 1, 2]
    assert torch.equal(found[2], weights(mlp))


def test_what_is_no_optimizer_is_refused(mlp, tmp_path):
    own = torch.optim.SGD(mlp.parameters(), lr=0.1)
    for wrong, kind in ((mlp, "Sequential"), ([own, own.param_groups], "list"), ("sgd", "str")):
        with pytest.raises(ValueError, match=r"holds a \w+: wanted .* recorder.step\(\) after each update") as error:
            Recorder(mlp, tmp_path, optimizer=wrong)  # type: ignore[arg-type]
        if kind != "Sequential":  # which is iterable: its first layer is named
            assert f"holds a {kind}" in str(error.value)


# The record ends with the module as it is ------------------------------------------------------------------------


def shifted(module: nn.Module) -> None:
    with torch.no_grad():
        next(module.parameters()).add_(1.0)


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("given", [True, False])
def test_an_update_that_nothing_counted_is_recorded_and_said(steps, given, mlp, moons, tmp_path):
    optimizer = torch.optim.SGD(mlp.parameters(), lr=0.1)
    nn.functional.cross_entropy(mlp(moons[0]), moons[1]).backward()

    def train() -> None:
        with Recorder(mlp, tmp_path, every=1, optimizer=optimizer if given else None) as recorder:
            for _ in range(steps):
                optimizer.step()
                if not given:
                    recorder.step()
            shifted(mlp)

    with pytest.warns(UserWarning, match=rf"after step {steps} by .* recorded as step {steps + 1}; say recorder.step"):
        train()
    found = recorded(tmp_path, mlp)
    assert list(found) == list(range(steps + 2))
    assert torch.equal(found[steps + 1], weights(mlp))


def test_buffers_that_moved_since_are_written_into_the_last_checkpoint(moons, tmp_path):
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)).double()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Recorder(module, tmp_path, every=1, optimizer=optimizer):
            nn.functional.cross_entropy(module(moons[0]), moons[1]).backward()
            optimizer.step()
            module(moons[0] + 3)
    files = checkpoint_files(tmp_path)
    assert list(files) == [0, 1]
    torch.testing.assert_close(load_file(files[1]), dict(module.state_dict()), rtol=0, atol=0)


def test_weights_that_became_nan_are_the_same_weights(mlp, tmp_path):
    with Recorder(mlp, tmp_path, every=1) as recorder:
        nn.init.constant_(mlp[0].bias, float("nan"))
        recorder.step()
    assert list(checkpoint_files(tmp_path)) == [0, 1]
