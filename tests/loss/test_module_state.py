"""What a module, a hook or a criterion keeps or writes in a pass is neither a part of the function nor left behind."""

import warnings
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lossatlas import Loss
from tests.loss.own_code import CE, assert_is, elsewhere, inputs, labels, network, ragged, seeded

X, Y = inputs(), labels()


@dataclass
class Record:
    last: Tensor | None = None
    passes: int = 0


class Keeping(nn.Module):
    """Keeps its activations in a list, a mapping and an object, and grows with the passes it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.seen, self.by_name, self.record = network(), [], defaultdict(list), Record()

    def forward(self, x: Tensor) -> Tensor:
        output = self.inner(x)
        self.seen.append(output)
        self.by_name["output"].append(output)
        self.record.last, self.record.passes = output, self.record.passes + 1
        return output * (1.0 if self.record.passes < 3 else 2.0)


class Narrow(nn.Module):
    """Makes a tensor in one of the ways that float32 creeps in by."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.inner, self.how = network(), how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "buffer":
            filled = torch.empty(len(x), 4)
            filled[:] = x
            return self.inner(filled)
        if self.how == "state":
            return self.inner[2](torch.tanh(self.inner[0](x) + torch.zeros(len(x), 6)))
        if self.how == "numpy":
            return self.inner(x + torch.from_numpy(np.full(4, 0.25, dtype=np.float32)))
        return self.inner[2](torch.tanh(self.inner[0](x)).float().to(x.dtype))


class Proxies(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proxies = nn.Parameter(torch.randn(3, 3, generator=seeded(4)))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return CE(output @ self.proxies, target)


def test_activations_that_are_kept():
    module = Keeping()
    loss = Loss.of(module, ragged(X, Y), CE)
    assert_is(loss, module, lambda held: CE(held(X), Y))
    loss.gradient(loss.theta)
    assert (module.seen, module.by_name, module.record) == ([], {}, Record())


@pytest.mark.parametrize("how", ["buffer", "state", "numpy"])
def test_tensors_made_in_float32(how):
    module = Narrow(how)
    loss = Loss.of(module, ragged(X, Y), CE).to(torch.float64)
    theta, step = elsewhere(loss), 1e-6 * torch.randn(loss.layout.size, generator=seeded(3)).double()
    difference = (loss(theta + step) - loss(theta - step)) / 2
    assert float(loss.gradient(theta) @ step) == pytest.approx(float(difference), rel=1e-7)


def test_a_cast_in_the_middle_is_said():
    with pytest.warns(UserWarning, match=r"in float64 goes through float32 \(.float\(\)\?\)"):
        Loss.of(Narrow("cast"), ragged(X, Y), CE).to(torch.float64)


def test_batches_that_a_pass_writes_to():
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, batch: dict[str, Tensor]) -> Tensor:
            batch["x"] -= 0.5
            batch["x"] = batch["x"] * 3
            return self.inner(batch["x"])

    def forward(module: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        target = batch.pop("y")
        return module(batch), target.clamp_(max=1)

    module, batches = InPlace(), [{"x": x.clone(), "y": y.clone()} for x, y in ragged(X, Y)]
    loss = Loss.of(module, batches, CE, forward=forward)
    assert_is(loss, module, lambda held: CE(held.inner(3 * (X - 0.5)), Y.clamp(max=1)))
    for batch, (x, y) in zip(batches, ragged(X, Y), strict=True):
        assert torch.equal(batch["x"], x)
        assert torch.equal(batch["y"], y)


@pytest.mark.filterwarnings("ignore:.*cannot be vectorised over points")
def test_hooks_that_watch_and_hooks_that_change():
    module, seen = network(), []
    module[0].register_forward_hook(lambda part, given, output: seen.append(output))
    module[1].register_forward_hook(lambda part, given, output: output * 0.5)
    loss = Loss.of(module, ragged(X, Y), CE)
    assert not seen
    assert_is(loss, module, lambda held: CE(held(X), Y))


def test_features_that_a_hook_keeps_for_the_criterion_are_refused():
    module, features = network(), {}
    module[1].register_forward_hook(lambda part, given, output: features.update(middle=output))
    for _ in range(2):
        with pytest.raises(ValueError, match="criterion or a metric reads what the forward hook <lambda> keeps"):
            Loss.of(module, ragged(X, Y), lambda o, t: CE(o, t) + features["middle"].square().mean())
        assert not features or features["middle"].shape == (23, 6)
        module(X)  # now the user's own features are there to be read


def test_a_criterion_with_parameters_of_its_own():
    module, criterion = network(), Proxies()
    with pytest.warns(UserWarning, match="9 trainable numbers outside Sequential"):
        loss = Loss.of(module, ragged(X, Y), criterion)
    assert_is(loss, module, lambda held: criterion(held(X), Y))
    assert criterion.proxies.grad is None


def test_a_criterion_with_a_state_is_refused():
    class Moving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("center", torch.zeros(3))

        def forward(self, output: Tensor, target: Tensor) -> Tensor:
            self.center.lerp_(output.detach().mean(0), 0.1)
            return F.cross_entropy(output - self.center, target)

    criterion = Moving()
    with pytest.raises(ValueError, match="for the same batch"):
        Loss.of(network(), ragged(X, Y), criterion)
    assert torch.equal(criterion.center, torch.zeros(3))


def test_ordinary_modules_are_silent():
    modules = [
        nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(6, 3)),
        nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 6)), nn.GELU(), nn.Linear(6, 3)),
        nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 3, bias=False)),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for module in modules:
            for criterion in (CE, nn.CrossEntropyLoss(weight=torch.rand(3), label_smoothing=0.1)):
                Loss.of(module, ragged(X, Y), criterion)


@pytest.mark.parametrize("has_run", [True, False])
@pytest.mark.parametrize("detached", [True, False])
def test_features_that_an_object_keeps_by_its_hook_are_refused(has_run, detached):
    class Saver:
        def __init__(self, layer: nn.Module) -> None:
            self.features = torch.zeros(())
            layer.register_forward_hook(self.save)

        def save(self, layer: nn.Module, given: tuple[Tensor], output: Tensor) -> None:
            self.features = output.detach() if detached else output

    module = network()
    saver = Saver(module[1])
    if has_run:
        module(X)
    before = saver.features
    with pytest.raises(ValueError, match="reads what the forward hook save keeps"):
        Loss.of(module, ragged(X, Y), lambda o, t: CE(o, t) + saver.features.square().mean())
    assert saver.features is before
