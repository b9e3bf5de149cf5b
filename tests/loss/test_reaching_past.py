"""What reads the module that was handed in, whose weights never move, is refused: criteria, hooks, forwards."""

import copy
import functools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lossatlas import Loss
from tests.loss.own_code import CE, assert_is, inputs, labels, network, ragged

X, Y = inputs(), labels()


class Supervised(nn.Module):
    """Deep supervision: the head in the middle leaves its output on the module."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.middle, self.head = nn.Linear(4, 6), nn.Linear(6, 3), nn.Linear(6, 3)
        self.early = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        z = torch.tanh(self.trunk(x))
        self.early = self.middle(z)
        return self.head(z)

    def activity(self) -> Tensor:
        return getattr(self, "early", torch.zeros(())).square().mean()


class Anchored(nn.Module):
    """Elastic weight consolidation as a criterion that holds the module, registered or in a list."""

    def __init__(self, module: nn.Module, *, registered: bool) -> None:
        super().__init__()
        self.register_buffer("importance", torch.tensor(0.3))
        self.anchors = [parameter.detach().clone() for parameter in module.parameters()]
        self.held = [module]
        if registered:
            self.module = module

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        pairs = zip(self.held[0].parameters(), self.anchors, strict=True)
        return CE(output, target) + self.importance * sum((p - anchor).square().sum() for p, anchor in pairs)


class Trainer:
    def __init__(self) -> None:
        self.model = network()

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return CE(output, target) + self.regularizer()

    def regularizer(self) -> Tensor:
        return 0.1 * sum(p.norm() for p in self.model.parameters())

    def step(self, module: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return self.model(batch[0]), batch[1]


def lasso(module: nn.Module, output: Tensor, target: Tensor) -> Tensor:
    return CE(output, target) + 0.01 * module[0].weight.abs().sum()


def refused(module: nn.Module, criterion=CE, match: str = "of the module that was given", **options) -> None:
    with pytest.raises(ValueError, match=match):
        Loss.of(module, ragged(X, Y), criterion, **options)


@pytest.mark.parametrize("registered", [True, False])
def test_a_criterion_that_holds_the_module(registered):
    module = network()
    refused(module, Anchored(module, registered=registered), "reads '0.weight'")


def test_a_partial_and_methods_of_a_trainer():
    module = network()
    refused(module, functools.partial(lasso, module), "the criterion reads '0.weight'")
    trainer = Trainer()
    refused(trainer.model, trainer.loss, "the criterion reads")
    refused(trainer.model, forward=trainer.step, match="forward=, a hook or the forward pass reads")


def test_weights_that_go_through_numpy():
    module = network()
    refused(module, lambda o, t: CE(o, t) + float((module[2].weight.detach().numpy() ** 2).sum()), "reads '2.weight'")


@pytest.mark.parametrize("has_run", [True, False])
def test_what_the_module_keeps_is_read_by_a_method(has_run):
    module = Supervised()
    if has_run:
        module(X)
    refused(module, lambda o, t: CE(o, t) + module.activity(), "reads 'early'")


def test_a_replaced_forward():
    module = network()
    plain = module.forward
    module.forward = lambda x: 2 * plain(x)
    refused(module, match="put a module around the module instead")


def test_the_message_says_what_to_write_and_that_is_right():
    module = network()
    refused(module, lambda o, t: lasso(module, o, t), r"module.get_submodule\('0'\).weight")
    loss = Loss.of(
        module,
        ragged(X, Y),
        lambda output, target: CE(output[0], target) + 0.01 * output[1].abs().sum(),
        forward=lambda module, batch: ((module(batch[0]), module.get_submodule("0").weight), batch[1]),
    )
    assert_is(loss, module, lambda held: lasso(held, held(X), Y))


def test_a_trainable_head_outside_is_said_and_a_teacher_is_not(recwarn):
    module, head = network(), nn.Linear(3, 3)
    with pytest.warns(UserWarning, match="reads 12 trainable numbers outside Sequential"):
        loss = Loss.of(module, ragged(X, Y), lambda o, t: CE(head(o), t))
    assert_is(loss, module, lambda held: CE(head(held(X)), Y))
    teacher = copy.deepcopy(module)

    def taught(module: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            return module(2 * batch[0]), teacher(batch[0])

    def grown(module: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return module(2 * batch[0]), taught(teacher, batch)[1]

    recwarn.clear()
    loss = Loss.of(module, ragged(X, Y), F.mse_loss, forward=grown)
    assert not recwarn.list
    assert_is(loss, module, lambda held: F.mse_loss(held(2 * X), teacher(X).detach()))


def test_what_a_pass_leaves_in_a_mapping_outside():
    stash: dict[str, Tensor] = {}

    class Leaving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, x: Tensor) -> Tensor:
            stash["output"] = self.inner(x)
            return stash["output"]

    for penalty in (lambda: stash["output"].square().mean(), lambda: (stash["output"][:23] * X[:, :3]).mean()):
        with pytest.raises(ValueError, match="wanted a function of output and target alone"):
            Loss.of(Leaving(), (X, Y), lambda output, target, penalty=penalty: CE(output, target) + penalty())


def test_a_criterion_that_reads_the_module_only_where_gradients_are_on():
    """The first pass has none, and would not see it."""
    module, x, y = nn.Linear(3, 2), torch.randn(6, 3), torch.zeros(6, dtype=torch.int64)

    def criterion(output, target):
        penalty = module.weight.square().sum() if torch.is_grad_enabled() else 0.0
        return nn.functional.cross_entropy(output, target) + penalty

    with pytest.raises(ValueError, match=r"where gradients are on, the criterion or forward= reads 'weight'"):
        Loss.of(module, (x, y), criterion)
