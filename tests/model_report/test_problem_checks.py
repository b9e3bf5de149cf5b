"""The check of somebody's own problem: sound ones pass every line, others fail the line that is theirs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import lossatlas as la
from lossatlas.cli import main
from lossatlas.model_report.problem_checks import CHECKS, check_problem, first_batches
from tests.conftest import seeded
from tests.networks import NETWORKS, TwoLayers, build, ragged

PROBLEM = """
import torch, lossatlas as la
from torch import nn

torch.manual_seed(0)
x, y = torch.randn(60, 3), torch.randint(0, 2, (60,))
model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), BETWEEN, nn.Linear(8, 2)).train()
class Rounded(nn.Module):
    def forward(self, x):
        return x + (x.round() - x).detach()
problem = la.Problem(model, torch.utils.data.DataLoader(list(zip(x, y)), 25, shuffle=True), nn.CrossEntropyLoss())
"""


def failing(problem: la.Problem) -> set[str]:
    return {check.name for check in check_problem(problem) if not check.passed}


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "language model"])
@pytest.mark.filterwarnings("ignore:.*have no effect on the loss. b.weight", "ignore:.* cannot be vectorised")
def test_networks_of_every_kind_pass(name):
    module, inputs, targets = build(name)
    assert failing(la.Problem(module, ragged(inputs, targets), nn.CrossEntropyLoss())) == set()


@pytest.mark.filterwarnings("ignore:.* cannot be vectorised")
def test_all_that_a_problem_can_say_is_obeyed(moons):
    module = seeded(lambda: nn.Sequential(nn.Linear(2, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2)).double())
    module[2].register_forward_hook(lambda layer, _, output: 2 * output)
    options = {
        "weight_decay": 0.1, "penalty": lambda theta: theta.abs().sum(), "params": ["0.*", "3.*"],
        "buffers": "re-estimated", "forward": lambda net, batch: (net(batch["x"]), batch["y"]),
    }  # fmt: skip
    data = DataLoader([{"x": x, "y": y} for x, y in zip(*moons, strict=True)], 16)
    assert failing(la.Problem(module, data, nn.CrossEntropyLoss(reduction="sum"), options=options)) == set()


def stopped(x: Tensor) -> Tensor:
    return x * x.detach()


def test_a_stopped_gradient_fails(moons):
    module = seeded(lambda: TwoLayers(stopped).double())
    assert {"gradient", "hessian"} <= failing(la.Problem(module, moons, F.cross_entropy))


def test_weights_by_which_batches_are_not_the_mean_of_all_fail(moons):
    """What the caller says is taken; their own loop over all examples says otherwise."""
    module = seeded(lambda: nn.Linear(2, 2).double())
    data = list(zip(*(part.split(16) for part in moons), strict=True))
    problem = la.Problem(module, data, F.cross_entropy, options={"weigh_by": lambda batch: 1.0})
    assert failing(problem) == {"own_loop"}


def test_a_module_that_keeps_a_count_in_its_value_fails(moons):
    """It is a function while the loss is made, and none later."""

    class Aging(nn.Module):
        calls, started = 0, False

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            Aging.calls += Aging.started
            return self.layer(x) * (1 + Aging.calls)

    checks = check_problem(la.Problem(seeded(Aging).double(), moons, F.cross_entropy))
    Aging.started = True
    assert {"own_loop", "repeated"} <= {check.name for check in checks if not check.passed}


def test_the_module_is_put_back_bit_for_bit(moons):
    module = seeded(lambda: nn.Sequential(nn.Linear(2, 5), nn.BatchNorm1d(5), nn.Linear(5, 2)).double()).train()
    module[1].eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    addresses = [parameter.data_ptr() for parameter in module.parameters()]
    assert failing(la.Problem(module, moons, nn.CrossEntropyLoss())) == set()
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert [parameter.data_ptr() for parameter in module.parameters()] == addresses
    assert [part.training for part in module.modules()] == [True, True, False, True]


@pytest.mark.parametrize(("between", "status"), [("nn.Tanh()", 0), ("Rounded()", 1)])
def test_from_the_command_line(between, status, tmp_path, capsys):
    text = PROBLEM.replace("BETWEEN", between)
    lines = text.splitlines()
    order = [line for line in lines if not line.startswith(("model", "problem"))]
    order += [line for line in lines if line.startswith(("model", "problem"))]
    (tmp_path / "mine.py").write_text("\n".join(order))
    assert main(["check", "--problem", f"{tmp_path / 'mine.py'}:problem"]) == status
    said = capsys.readouterr().out
    assert f"{len(CHECKS) - 2 * status} of {len(CHECKS)} passed" in said
    assert ("FAIL  the gradient, against differences of values" in said) == bool(status)


def test_the_first_batches_are_those_of_the_users_loop():
    x, y = torch.randn(5000, 2), torch.zeros(5000, dtype=torch.int64)
    assert [len(batch[1]) for batch in first_batches((x, y))] == [2048]
    assert [len(batch[1]) for batch in first_batches(DataLoader(TensorDataset(x, y), 900))] == [900, 900, 900]
    assert [len(batch[1]) for batch in first_batches(TensorDataset(x[:300], y[:300]))] == [256, 44]


def test_a_problem_that_is_none_is_one_line(tmp_path, capsys):
    assert main(["check", "--problem", f"{tmp_path / 'gone.py'}:problem"]) == 2
    assert "gone.py is not there" in " ".join(capsys.readouterr().err.split())


def test_batches_that_are_cut_further_and_cannot_be_joined_are_weighted_as_the_loss_has_them(monkeypatch):
    monkeypatch.setattr("lossatlas.hardware.MICROBATCH_BYTES", 1)
    monkeypatch.setattr("lossatlas.hardware.MICROBATCH_ROWS", 8)
    generator = torch.Generator().manual_seed(0)
    shapes = (40, 2), (24, 3)
    batches = [(torch.randn(*shape, generator=generator), torch.zeros(shape[0], dtype=torch.int64)) for shape in shapes]

    class Summed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(1, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.map(x.sum(1, keepdim=True))

    problem = la.Problem(seeded(Summed), batches, nn.CrossEntropyLoss())
    assert problem.losses()["train"].batches > 2
    assert failing(problem) == set()
