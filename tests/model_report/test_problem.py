"""What may stand for a problem, and what is said about what may not."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lossatlas.errors import InputError
from lossatlas.model_report.problem import Problem, load_problem

DATA = (torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(6, 1))


def model(fill: float = 0.5) -> nn.Module:
    module = nn.Linear(3, 1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(fill)
    return module


@pytest.mark.parametrize(
    "body",
    [
        "problem = Problem(module, data, criterion)",
        "problem = (module, data, criterion)",
        "problem = {'module': module, 'data': data, 'criterion': criterion}",
        "def problem(): return Problem(module, data, criterion)",
        "def problem(): return module, data, criterion",
    ],
)
def test_a_problem_may_be_given_in_any_of_these_ways(body, tmp_path):
    (tmp_path / "own.py").write_text(
        "import torch\nfrom lossatlas.model_report.problem import Problem\n"
        "module, data, criterion = torch.nn.Linear(3, 1), (torch.ones(6, 3), torch.zeros(6, 1)), torch.nn.MSELoss()\n"
        f"{body}\n"
    )
    problem = load_problem(f"{tmp_path / 'own.py'}:problem")
    theta = problem.losses()["train"].theta
    expected = ((theta[:3].sum() + theta[3]) ** 2).double()
    assert torch.allclose(problem.losses()["train"](theta), expected)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "has no 'problem'"),
        ("problem = 3", "gives a int: wanted a lossatlas.Problem"),
        ("problem = {'modul': 1}", "is no problem: "),
        ("problem = (1, 2, 3)", "module is a int: wanted a torch.nn.Module"),
        ("def problem(): raise KeyError('weights')", "fails: KeyError: 'weights'"),
        ("import no_such_package", "cannot be imported: No module named 'no_such_package'"),
        ("1 / 0", "fails when it is imported: ZeroDivisionError"),
    ],
)
def test_what_is_no_problem_gets_one_line(body, message, tmp_path):
    (tmp_path / "own.py").write_text(f"{body}\n")
    with pytest.raises(InputError) as caught:
        load_problem(f"{tmp_path / 'own.py'}:problem")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["nothing", ":problem", "own.py:"])
def test_an_address_names_a_module_and_an_object(address):
    with pytest.raises(InputError, match=r"wanted module:object"):
        load_problem(address)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"none\.py is not there"):
        load_problem(f"{tmp_path / 'none.py'}:problem")


def test_checkpoints_may_be_modules_state_dicts_vectors_and_files(tmp_path):
    save_file(model(0.1).state_dict(), tmp_path / "a.safetensors")
    torch.save({"state_dict": {f"module.{k}": v for k, v in model(0.2).state_dict().items()}}, tmp_path / "b.pt")
    sources = [tmp_path / "a.safetensors", str(tmp_path / "b.pt"), model(0.3), model(0.4).state_dict(), torch.ones(4)]
    problem = Problem(model(0.5), DATA, nn.MSELoss(), checkpoints=sources)
    trajectory = problem.trajectory(problem.losses()["train"])
    assert torch.equal(trajectory, torch.tensor([0.1, 0.2, 0.3, 0.4, 1.0, 0.5])[:, None].expand(6, 4))


def test_the_last_checkpoint_is_not_doubled():
    problem = Problem(model(0.5), DATA, nn.MSELoss(), checkpoints=[model(0.1), model(0.5)])
    assert len(problem.trajectory(problem.losses()["train"])) == 2


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        (torch.ones(5), "checkpoint 0 does not fit the model: θ has shape"),
        (nn.Linear(2, 1), "checkpoint 0 does not fit the model: weight has shape"),
        ({"bias": torch.ones(1)}, "does not fit the model: it lacks"),
        ("gone.safetensors", "gone.safetensors, is not there"),
        ("broken.safetensors", "broken.safetensors, cannot be read"),
        ("broken.pt", "broken.pt, cannot be read"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_named(checkpoint, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("broken.safetensors", "broken.pt"):
        (tmp_path / name).write_bytes(b"no weights")
    problem = Problem(model(), DATA, nn.MSELoss(), checkpoints=[checkpoint])
    with pytest.raises(InputError) as caught:
        problem.trajectory(problem.losses()["train"])
    assert message in str(caught.value)


def test_a_loss_that_cannot_be_made_names_its_data():
    problem = Problem(model(), DATA, nn.MSELoss(), test_data=(torch.ones(2, 5), torch.ones(2, 1)))
    with pytest.raises(InputError, match="the loss on the test data cannot be made"):
        problem.losses()


def test_solutions_without_names_are_refused():
    with pytest.raises(InputError, match="solutions are a list: wanted a mapping, weights by name"):
        Problem(model(), DATA, nn.MSELoss(), solutions=[model(0.1)])  # type: ignore[arg-type]
