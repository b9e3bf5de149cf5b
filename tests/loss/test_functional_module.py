"""Batch statistics, what is random in a module, and that the user's module stays as it is."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from lossatlas import interpolate, random_plane
from lossatlas.loss.loss import Loss
from lossatlas.operators.hessian import Hessian
from lossatlas.parameters.curves import Segment
from lossatlas.probes.sampling import sample
from tests.conftest import seeded
from tests.networks import ResNet, build, ragged
from tests.probes.test_contract import state

CRITERION = nn.CrossEntropyLoss()


@pytest.fixture
def resnet():
    """With statistics that are not those of the data, in training mode."""
    module, x, y = build("resnet")
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean += 0.3
            norm.running_var *= 1.7
    return module, x, y


@pytest.fixture
def theta(resnet):
    own = parameters_to_vector(resnet[0].parameters()).detach()
    return own + 0.2 * torch.randn(len(own), generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def update_bn(module, batches):
    """As timgaripov/dnn-mode-connectivity utils.update_bn: reset, then a cumulative average over the batches."""
    module.train()
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
    seen = 0
    with torch.no_grad():
        for x, _ in batches:
            for norm in norms:
                norm.momentum = len(x) / (seen + len(x))
            module(x)
            seen += len(x)
    return module.eval()


def mean_loss(module, batches):
    with torch.no_grad():
        return sum(CRITERION(module(x), y).item() * len(x) for x, y in batches) / sum(len(x) for x, _ in batches)


def placed(module, theta):
    module = copy.deepcopy(module).eval()
    vector_to_parameters(theta, module.parameters())
    return module


def test_stored_statistics(resnet, theta):
    module, x, y = resnet
    loss = Loss.of(module, ragged(x, y), CRITERION)
    assert loss(theta).item() == pytest.approx(mean_loss(placed(module, theta), ragged(x, y)), rel=1e-12)


def test_re_estimated_statistics_are_those_of_update_bn_at_every_point(resnet, theta):
    module, x, y = resnet
    loss = Loss.of(module, ragged(x, y), CRITERION, buffers="re-estimated")
    points = torch.stack([theta, loss.theta, theta])
    for point, value in zip(points, loss(points), strict=True):
        expected = mean_loss(update_bn(placed(module, point), ragged(x, y)), ragged(x, y))
        assert value.item() == pytest.approx(expected, rel=1e-12)


def test_statistics_of_the_batch_are_those_of_training(resnet, theta):
    module, x, y = resnet
    loss = Loss.of(module, ragged(x, y), CRITERION, buffers="batch")
    training = placed(module, theta).train()
    assert loss(theta).item() == pytest.approx(mean_loss(training, ragged(x, y)), rel=1e-12)
    whole = Loss.of(module, (x, y), CRITERION, buffers="batch")
    assert abs(whole(theta).item() - loss(theta).item()) > 1e-4  # they depend on the split into batches


@pytest.mark.parametrize("buffers", ["stored", "batch"])
def test_the_gradient_is_that_of_the_values(resnet, theta, buffers):
    module, x, y = resnet
    loss = Loss.of(module, ragged(x, y), CRITERION, buffers=buffers)
    v = torch.randn(len(theta), generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    difference = (loss(theta + 1e-5 * v) - loss(theta - 1e-5 * v)) / 2e-5
    assert float(loss.gradient(theta) @ v) == pytest.approx(difference.item(), rel=1e-6)


def test_derivatives_hold_re_estimated_statistics_fixed(resnet, theta):
    """The gradient at θ is that of a module whose statistics were re-estimated at θ and stored."""
    module, x, y = resnet
    fixed = update_bn(placed(module, theta), ragged(x, y))
    expected = Loss.of(fixed, ragged(x, y), CRITERION).gradient(theta)
    found = Loss.of(module, ragged(x, y), CRITERION, buffers="re-estimated").gradient(theta)
    assert torch.allclose(found, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("buffers", ["stored", "batch", "re-estimated"])
def test_the_choice_is_in_the_result(resnet, theta, buffers):
    module, x, y = resnet
    loss = Loss.of(module, ragged(x, y), CRITERION, buffers=buffers)
    alpha = torch.linspace(0, 1, 3, dtype=torch.float64)
    result = sample({"train": loss}, Segment(loss.theta, theta, alpha), {"alpha": alpha.numpy()})
    assert result.attrs["buffers"] == buffers


def test_another_choice_is_an_error(resnet):
    with pytest.raises(ValueError, match=r"buffers is 'running': wanted one of \('stored', 'interpolated', 'batch', "):
        Loss.of(resnet[0], resnet[1:], CRITERION, buffers="running")


@pytest.mark.parametrize("buffers", ["stored", "batch", "re-estimated"])
def test_re_estimation_in_double_precision_too(resnet, buffers):
    module, x, y = resnet
    single = Loss.of(module.float(), ragged(x.float(), y), CRITERION, buffers=buffers)
    double = single.to(torch.float64)
    assert double(double.theta).item() == pytest.approx(single(single.theta).item(), rel=1e-5)
    assert double.attrs["buffers"] == buffers


def test_directions_come_from_parameters_never_from_running_statistics(resnet):
    """At the corner of a plane a running variance plus a Gaussian would be negative, and the loss NaN."""
    module, x, y = resnet
    loss = Loss.of(module, ragged(x, y), CRITERION)
    before = {name: tensor.clone() for name, tensor in loss.module.named_buffers()}
    plane = random_plane(loss, loss.theta, generator=torch.Generator().manual_seed(1), steps=3, biases="layer")
    assert loss.layout.size == sum(p.numel() for p in module.parameters())
    assert bool(plane.loss.notnull().all())
    assert all(torch.equal(tensor, before[name]) for name, tensor in loss.module.named_buffers())


def test_values_gradient_and_curvature_are_all_of_eval_mode_and_write_no_statistics(resnet, theta):
    """nngeom takes the loss in eval mode, but the Hessian in the caller's mode, and moves running_mean by it."""
    module, x, y = resnet
    assert module.training
    loss = Loss.of(module, ragged(x, y), CRITERION)
    before = state(loss.module)
    v = torch.randn(len(theta), generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    v /= v.norm()
    product = float(Hessian(loss, theta)(v[None])[0] @ v)
    ahead, here, behind = loss(torch.stack([theta + 1e-3 * v, theta, theta - 1e-3 * v]))
    assert product == pytest.approx(float(ahead - 2 * here + behind) / 1e-6, rel=1e-3)
    assert state(loss.module) == before


# Interpolated along with the weights ----------------------------------------------------------------------------


def trained(number, dtype=torch.float64):
    """A ResNet a few steps into training, in eval mode, with its data."""
    _, x, y = build("resnet")
    x = x.to(dtype)
    with torch.random.fork_rng():
        torch.manual_seed(number)
        module = ResNet().to(dtype)
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    for _ in range(6):
        optimizer.zero_grad()
        CRITERION(module(x), y).backward()
        optimizer.step()
    return module.eval(), x, y


def mixed(models, weights):
    """A model whose floating-point entries of the state dict are the weighted sum of the models'."""
    states = [model.state_dict() for model in models]
    module = copy.deepcopy(models[0])
    module.load_state_dict({
        name: sum(weight * state[name] for weight, state in zip(weights, states, strict=True))
        if entry.is_floating_point()
        else entry
        for name, entry in states[0].items()
    })  # fmt: skip
    return module


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("as_states", [False, True], ids=["modules", "state dicts"])
def test_statistics_go_along_from_one_model_to_another(dtype, as_states):
    (a, x, y), (b, *_) = trained(0, dtype), trained(1, dtype)
    batches = ragged(x, y)
    between = [model.state_dict() if as_states else model for model in (a, b)]
    loss = Loss.of(a, batches, CRITERION, buffers="interpolated", between=between)
    result = interpolate(loss, loss.layout.theta_of(a), loss.layout.theta_of(b), steps=5)
    for alpha in (0.0, 1.0):  # exactly each model's own loss in eval mode
        assert float(result.loss.sel(alpha=alpha)) == mean_loss((a, b)[int(alpha)], batches)
    rounding = 1e-12 if dtype == torch.float64 else 2e-6
    for alpha in (0.25, 0.5, 0.75):
        by_hand = mean_loss(mixed((a, b), (1 - alpha, alpha)), batches)
        assert float(result.loss.sel(alpha=alpha)) == pytest.approx(by_hand, rel=rounding)
    plain = Loss.of(a, batches, CRITERION, buffers="stored")
    stored = interpolate(plain, loss.layout.theta_of(a), loss.layout.theta_of(b), steps=5)
    assert abs(float(stored.loss[2] - result.loss[2])) > 1e-3
    assert (result.attrs["buffers"], result.attrs["between"]) == ("interpolated", 2)


def test_statistics_of_three_models_in_their_plane():
    models = [trained(number)[0] for number in range(3)]
    _, x, y = trained(0)
    loss = Loss.of(models[2], ragged(x, y), CRITERION, buffers="interpolated", between=models)
    thetas = torch.stack([loss.layout.theta_of(model) for model in models])
    for weights in [*torch.eye(3).tolist(), [0.2, 0.5, 0.3], [1.3, -0.2, -0.1]]:
        expected = mean_loss(mixed(models, weights), ragged(x, y))
        assert loss(torch.tensor(weights, dtype=torch.float64) @ thetas).item() == pytest.approx(expected, rel=1e-12)


def test_a_step_at_right_angles_to_the_models_leaves_the_statistics(generator):
    (a, x, y), (b, *_) = trained(0), trained(1)
    loss = Loss.of(a, (x, y), CRITERION, buffers="interpolated", between=(a, b))
    start, end = loss.layout.theta_of(a), loss.layout.theta_of(b)
    step = torch.randn(len(start), generator=generator, dtype=torch.float64)
    step -= (step @ (end - start)) / (end - start).square().sum() * (end - start)
    held = placed(a, start + 0.1 * step)
    assert loss(start + 0.1 * step).item() == pytest.approx(mean_loss(held, [(x, y)]), rel=1e-12)


def test_derivatives_hold_interpolated_statistics_fixed():
    (a, x, y), (b, *_) = trained(0), trained(1)
    loss = Loss.of(a, ragged(x, y), CRITERION, buffers="interpolated", between=(a, b))
    middle = mixed((a, b), (0.5, 0.5))
    fixed = Loss.of(middle, ragged(x, y), CRITERION)
    assert torch.allclose(loss.gradient(fixed.theta), fixed.gradient(fixed.theta), rtol=1e-9, atol=1e-13)
    v = torch.eye(loss.layout.size, dtype=torch.float64)[5:7]
    assert torch.allclose(Hessian(loss, fixed.theta)(v), Hessian(fixed, fixed.theta)(v), rtol=1e-9, atol=1e-12)
    single = loss.to(torch.float32)
    assert single(fixed.theta).item() == pytest.approx(loss(fixed.theta).item(), rel=1e-5)


def test_buffers_that_are_no_statistics_go_along_too(moons):
    """A state that the forward also writes to."""

    def made(value):
        module, *_ = build("counting")
        module.calls.fill_(value)
        with torch.no_grad():
            module.linear.bias.add_(value)
        return module

    a, b = made(0.0), made(4.0)
    y = torch.zeros(37, dtype=torch.int64)
    loss = Loss.of(a, [(moons[0][:20], y[:20]), (moons[0][20:], y[20:])], CRITERION, buffers="interpolated",
                   between=(a, b))  # fmt: skip
    middle = (loss.layout.theta_of(a) + loss.layout.theta_of(b)) / 2
    output = nn.functional.linear(moons[0], a.linear.weight, a.linear.bias + 2) * 3  # calls: 2, and then one more
    assert loss(middle).item() == pytest.approx(CRITERION(output, y).item(), rel=1e-12)
    assert sum(float(share) for share in loss.batch_losses(middle)) == pytest.approx(loss(middle).item(), rel=1e-12)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (lambda a, b: {"buffers": "interpolated"}, "buffers is 'interpolated' and between is missing: wanted both"),
        (lambda a, b: {"between": (a, b)}, "buffers is 'stored' and between is given: wanted both"),
        (lambda a, b: {"buffers": "interpolated", "between": [a]}, "between holds 1 models: wanted two at least"),
        (lambda a, b: {"buffers": "interpolated", "between": [a, a]}, "the models of between have the same weights"),
        (lambda a, b: {"buffers": "interpolated", "between": [a, b, mixed((a, b), (0.4, 0.6))]}, "lie on one line"),
        (lambda a, b: {"buffers": "interpolated", "between": [a, nn.Linear(2, 2)]}, r"model 1 of .* no \['stem"),
        (lambda a, b: {"buffers": "interpolated", "between": [a, dict(b.named_parameters())]}, "running_mean"),
        (lambda a, b: {"buffers": "interpolated", "between": [a, b], "params": "head.*"},
         r"models of between differ in \['stem.0.weight', .*, which θ does not hold"),
        (lambda a, b: {"buffers": "interpolated", "between": [a, mixed((a, b), (0.0, float("nan")))]}, "NaN or infin"),
    ],
)  # fmt: skip
def test_models_whose_statistics_cannot_be_interpolated(options, text):
    (a, x, y), (b, *_) = trained(0), trained(1)
    with pytest.raises(ValueError, match=text):
        Loss.of(a, (x, y), CRITERION, **options(a, b))


# Untouched -----------------------------------------------------------------------------------------------------


class Interrupting(ResNet):
    """Raises on request in the middle of a pass."""

    error: BaseException | None = None

    def forward(self, x):
        hidden = self.blocks[0](self.stem(x))
        if Interrupting.error:
            raise Interrupting.error
        return self.head(hidden.mean((2, 3)))


@pytest.mark.filterwarnings("ignore:.* have no effect on the loss")
@pytest.mark.parametrize("buffers", ["stored", "batch", "re-estimated"])
@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()])
@pytest.mark.parametrize("call", ["of", "evaluate", "gradient"])
def test_the_module_stays_bit_for_bit_after_an_exception(buffers, error, call, monkeypatch):
    _, x, y = build("resnet")
    module = seeded(lambda: Interrupting().double()).train()
    module.blocks[1].eval()
    CRITERION(module(x), y).backward()
    module.head.register_forward_hook(lambda *_: None)
    before, randomness = state(module), torch.get_rng_state()
    loss = Loss.of(module, ragged(x, y), CRITERION, buffers=buffers)
    inside = state(loss.module)
    monkeypatch.setattr(Interrupting, "error", error)
    calls = {
        "of": lambda: Loss.of(module, ragged(x, y), CRITERION, buffers=buffers),
        "evaluate": lambda: loss(2 * loss.theta),
        "gradient": lambda: loss.gradient(2 * loss.theta),
    }
    with pytest.raises((type(error), ValueError)):
        calls[call]()
    assert state(module) == before
    assert state(loss.module) == inside
    assert torch.equal(torch.get_rng_state(), randomness)
    assert torch.backends.mha.get_fastpath_enabled()
    monkeypatch.setattr(Interrupting, "error", None)
    again = Loss.of(module, ragged(x, y), CRITERION, buffers=buffers)
    assert torch.equal(loss(loss.theta), again(again.theta))


def test_buffers_that_the_module_writes_to_stay(resnet):
    module, x, y = build("counting")
    loss = Loss.of(module, ragged(x, y), CRITERION)
    with pytest.warns(UserWarning, match=r"its forward writes to its buffers \['calls'\]"):
        loss(loss.theta)
    loss.gradient(loss.theta)
    loss.to(torch.float32).gradient(loss.theta)
    assert float(module.calls) == 0
    assert float(loss.module.calls) == 0


@pytest.mark.parametrize("rows", [5, 5000])  # of a large batch a part is passed twice
def test_dropout_left_on_by_force_is_named(rows):
    class Noisy(nn.Module):
        def forward(self, x):
            return nn.functional.dropout(x, 0.5, training=True)

    module = nn.Sequential(nn.Linear(2, 8), Noisy(), nn.Linear(8, 2))
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=r"Sequential gives .* for the same batch and weights, from '1' on: .*dropout"):
        Loss.of(module, (torch.ones(rows, 2), torch.zeros(rows, dtype=torch.int64)), CRITERION)
    assert torch.equal(torch.get_rng_state(), before)
    assert not module[1]._forward_hooks


@pytest.mark.parametrize("weighted", ["mean", "sum"])
def test_a_criterion_with_a_weight_for_each_of_many_examples_is_given_all_of_them(generator, weighted):
    weights = torch.rand(5000, generator=generator, dtype=torch.float64)

    def criterion(output, target):
        return getattr(weights * (output - target).square().sum(-1), weighted)()

    module = nn.Linear(2, 1).double()
    x, y = torch.randn(5000, 2, generator=generator, dtype=torch.float64), torch.ones(5000, 1, dtype=torch.float64)
    with torch.no_grad():
        wanted = criterion(module(x), y).item()
    loss = Loss.of(module, (x, y), criterion, reduction=weighted)
    assert loss(loss.theta).item() == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("used", [False, True])
def test_old_weight_norm_is_a_function_of_its_parameters(moons, generator, used):
    with pytest.warns(FutureWarning):
        linear = torch.nn.utils.weight_norm(nn.Linear(2, 2, dtype=torch.float64))
    if used:  # the weight that its hook computed is then kept on the module, with its graph
        linear(moons[0])
    loss = Loss.of(nn.Sequential(linear), moons, CRITERION)
    theta = torch.randn(loss.layout.size, generator=generator, dtype=torch.float64)
    parts = loss.layout.unflatten(theta)
    bias, g, v = (parts[f"0.{name}"] for name in ("bias", "weight_g", "weight_v"))
    expected = nn.functional.cross_entropy(moons[0] @ (g * v / v.norm(dim=1, keepdim=True)).T + bias, moons[1])
    with pytest.warns(UserWarning, match="one by one"):
        assert loss(theta).item() == pytest.approx(expected.item(), rel=1e-12)


def test_new_weight_norm_is_a_function_of_its_parameters(moons, generator):
    module = nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Linear(2, 2, dtype=torch.float64)))
    loss = Loss.of(module, moons, CRITERION)
    theta = torch.randn(loss.layout.size, generator=generator, dtype=torch.float64)
    parts = loss.layout.unflatten(theta)
    bias, g, v = (parts[f"0.{name}"] for name in
                  ("bias", "parametrizations.weight.original0", "parametrizations.weight.original1"))  # fmt: skip
    expected = nn.functional.cross_entropy(moons[0] @ (g * v / v.norm(dim=1, keepdim=True)).T + bias, moons[1])
    assert loss(theta).item() == pytest.approx(expected.item(), rel=1e-12)


def test_what_cannot_be_copied_is_named(moons):
    class Stuck(nn.Linear):
        def __deepcopy__(self, memo):
            raise TypeError("cannot pickle a lock")

    with pytest.raises(ValueError, match=r"Stuck cannot be copied \(cannot pickle a lock\)"):
        Loss.of(Stuck(2, 2), moons, CRITERION)


def test_parameters_on_two_devices_are_an_error(moons):
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, device="meta"))
    with pytest.raises(ValueError, match=r"1\.bias is on the meta device, without values: load the weights first"):
        Loss.of(module, moons, CRITERION)


def test_lazy_parameters_are_an_error(moons):
    with pytest.raises(ValueError, match=r"run one batch through the module first"):
        Loss.of(nn.LazyLinear(2), moons, CRITERION)
