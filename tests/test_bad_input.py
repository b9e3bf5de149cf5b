"""What goes wrong at the first try, and what the message says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lossatlas import interpolate, spectrum
from lossatlas.loss.loss import Loss

X, Y = torch.ones(3, 2), torch.zeros(3, dtype=torch.int64)
CRITERION = nn.CrossEntropyLoss()


def half(dtype):
    with pytest.warns(UserWarning, match="are noise") as caught:
        loss = Loss.of(nn.Linear(2, 2).to(dtype), (X.to(dtype), Y), CRITERION)
    return loss, str(caught[0].message)


@pytest.mark.parametrize(
    ("module", "data", "criterion", "text"),
    [
        (nn.Linear(3, 2), (X, Y), CRITERION,
         r"a batch, \(float32 \(3, 2\), int64 \(3,\)\), does not go through Linear and Cross\w+: mat1 and"),
        (nn.Linear(2, 2), (X.double(), Y), CRITERION, r"float64 \(3, 2\).* does not go through Linear.*same dtype"),
        (nn.Linear(2, 1), (X, Y.float()), nn.MSELoss(), r"does not go through .*target size \(torch.Size\(\[3\]\)\)"),
        (nn.Linear(2, 2), (X, Y), nn.CrossEntropyLoss(reduction="none"),
         "the reduction is 'none': wanted a criterion that gives a scalar"),
        (nn.Linear(2, 2), (X, Y), lambda output, target: output.sum(1),
         r"loss of float32 \(3, 2\) and int64 \(3,\) is a tensor of shape \(3,\): wanted a scalar per batch"),
        (nn.Linear(2, 2), [(X,)], CRITERION, r"a batch is \(float32 \(3, 2\),\): wanted \(inputs, targets\).*forward="),
        (nn.Linear(2, 2), {"x": X}, CRITERION, r"does not go through .* unexpected keyword argument 'x'"),
        (nn.Linear(2, 2), (X, Y), None, r"there is no criterion, and the module's output \(float32 \(3, 2\)\) has"),
        (nn.Flatten(), (X, Y), CRITERION, "Flatten has no parameters: there is no landscape to look at"),
        (nn.Linear(2, 2, dtype=torch.complex64), (X, Y), CRITERION, "complex64: wanted real floating-point ones"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_at_once(module, data, criterion, text):
    with pytest.raises(ValueError, match=text):
        Loss.of(module, data, criterion)


def test_a_vector_among_the_metrics():
    with pytest.raises(ValueError, match=r"hits of float32 \(3, 2\) .* is a tensor of shape \(3,\)"):
        Loss.of(nn.Linear(2, 2), (X, Y), CRITERION, metrics={"hits": lambda output, target: output.argmax(1) == target})


def test_no_memory():
    with pytest.raises(ValueError, match="memory is 0: wanted a number of bytes from 1 up"):
        Loss.of(nn.Linear(2, 2), (X, Y), CRITERION, memory=0)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ("encoder.*", r"params='encoder\.\*' matches no parameter; there are: 0\.weight, 0\.bias, 1\.weight"),
        (["0.*", "2.*"], r"params='2\.\*' matches no parameter"),
        ("1.bias", r"params='1\.bias' matches no parameter that is not frozen \(include_frozen=True takes those too\)"),
        ([], "params is empty: wanted one pattern at least"),
    ],
)
def test_patterns_that_match_nothing(params, text):
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module[1].bias.requires_grad_(False)
    with pytest.raises(ValueError, match=text):
        Loss.of(module, (X, Y), CRITERION, params=params)


def test_nan_in_the_weights_is_a_result_that_says_so(generator):
    module = nn.Linear(2, 2)
    with torch.no_grad():
        module.weight[0, 0] = torch.nan
    with pytest.warns(UserWarning, match=r"weights \['weight'\] are not finite: the loss is NaN wherever"):
        loss = Loss.of(module, (X, Y), CRITERION)
    result = interpolate({"a": loss, "b": loss}, torch.zeros(6), loss.theta, steps=5)
    assert np.isnan(result.loss.sel(alpha=1).values).all()
    assert result.attrs["not_finite"] == int(np.isnan(result.loss).sum())
    clean = interpolate(loss, torch.zeros(6), torch.ones(6), steps=3)
    assert "not_finite" not in clean.attrs
    with pytest.raises(ValueError, match="not finite"):
        spectrum(loss, loss.theta, generator=generator, k=2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_computes_as_the_module_does_and_warns(dtype):
    loss, text = half(dtype)
    assert f"there are parameters in {str(dtype)[6:]}: differences of the loss below about" in text
    expected = nn.functional.cross_entropy(loss.module(X.to(dtype)), Y).detach()
    value = loss(loss.theta)
    assert value.dtype == torch.float64
    assert value.item() == expected.double().item()
    assert loss.gradient(loss.theta).dtype == dtype
    finer = loss.to(torch.float32)
    assert finer(finer.theta).item() == pytest.approx(value.item(), rel=20 * torch.finfo(dtype).eps)


def test_a_loss_in_float32_of_a_half_precision_module_is_not_rounded():
    """A sum over float16 batches of 1 + 2⁻¹² needs more than float16's 11 bits."""
    with pytest.warns(UserWarning, match="float16"):
        loss = Loss.of(
            nn.Linear(2, 2).half(), [(X.half(), Y)] * 3, lambda output, _: output.float().sum() * 0 + (1 + 2**-12)
        )
    assert loss(loss.theta).item() == 1 + 2**-12


def test_parameters_of_several_precisions_compute_each_in_its_own():
    module = nn.Sequential(nn.Linear(2, 2).bfloat16(), Widen(), nn.Linear(2, 2))
    with pytest.warns(UserWarning, match="there are parameters in bfloat16"):
        loss = Loss.of(module, (X.bfloat16(), Y), CRITERION)
    assert loss.dtype == torch.float32
    assert loss(loss.theta).item() == CRITERION(module(X.bfloat16()), Y).item()
    assert loss.gradient(loss.theta).dtype == torch.float32
    assert loss.to(torch.float64).dtype == torch.float64


class Widen(nn.Module):
    def forward(self, x):
        return x if x.dtype == torch.float64 else x.float()


def test_a_stack_of_stacks_of_points():
    with pytest.raises(ValueError, match=r"θ has shape \(2, 3, 6\): wanted one point or a stack"):
        Loss.of(nn.Linear(2, 2), (X, Y), CRITERION)(torch.zeros(2, 3, 6))


@pytest.mark.parametrize("call", ["__call__", "gradient"])
@pytest.mark.parametrize("shape", [(5,), (2, 7), ()])
def test_a_theta_of_the_wrong_length(call, shape):
    loss = Loss.of(nn.Linear(2, 2), (X, Y), CRITERION)
    with pytest.raises(ValueError, match=r"but the module has 6 parameters: wanted \(6,\) or \(n, 6\)"):
        getattr(loss, call)(torch.zeros(shape))
