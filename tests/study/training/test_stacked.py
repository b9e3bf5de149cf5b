import pytest
import torch
from torch import nn

from lossatlas.parameters.layout import Layout
from lossatlas.study.config import Data
from lossatlas.study.datasets import make_task
from lossatlas.study.models import build
from lossatlas.study.training.ensemble import losses_of
from lossatlas.study.training.stacked import Evaluation, Gradient, Group

MEMBERS, BATCH, INPUTS = 3, 10, 16
KINDS = [(name, act) for name in ("1x5", "3x7", "conv3x4", "res2x6") for act in ("relu", "tanh", "gelu")]


def members(architecture, activation, inputs=INPUTS, dtype=torch.float64):
    torch.manual_seed(0)
    models = [build(architecture, activation, inputs).to(dtype) for _ in range(MEMBERS)]
    layout = Layout.of(models[0])
    return models, layout, Group(models[0], layout, torch.stack([layout.theta_of(model) for model in models]))


@pytest.mark.parametrize(("architecture", "activation"), KINDS)
def test_gradients_are_those_of_ordinary_modules_also_of_smaller_batches(architecture, activation):
    models, _, group = members(architecture, activation)
    gradient = Gradient(group, torch.empty(MEMBERS, 0, INPUTS, dtype=torch.float64), BATCH)
    for count in (BATCH, 4, 1, BATCH):
        x, y = torch.randn(MEMBERS, count, INPUTS, dtype=torch.float64), torch.randint(0, 2, (MEMBERS, count))
        gradient(x, y)
        for row, model in enumerate(models):
            wanted = torch.autograd.grad(nn.functional.cross_entropy(model(x[row]), y[row]), list(model.parameters()))
            for found, one in zip(group.gradients, wanted, strict=True):
                torch.testing.assert_close(found[row], one, atol=1e-13, rtol=1e-11)
            with torch.no_grad():  # another point for the next batch
                for stacked, parameter, one in zip(group.parameters, model.parameters(), wanted, strict=True):
                    stacked[row] = parameter.sub_(0.1 * one)


@pytest.mark.parametrize(("architecture", "activation"), KINDS)
def test_an_evaluation_is_that_of_the_losses_of_the_study(architecture, activation):
    data = Data(train=300, test=41, dimension=INPUTS)  # 256 + 85: a ragged last chunk
    tasks = [make_task("gaussians", data, data_seed) for data_seed in (0, 1, 0)]  # one for each member
    models, _, group = members(architecture, activation, dtype=torch.float32)
    measured = Evaluation(group, tasks)()
    for row, task in enumerate(tasks):
        for split, loss in losses_of(models[0], task).items():
            wanted = loss.evaluate(group.stack()[row : row + 1])
            torch.testing.assert_close(measured[f"{split}_loss"][row : row + 1], wanted["loss"], atol=1e-6, rtol=1e-6)
            found = measured[f"{split}_accuracy"][row : row + 1]
            torch.testing.assert_close(found, wanted["accuracy"], atol=1e-6, rtol=0)


def test_a_group_gives_its_members_back():
    models, layout, group = members("2x4", "relu")
    assert torch.equal(group.stack(), torch.stack([layout.theta_of(model) for model in models]))
