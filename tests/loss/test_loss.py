from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import vector_to_parameters

from lossatlas import hardware
from lossatlas.loss.loss import Loss
from lossatlas.loss.metrics import accuracy
from lossatlas.operators.hessian import Hessian, dense_hessian
from lossatlas.parameters.curves import Affine, centered


def by_hand(module, theta, inputs, targets):
    """The mean loss and the accuracy on all data, through the module's own forward."""
    module = copy.deepcopy(module).eval()
    vector_to_parameters(theta, module.parameters())
    with torch.no_grad():
        output = module(inputs)
    return float(nn.functional.cross_entropy(output, targets)), float((output.argmax(1) == targets).double().mean())


def test_ragged_batches_weigh_by_their_examples(loss, mlp, moons, theta):
    expected, share = by_hand(mlp, theta, *moons)
    values = loss.evaluate(theta[None])
    assert values["loss"].item() == pytest.approx(expected, rel=1e-13)
    assert values["accuracy"].item() == pytest.approx(share, abs=1e-15)
    assert loss.examples == 37
    assert loss.batches == 3


def test_one_batch_of_one_example_weighs_one_example(mlp, moons, theta):
    inputs, targets = moons
    halves = Loss.of(mlp, [(inputs[:36], targets[:36]), (inputs[36:], targets[36:])], nn.CrossEntropyLoss())
    assert halves(theta).item() == pytest.approx(by_hand(mlp, theta, *moons)[0], rel=1e-13)


def test_the_modules_own_parameters_are_kept(loss, mlp, moons):
    own = torch.nn.utils.parameters_to_vector(mlp.parameters()).detach()
    assert torch.equal(loss.theta, own)
    assert loss(loss.theta).item() == pytest.approx(by_hand(mlp, own, *moons)[0], rel=1e-13)


def test_a_stack_equals_its_members_one_by_one(loss, mlp, moons, generator):
    points = torch.randn(7, loss.layout.size, generator=generator, dtype=torch.float64)
    stacked = loss.evaluate(points)
    for index, point in enumerate(points):
        expected, share = by_hand(mlp, point, *moons)
        assert stacked["loss"][index].item() == pytest.approx(expected, rel=1e-12)
        assert stacked["accuracy"][index].item() == pytest.approx(share, abs=1e-15)
        assert loss(point).item() == pytest.approx(expected, rel=1e-12)
    assert loss(points).shape == (7,)
    assert loss(points[0]).shape == ()


@pytest.mark.parametrize("chunk_bytes", [1, 10_000, 2**30])
def test_the_chunk_changes_nothing(mlp, ragged, theta, generator, monkeypatch, chunk_bytes):
    points = theta + torch.randn(5, len(theta), generator=generator, dtype=torch.float64)
    expected = Loss.of(mlp, ragged, nn.CrossEntropyLoss())(points)
    monkeypatch.setattr(hardware, "CHUNK_BYTES", chunk_bytes)
    other = Loss.of(mlp, ragged, nn.CrossEntropyLoss())
    assert torch.allclose(other(points), expected, rtol=1e-13, atol=0)
    assert (other.chunk == 1) == (chunk_bytes == 1)


def test_the_metric_comes_from_the_same_pass(moons):
    class Counting(nn.Module):
        calls = 0

        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2, dtype=torch.float64)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            Counting.calls += 1
            return self.linear(x)

    def passes(metrics) -> int:
        loss = Loss.of(Counting(), moons, nn.CrossEntropyLoss(), metrics=metrics)
        loss.evaluate(loss.theta[None])  # measures the chunk, too
        Counting.calls = 0
        loss.evaluate(loss.theta.repeat(4, 1))
        return Counting.calls

    assert passes({"accuracy": accuracy}) == passes({})


def test_accuracy_counts():
    output = torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    assert accuracy(output, torch.tensor([1, 0, 0, 0])).item() == 0.75


def test_nan_stays_at_its_point(loss, theta):
    points = theta.repeat(4, 1)
    points[2, 0] = torch.nan
    values = loss(points)
    assert torch.equal(torch.isnan(values), torch.tensor([False, False, True, False]))
    assert torch.allclose(values[[0, 1, 3]], loss(theta), rtol=1e-13, atol=0)


def test_infinity_stays_infinite():
    loss = Loss.of(nn.Linear(1, 1, bias=False), (torch.ones(2, 1), torch.zeros(2, 1)), nn.MSELoss())
    assert torch.equal(loss(torch.tensor([[1e30], [1.0]])), torch.tensor([torch.inf, 1.0], dtype=torch.float64))


def test_sums_are_in_float64(moons):
    """float32 members, yet the weights and the sum over batches lose nothing."""
    module = nn.Linear(2, 2)
    inputs, targets = moons[0].float(), moons[1]
    loss = Loss.of(module, list(zip(inputs.split(16), targets.split(16), strict=True)), nn.CrossEntropyLoss())
    with torch.no_grad():
        expected = sum(
            float(nn.functional.cross_entropy(module(x), y)) * len(x)
            for x, y in zip(inputs.split(16), targets.split(16), strict=True)
        )
    value = loss(loss.theta)
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(expected / 37, rel=2e-7)


def test_to_float64_changes_only_the_precision(moons):
    inputs, targets = moons[0].float(), moons[1]
    single = Loss.of(
        nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2)), (inputs, targets), nn.CrossEntropyLoss()
    )
    double = single.to(torch.float64)
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    assert double.layout == single.layout
    assert torch.equal(double.theta, single.theta.double())
    assert double(single.theta).item() == pytest.approx(
        by_hand(double.module, double.theta, inputs.double(), targets)[0], rel=1e-13
    )
    assert single.dtype == torch.float32
    assert next(single.module.parameters()).dtype == torch.float32


def test_the_gradient_is_the_central_difference(loss, theta, generator):
    """|(L(θ+hv) − L(θ−hv)) / 2h − ∇L·v| is at most h²/6 |L'''| + ε|L|/h: 1e-9 at h = 1e-5."""
    gradient = loss.gradient(theta)
    h = 1e-5
    for axis in range(loss.layout.size):
        step = torch.zeros_like(theta)
        step[axis] = h
        difference = (loss(theta + step) - loss(theta - step)) / (2 * h)
        assert gradient[axis].item() == pytest.approx(difference.item(), abs=1e-9)


def test_the_gradient_of_a_linear_regression_is_known(generator):
    x = torch.randn(11, 3, generator=generator, dtype=torch.float64)
    y = torch.randn(11, 1, generator=generator, dtype=torch.float64)
    module = nn.Linear(3, 1, bias=False, dtype=torch.float64)
    loss = Loss.of(module, list(zip(x.split(4), y.split(4), strict=True)), nn.MSELoss())
    w = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    assert torch.allclose(loss.gradient(w), 2 * x.T @ (x @ w - y[:, 0]) / 11, rtol=1e-12)


def test_batch_losses_add_up(loss, theta):
    assert sum(float(share) for share in loss.batch_losses(theta)) == pytest.approx(loss(theta).item(), rel=1e-13)


def test_batch_outputs_are_the_modules_with_their_share_of_the_loss(loss, ragged, theta):
    shares = []
    for (inputs, targets), (output, share) in zip(ragged, loss.batch_outputs(theta), strict=True):
        assert output.shape == (len(inputs), 2)
        assert share(output).item() == nn.functional.cross_entropy(output, targets).item() * (len(inputs) / 37)
        shares.append(share(output).item())
    assert sum(shares) == pytest.approx(loss(theta).item(), rel=1e-13)


def test_batch_norm_uses_the_stored_statistics_and_keeps_them(generator):
    module = nn.Sequential(nn.Linear(2, 3, dtype=torch.float64), nn.BatchNorm1d(3, dtype=torch.float64))
    norm = module[1]
    norm.running_mean.copy_(torch.tensor([1.0, -2.0, 0.5]))
    norm.running_var.copy_(torch.tensor([4.0, 0.25, 1.0]))
    module.train()
    x = torch.randn(9, 2, generator=generator, dtype=torch.float64)
    y = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    loss = Loss.of(module, list(zip(x.split(4), y.split(4), strict=True)), nn.MSELoss())
    theta = torch.randn(loss.layout.size, generator=generator, dtype=torch.float64)
    w, b, scale, shift = theta[:6].reshape(3, 2), theta[6:9], theta[9:12], theta[12:]
    mean, var = torch.tensor([[1.0, -2.0, 0.5], [4.0, 0.25, 1.0]], dtype=torch.float64)
    expected = (((x @ w.T + b - mean) / (var + 1e-5).sqrt() * scale + shift - y) ** 2).mean()
    assert loss(theta).item() == pytest.approx(expected.item(), rel=1e-12)
    loss.gradient(theta)
    assert module.training
    assert int(norm.num_batches_tracked) == 0
    assert torch.equal(norm.running_mean, mean)
    assert all(parameter.grad is None for parameter in module.parameters())


def test_dropout_is_off(moons):
    module = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 2, dtype=torch.float64)).train()
    loss = Loss.of(module, moons, nn.CrossEntropyLoss())
    assert loss(loss.theta).item() == pytest.approx(by_hand(module, loss.theta, *moons)[0], rel=1e-13)


def test_training_on_leaves_the_loss_alone(loss, mlp, theta):
    before = loss(theta)
    with torch.no_grad():
        for parameter in mlp.parameters():
            parameter.zero_()
    assert torch.equal(loss(theta), before)
    assert not torch.equal(loss.theta, torch.zeros_like(loss.theta))


def test_tied_parameters_move_together():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(1, 1, bias=False)
            self.b = nn.Linear(1, 1, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x))

    loss = Loss.of(Twice(), (torch.ones(2, 1), torch.zeros(2, 1)), nn.MSELoss())
    assert loss(torch.tensor([3.0])).item() == 81  # (w²)²
    assert loss.gradient(torch.tensor([3.0])).tolist() == [108]  # 4w³


def test_frozen_parameters_stay_where_they_are():
    module = nn.Linear(1, 1)
    with torch.no_grad():
        module.bias.fill_(2)
    module.bias.requires_grad_(False)
    loss = Loss.of(module, (torch.ones(2, 1), torch.zeros(2, 1)), nn.MSELoss())
    assert loss(torch.tensor([3.0])).item() == 25


def test_points_may_be_made_lazily(loss, theta, generator):
    basis = torch.randn(1, len(theta), generator=generator, dtype=torch.float64)
    points = Affine(theta, basis, centered(1.0, 5)[:, None])
    assert torch.allclose(loss.evaluate(points)["loss"], loss(points[0:5]), rtol=1e-13)


def test_theta_may_ask_for_a_gradient(loss, theta):
    asking = theta.clone().requires_grad_()
    assert torch.equal(loss(asking), loss(theta))
    assert torch.equal(loss.gradient(asking), loss.gradient(theta))
    assert asking.grad is None
    expected = loss.gradient(theta)
    with torch.no_grad():
        assert torch.equal(loss.gradient(theta), expected)


@pytest.mark.parametrize("data", [[], [(torch.zeros(0, 2), torch.zeros(0))], (torch.zeros(0, 2), torch.zeros(0))])
def test_no_examples_is_an_error(data):
    with pytest.raises(ValueError, match="the data hold no examples"):
        Loss.of(nn.Linear(2, 1), data, nn.MSELoss())


def test_no_parameters_is_an_error(moons):
    with pytest.raises(ValueError, match="Tanh has no parameter"):
        Loss.of(nn.Tanh(), moons, nn.MSELoss())


def test_inputs_and_targets_of_different_length_are_an_error():
    with pytest.raises(ValueError, match="a batch has 3 inputs and 2 targets"):
        Loss.of(nn.Linear(2, 1), (torch.zeros(3, 2), torch.zeros(2, 1)), nn.MSELoss())


@pytest.mark.parametrize("call", [lambda loss, t: loss(t), lambda loss, t: loss.gradient(t)])
def test_a_theta_of_another_network_is_an_error(loss, call):
    with pytest.raises(ValueError, match="but the module has 27 parameters"):
        call(loss, torch.zeros(26))


def test_data_may_be_any_iterable_read_once(mlp, ragged, loss, theta):
    assert torch.equal(Loss.of(mlp, iter(ragged), nn.CrossEntropyLoss())(theta), loss(theta))
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.cat([x for x, _ in ragged]), torch.cat([y for _, y in ragged])), 16
    )
    before = torch.get_rng_state()
    other = Loss.of(mlp, loader, nn.CrossEntropyLoss())
    torch.set_rng_state(before)  # the loader's own draw
    assert np.isclose(other(theta), loss(theta), rtol=1e-13)


def test_chosen_parameters_move_and_the_others_stay(mlp, moons, loss, theta):
    """The block's loss, gradient and Hessian are those entries of the whole network's."""
    block = Loss.of(mlp, moons, nn.CrossEntropyLoss(), params="2.*")
    where = slice(loss.layout.slices["2.weight"].start, loss.layout.slices["2.bias"].stop)
    whole = loss.theta.clone()
    whole[where] = theta[where]
    assert block.layout.names == ("2.weight", "2.bias")
    assert block(theta[where]).item() == pytest.approx(loss(whole).item(), rel=1e-13)
    assert torch.allclose(block.gradient(theta[where]), loss.gradient(whole)[where], rtol=1e-11)
    assert torch.allclose(dense_hessian(block, theta[where]), dense_hessian(loss, whole)[where, where], atol=1e-13)
    assert block.attrs["params"] == "2.*"


def test_frozen_parameters_move_when_asked_for():
    module = nn.Linear(1, 1).requires_grad_(False)
    loss = Loss.of(module, (torch.ones(2, 1), torch.zeros(2, 1)), nn.MSELoss(), include_frozen=True)
    assert loss(torch.tensor([3.0, 1.0])).item() == 16
    assert loss.gradient(torch.tensor([3.0, 1.0])).tolist() == [8, 8]
    assert not module.weight.requires_grad


def test_memory_bounds_the_chunk(mlp, moons):
    """The largest activation of a point is 37 x 5 numbers of 8 bytes."""
    for points in (1, 7, 100):
        budget = points * 37 * 5 * 8
        assert Loss.of(mlp, moons, nn.CrossEntropyLoss(), memory=budget).chunk == points
    assert Loss.of(mlp, moons, nn.CrossEntropyLoss(), memory=1).chunk == 1
    assert Loss.of(mlp, moons, nn.CrossEntropyLoss(), batch_size=10, memory=10**6).chunk > 1


def test_small_chunks_are_evaluated_one_by_one_to_the_same_values(mlp, moons, theta, generator, monkeypatch):
    points = theta + torch.randn(5, len(theta), generator=generator, dtype=torch.float64)
    values = []
    for below in (0, 10**9):
        monkeypatch.setattr(hardware, "LOOP_BELOW", below)
        loss = Loss.of(mlp, moons, nn.CrossEntropyLoss(), metrics={"accuracy": accuracy})
        with pytest.MonkeyPatch.context() as one:
            if below:
                one.setattr(loss._sums._values, "_vectorized", None)
            values.append(loss.evaluate(points))
    assert torch.allclose(values[0]["loss"], values[1]["loss"], rtol=1e-13, atol=0)
    assert torch.equal(values[0]["accuracy"], values[1]["accuracy"])


def test_a_sum_that_is_zero_on_the_first_of_many_examples_is_known_as_a_sum():
    """A hinge that is met by the first 4,096 examples of the larger batch."""
    module = nn.Linear(1, 1, bias=False).double()
    nn.init.ones_(module.weight)
    x = torch.cat([torch.full((4096, 1), 2.0), torch.full((904, 1), 0.25)]).double()
    batches = [(x, torch.ones_like(x)), (x[:1000] / 4, torch.ones(1000, 1).double())]

    def hinge(output, target):
        return torch.relu(1 - output * target).sum()

    loss = Loss.of(module, batches, hinge)
    assert loss(loss.theta).item() == pytest.approx(904 * 0.75 + 1000 * 0.5, rel=1e-12)


def test_a_criterion_that_is_zero_everywhere_is_taken_for_a_mean_which_is_said():
    def hinge(output, target):
        return torch.relu(1 - output * target).sum()

    module, x = nn.Linear(1, 1, bias=False), torch.ones(3, 1)
    nn.init.constant_(module.weight, 2.0)
    with pytest.warns(UserWarning, match=r'hinge is 0 or not finite on all data.*say which by reduction="sum"'):
        loss = Loss.of(module, [(x, x), (x, x)], hinge)
    assert loss(torch.zeros(1)).item() == 3
    told = Loss.of(module, [(x, x), (x / 10, x)], hinge)  # the second batch tells
    assert told(torch.zeros(1)).item() == 6


def test_a_metric_that_is_a_parameter_is_that_of_the_point():
    class Tempered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.temperature = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

        def forward(self, x):
            return x * self.temperature, self.temperature

    loss = Loss.of(
        Tempered(), (torch.ones(3, 1).double(), torch.zeros(3, 1).double()), lambda output, _: output[0].mean(),
        metrics={"temperature": lambda output, _: output[1]}, reduction="mean", memory=1,
    )  # fmt: skip
    found = loss.evaluate(torch.tensor([[1.0], [3.0], [7.0]], dtype=torch.float64))
    assert found["temperature"].tolist() == [1, 3, 7]


def test_class_weights_follow_the_precision(mlp, moons):
    loss = Loss.of(mlp.float(), (moons[0].float(), moons[1]), nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0])))
    assert loss.to(torch.float64)(loss.theta).item() == pytest.approx(loss(loss.theta).item(), rel=1e-6)


# What goes wrong at the first try --------------------------------------------------------------------------------

X, Y = torch.ones(3, 2), torch.zeros(3, dtype=torch.int64)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"module": nn.Linear}, "the module is the class Linear: wanted an nn.Module"),
        ({"module": {"weight": X}}, "the module is a dict: wanted an nn.Module, with its weights loaded"),
        ({"criterion": nn.CrossEntropyLoss},
         r"the criterion is the class CrossEntropyLoss: wanted an instance, CrossEntropyLoss\(\)"),
        ({"criterion": "mse"}, "the criterion is a str: wanted a function of output and target"),
        ({"metrics": [accuracy]}, r'metrics is a list: wanted functions by name, \{"accuracy": lossatlas.accuracy\}'),
        ({"metrics": {"hits": 1.0}}, "hits is a float: wanted a function"),
        ({"metrics": {"top/5": accuracy}}, "a metric is called 'top/5': wanted ASCII letters, digits and signs"),
        ({"metrics": {"λ": accuracy}}, "a metric is called 'λ': wanted ASCII letters, digits and signs"),
        ({"metrics": {"measured": accuracy}}, "a metric is called 'measured': wanted another name than loss, penalty"),
        ({"metrics": {"loss_error": accuracy}}, "a metric is called 'loss_error': wanted another name than loss"),
        ({"metrics": {"hit": accuracy, "hit_error": accuracy}}, "a metric is called 'hit_error': .* another's with"),
        ({"metrics": {"penalty": accuracy}}, "a metric is called 'penalty': wanted another name than loss, penalty"),
        ({"forward": lambda module, batch: module(batch[0])}, r"forward= gives float32 \(3, 2\): wanted \(output"),
        ({"device": "gpu"}, "device is 'gpu', which cannot be had here: "),
    ],
)  # fmt: skip
def test_what_is_of_the_wrong_kind_is_said_at_once(changes, text):
    given = {"module": nn.Linear(2, 2), "data": (X, Y), "criterion": nn.CrossEntropyLoss(), **changes}
    with pytest.raises(ValueError, match=text):
        Loss.of(given.pop("module"), given.pop("data"), given.pop("criterion"), **given)


@pytest.mark.parametrize("wrong", [nn.Linear(2, 2), nn.Linear(2, 2).state_dict(), np.zeros(6), [0.0] * 6])
def test_a_point_that_is_no_tensor(wrong):
    loss = Loss.of(nn.Linear(2, 2), (X, Y), nn.CrossEntropyLoss())
    for call in (loss, loss.gradient, lambda theta: Hessian(loss, theta)):
        with pytest.raises(
            ValueError, match=rf"θ is a {type(wrong).__name__}: wanted a flat tensor; loss.layout.theta_of"
        ):
            call(wrong)


def test_derivatives_are_taken_at_one_point(loss, theta):
    for call in (loss.gradient, lambda theta: Hessian(loss, theta), lambda theta: next(loss.batch_losses(theta))):
        with pytest.raises(ValueError, match=r"θ has shape \(3, 27\), a stack of points: wanted one, \(27,\)"):
            call(theta.repeat(3, 1))


@pytest.mark.parametrize(
    ("criterion", "forward"),
    [
        (lambda output, target: nn.functional.cross_entropy(output, target).item(), None),
        (lambda output, target: (output.argmax(1) != target).float().mean(), None),
        (nn.CrossEntropyLoss(), lambda module, batch: (module(batch[0]).detach(), batch[1])),
    ],
    ids=["item", "argmax", "detach"],
)
def test_a_loss_that_autograd_cannot_follow_is_no_flat_landscape(criterion, forward):
    """It has values, but a gradient or Hessian of zeros would be wrong."""
    loss = Loss.of(nn.Linear(2, 2), (X, Y), criterion, forward=forward, memory=1)
    assert torch.isfinite(loss(loss.theta))
    for call in (loss.gradient, lambda theta: Hessian(loss, theta)):
        with pytest.raises(ValueError, match="the loss has no derivative in θ: wanted one that autograd can follow"):
            call(loss.theta)


def test_inference_mode_records_no_derivatives(loss, mlp, moons):
    before = loss(loss.theta)
    with torch.inference_mode():
        assert torch.equal(loss(loss.theta), before)
        with pytest.raises(ValueError, match=r"inside torch\.inference_mode\(\) nothing can be differentiated"):
            loss.gradient(loss.theta)
        with pytest.raises(ValueError, match=r"inside torch\.inference_mode"):
            Loss.of(mlp, moons, nn.CrossEntropyLoss())


@pytest.mark.parametrize(
    "criterion",
    [
        lambda output, target: ((output - target) ** 2).sum(),
        lambda output, target: ((output - target) ** 2).mean(),
        lambda output, target: ((output - target) ** 2).flatten()[:3].mean() if len(output) == 7 else 1 / 0,
    ],
    ids=["sums", "averages", "takes one size only"],
)
def test_a_criterion_that_does_not_say_whether_it_sums_is_asked(criterion, request):
    """The loss of all data is then the same, however they are cut into batches."""
    chance = torch.Generator().manual_seed(0)
    data = (torch.randn(7, 2, generator=chance), torch.randn(7, 1, generator=chance))
    loss = Loss.of(nn.Linear(2, 1), data, criterion)
    if "takes" in request.node.callspec.id:
        assert torch.isfinite(loss(loss.theta))  # it could not be asked, and is taken for a mean
        return
    expected = criterion(loss.module(data[0]), data[1]).item()
    assert loss.attrs["weighted_by"] == ("sum" if "sums" in request.node.callspec.id else "examples")
    assert loss(loss.theta).item() == pytest.approx(expected, rel=1e-6)
    cut = Loss.of(loss.module, data, criterion, batch_size=3)
    assert cut(cut.theta).item() == pytest.approx(expected, rel=1e-6)


def test_accuracy_leaves_out_what_torchs_losses_leave_out():
    output = torch.tensor([[[2.0, 1.0], [0.0, 3.0], [5.0, 0.0]]])
    assert accuracy(output, torch.tensor([[0, 0, -100]])).item() == 0.5


def test_a_watched_loss_reports_every_chunk_and_stays_the_same_function(mlp, ragged, theta, generator):
    """So do the losses that `to` and `subset` make; the loss that was watched keeps silent."""
    points = theta + torch.randn(5, len(theta), generator=generator, dtype=torch.float64)
    plain, counts = Loss.of(mlp, ragged, nn.CrossEntropyLoss(), memory=2 * theta.nbytes), []
    watched = plain.watched(counts.append)
    expected = plain(points)
    assert counts == []
    assert torch.equal(watched(points), expected)
    assert counts == [2, 2, 1]
    for other in (watched.to(torch.float32), watched.subset(20, at=theta, generator=generator)):
        counts.clear()
        assert other is not None
        other(points)
        assert sum(counts) == len(points)
    again: list[int] = []
    watched.watched(again.append)(points)
    assert again == [2, 2, 1]
    assert watched.attrs == plain.attrs


def test_what_a_callback_raises_ends_the_evaluation(loss, theta):
    def stop(count):
        raise KeyboardInterrupt(f"after {count} point")

    with pytest.raises(KeyboardInterrupt, match="after 1 point"):
        loss.watched(stop)(theta)
