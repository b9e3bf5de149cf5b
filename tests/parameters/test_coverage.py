"""How much of a module θ holds is said where a reader looks first, with counts from plain PyTorch."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas.loss.loss import Loss
from lossatlas.parameters.coverage import Coverage
from lossatlas.parameters.layout import Layout

DATA = (torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 0, 1, 1, 0]))
CRITERION = nn.CrossEntropyLoss()


class Adapted(nn.Module):
    """A frozen layer with a low-rank addition; merging it leaves only the head to θ."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 40), nn.Tanh(), nn.Linear(40, 40)).requires_grad_(False)
        self.head = nn.Linear(40, 2)

    def forward(self, x):
        return self.head(self.body(x))


class Wrapped(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x))


def held(module):
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def total(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("wrap", [0, 1, 2])
def test_frozen_parts_are_counted_and_named(wrap):
    module = Adapted()
    for _ in range(wrap):
        module = Wrapped(module)
    assert (held(module), total(module)) == (82, 1922)
    prefix = "inner." * wrap
    coverage = Coverage.of(module, Layout.of(module))
    assert str(coverage) == f"82 of 1,922 parameters (frozen: 1,840 in '{prefix}body')"


def test_what_params_leaves_out_is_told_apart_from_the_frozen():
    module = Adapted()
    module.body[2].requires_grad_(True)
    coverage = Coverage.of(module, Layout.of(module, "head.*"))
    assert str(coverage) == "82 of 1,922 parameters (frozen: 200 in 'body'; not chosen by params: 1,640 in 'body')"


def test_of_many_parts_the_largest_are_named():
    module = nn.Sequential(*(nn.Linear(size, 1) for size in (9, 2, 8, 3, 7, 4)))
    coverage = Coverage.of(module, Layout.of(module, "1.*"))
    assert str(coverage) == "3 of 39 parameters (not chosen by params: 10 in '0', 9 in '2', 8 in '4', 9 in 2 others)"


def test_tied_parameters_count_once():
    module = Tied()
    assert str(Coverage.of(module, Layout.of(module))) == "all 24 parameters"
    assert total(module) == 24


def test_little_is_warned_of_unless_it_was_asked_for():
    with pytest.warns(
        UserWarning, match=r"θ holds 82 of 1,922 parameters \(frozen: 1,840 in 'body'\).*params=.*include_"
    ) as caught:
        loss = Loss.of(Adapted(), DATA, CRITERION)
    assert caught[0].filename == __file__
    assert loss.attrs["parameters"] == "82 of 1,922"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Loss.of(Adapted(), DATA, CRITERION, params="head.*")
        whole = Loss.of(Adapted(), DATA, CRITERION, include_frozen=True)
    assert "parameters" not in whole.attrs


def test_a_result_carries_it():
    module = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    loss = Loss.of(module, DATA, CRITERION, params="1.*")
    generator = torch.Generator().manual_seed(0)
    for result in (
        la.interpolate(loss, 0 * loss.theta, loss.theta, steps=3),
        la.spectrum(loss, loss.theta, k=1, generator=generator),
    ):
        assert result.attrs["parameters"] == "8 of 23"
    whole = Loss.of(module, DATA, CRITERION)
    assert "parameters" not in la.interpolate(whole, 0 * whole.theta, whole.theta, steps=3).attrs


@pytest.mark.parametrize(("options", "words"), [
    ({}, "Loss(Sequential, θ all 23 parameters, 6 examples in 1 batch, criterion CrossEntropyLoss, weighted by "
         "examples, float32 on cpu)"),
    ({"batch_size": 4, "params": "0.*", "metrics": {"accuracy": la.accuracy}, "weight_decay": 0.01},
     "Loss(Sequential, θ 15 of 23 parameters (not chosen by params: 8 in '1'), 6 examples in 2 batches, criterion "
     "CrossEntropyLoss, metrics accuracy, weighted by examples, weight decay 0.01, float32 on cpu)"),
    ({"buffers": "batch", "reduction": "sum"}, "Loss(Sequential, θ all 23 parameters, 6 examples in 1 batch, criterion "
     "CrossEntropyLoss, summed, buffers batch, float32 on cpu)"),
])  # fmt: skip
def test_a_loss_prints_as_one_line(options, words):
    module = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    assert repr(Loss.of(module, DATA, CRITERION, **options)) == words
