"""What the largest examples hold, against loops over single examples in plain torch and dense matrices of each."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lossatlas import example_concentration, spectrum
from lossatlas.loss import toys
from lossatlas.loss.loss import Loss
from lossatlas.probes import BY_NAME
from tests.conftest import seeded
from tests.dense import dense
from tests.networks import build, ragged

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch.func.hessian


def chance(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def network(between: nn.Module, outputs: int = 2) -> nn.Module:
    return seeded(lambda: nn.Sequential(nn.Linear(2, 6), between, nn.Linear(6, outputs)).double())


def shares(terms) -> np.ndarray:
    """What the 1, 2, ... largest hold."""
    largest = np.sort(np.asarray(terms))[::-1]
    return np.cumsum(largest) / largest.sum()


def losses_by_hand(module: nn.Module, theta: Tensor, data: tuple[Tensor, Tensor], criterion) -> list[float]:
    nn.utils.vector_to_parameters(theta, module.parameters())
    return [float(criterion(module(x[None]), y[None]).detach()) for x, y in zip(*data, strict=True)]


def traces_by_hand(matrix: str, module: nn.Module, loss: Loss, theta: Tensor, data, **options) -> list[float]:
    """Of the dense matrix of every example alone."""
    return [
        float(dense(matrix, module, (x[None], y[None]), loss.layout, theta, **options).trace())
        for x, y in zip(*data, strict=True)
    ]


@pytest.mark.parametrize("squared", [False, True], ids=["cross-entropy", "squared error"])
def test_shares_are_those_of_single_examples(moons, theta, mlp, squared):
    """On ragged batches, with weight decay, which is no example's."""
    x, y = moons[0], torch.randn(37, 2, generator=chance(), dtype=torch.float64) if squared else moons[1]
    criterion = nn.MSELoss() if squared else nn.CrossEntropyLoss()
    loss = Loss.of(mlp, ragged(x, y, size=16), criterion, weight_decay=0.3)
    result = example_concentration(loss, theta, generator=chance())
    single = losses_by_hand(mlp, theta, (x, y), criterion)
    traces = traces_by_hand("gauss-newton", mlp, loss, theta, (x, y), squared=squared)
    assert np.allclose(result.loss_share[:37], shares(single), rtol=1e-12)
    assert np.allclose(result.trace_share[:37], shares(traces), rtol=1e-10)
    assert np.allclose(result.loss_share[37:], 1)
    assert result.examples_by_loss.values.tolist() == np.argsort(single)[::-1][:10].tolist()
    assert result.examples_by_trace.values.tolist() == np.argsort(traces)[::-1][:10].tolist()
    assert float(result.loss) == pytest.approx(np.mean(single), rel=1e-12)
    assert float(result.trace) == pytest.approx(np.mean(traces), rel=1e-10)
    assert float(result.largest_share) == pytest.approx(max(single) / sum(single), rel=1e-12)
    assert float(result.ten_largest_share) == pytest.approx(shares(single)[9], rel=1e-12)
    assert float(result.effective_examples) == pytest.approx(sum(single) ** 2 / np.square(single).sum(), rel=1e-12)
    assert int(result.examples) == 37
    assert not result.trace_error
    assert not result.trace_share_error.any()


def test_of_a_relu_network_they_are_those_of_the_hessian(moons):
    """Its outputs are linear in every weight, so that the network's own curvature has no trace."""
    module = network(nn.ReLU())
    loss = Loss.of(module, moons, nn.CrossEntropyLoss())
    theta = loss.theta + 0.5
    result = example_concentration(loss, theta, generator=chance())
    traces = traces_by_hand("hessian", module, loss, theta, moons)
    assert np.allclose(result.trace_share[:37], shares(traces), rtol=1e-10)
    whole = spectrum(loss, theta, k=3, samples=60, generator=chance())
    assert float(result.trace) == pytest.approx(float(whole.trace), rel=1e-10)


def test_of_a_linear_map_they_are_the_squares_of_inputs_and_residuals():
    x = torch.randn(40, 3, generator=chance(), dtype=torch.float64)
    y = torch.randn(40, 1, generator=chance(1), dtype=torch.float64)
    loss = toys.linear_regression(x, y)
    theta = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    result = example_concentration(loss, theta, generator=chance())
    assert np.allclose(result.loss_share[:40], shares((x @ theta - y[:, 0]).square()))
    assert np.allclose(result.trace_share[:40], shares(x.square().sum(1)))
    assert float(result.trace) == pytest.approx(2 * float(x.square().sum() / 40))


@pytest.mark.parametrize("name", ["resnet", "transformer", "lstm"])
def test_other_networks(name):
    module, x, y = build(name)
    module.eval()
    loss = Loss.of(module, ragged(x, y), nn.CrossEntropyLoss(), buffers="stored")
    result = example_concentration(loss, loss.theta, generator=chance())
    traces = traces_by_hand("gauss-newton", module, loss, loss.theta, (x, y))
    assert np.allclose(result.trace_share[: len(x)], shares(traces), rtol=1e-8)
    assert np.allclose(result.loss_share[: len(x)], shares(losses_by_hand(module, loss.theta, (x, y), F.cross_entropy)))


def test_class_weights_and_ignored_targets(moons, mlp, theta):
    x, y = moons[0], moons[1].clone()
    y[[3, 20]] = -100
    weights = torch.tensor([1.0, 5.0], dtype=torch.float64)
    loss = Loss.of(mlp, ragged(x, y, size=16), nn.CrossEntropyLoss(weight=weights))
    result = example_concentration(loss, theta, generator=chance())
    nn.utils.vector_to_parameters(theta, mlp.parameters())
    terms = F.cross_entropy(mlp(x), y, weight=weights, reduction="none").detach().numpy()
    assert np.allclose(result.loss_share[:35], shares(terms)[:35], rtol=1e-12)
    assert result.examples_by_loss.values.tolist() == np.argsort(terms)[::-1][:10].tolist()
    assert int(result.examples) == 35


def test_places_count_examples_of_batches_that_count_nothing(moons, mlp, theta):
    x, y = moons[0], moons[1].clone()
    y[16:32] = -100
    loss = Loss.of(mlp, ragged(x, y, size=16), nn.CrossEntropyLoss())
    result = example_concentration(loss, theta, generator=chance())
    counted = [i for i in range(37) if not 16 <= i < 32]
    single = losses_by_hand(mlp, theta, (x[counted], y[counted]), nn.CrossEntropyLoss())
    assert result.examples_by_loss.values.tolist() == [counted[i] for i in np.argsort(single)[::-1][:10]]
    assert np.allclose(result.loss_share[:21], shares(single))


def test_with_many_outputs_traces_are_estimated_and_say_how_well(moons):
    """12 classes: shares of the ten largest within their errors, and the largest not larger than they are."""
    module = network(nn.Tanh(), 12)
    x, y = moons[0], torch.randint(0, 12, (37,), generator=chance())
    loss = Loss.of(module, ragged(x, y, size=16), nn.CrossEntropyLoss())
    traces = traces_by_hand("gauss-newton", module, loss, loss.theta, (x, y))
    result = example_concentration(loss, loss.theta, generator=chance(), vectors=4000)
    assert abs(float(result.trace) - np.mean(traces)) < 4 * float(result.trace_error)
    assert 0 < float(result.trace_error) < 0.05 * np.mean(traces)
    off = (result.trace_share.values[:36] - shares(traces)[:36]) / result.trace_share_error.values[:36]
    assert np.abs(off).max() < 4.5
    assert float(result.effective_trace_examples) == pytest.approx(sum(traces) ** 2 / np.square(traces).sum(), rel=0.05)
    other = example_concentration(loss, loss.theta, generator=chance(1), vectors=4000)
    assert not np.array_equal(result.trace_share, other.trace_share)


class Clipping(nn.Module):
    """Takes a number out of its tensor, which vmap cannot."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x) if float(x.detach().abs().max()) < 100 else x


class Counting(nn.Module):
    """Writes to a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return torch.tanh(x)


@pytest.mark.parametrize("between", [Clipping, Counting])
def test_a_module_that_cannot_be_vectorised_has_the_same_shares(between, moons):
    losses = [Loss.of(network(one), moons, nn.CrossEntropyLoss(), buffers="stored") for one in (nn.Tanh(), between())]
    plain, odd = (example_concentration(loss, loss.theta + 0.3, generator=chance()) for loss in losses)
    assert np.allclose(plain.trace_share, odd.trace_share, rtol=1e-12)
    assert float(plain.trace) == pytest.approx(float(odd.trace), rel=1e-12)


def test_parameters_that_are_held_have_no_part_in_the_trace(mlp, moons):
    loss = Loss.of(mlp, moons, nn.CrossEntropyLoss(), params="2.*")
    result = example_concentration(loss, loss.theta, generator=chance())
    hidden = torch.tanh(mlp[0](moons[0]))
    chances = mlp(moons[0]).softmax(1).prod(1)  # of B = p₀p₁ (1, −1)ᵀ(1, −1)
    traces = (2 * chances * (1 + hidden.square().sum(1))).detach()
    assert np.allclose(result.trace_share[:37], shares(traces), rtol=1e-10)
    assert float(result.trace) == pytest.approx(float(traces.mean()), rel=1e-10)


def test_one_wrong_label_is_most_of_the_loss_of_a_network_that_fits(moons):
    """What an audit of two-class networks found of one test example, made on purpose."""
    x, y = moons
    module = network(nn.Tanh())
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        F.cross_entropy(module(x), y).backward()
        optimizer.step()
    wrong = y.clone()
    wrong[11] = 1 - wrong[11]
    losses = {name: Loss.of(module, (x, one), nn.CrossEntropyLoss()) for name, one in (("train", y), ("test", wrong))}
    result = example_concentration(losses, losses["train"].theta, generator=chance())
    test = result.sel(split="test")
    assert float(test.largest_share) > 0.8
    assert int(test.examples_by_loss[0]) == 11
    assert float(test.effective_examples) < 1.5
    assert float(test.gap_share) == pytest.approx(1, abs=0.02)
    assert "hold" in BY_NAME["example_concentration"].tell(result, "").sentence


def test_the_share_of_a_gap_is_counted_from_the_first_loss(mlp, moons):
    x, y = moons
    wrong = F.cross_entropy(mlp(x), y, reduction="none").argsort()
    first, second = (x[wrong[:15]], y[wrong[:15]]), (x[wrong[15:]], y[wrong[15:]])
    theta = torch.cat([part.detach().flatten() for part in mlp.parameters()])
    losses = {"train": Loss.of(mlp, first, nn.CrossEntropyLoss()), "test": Loss.of(mlp, second, nn.CrossEntropyLoss())}
    single = [np.array(losses_by_hand(mlp, theta, data, nn.CrossEntropyLoss())) for data in (first, second)]
    result = example_concentration(losses, theta, generator=chance())
    swapped = example_concentration(dict(reversed(losses.items())), theta, generator=chance())
    above = np.sort(single[1] - single[0].mean())[::-1]
    assert above.sum() > 0
    assert math.isnan(result.gap_share.sel(split="train"))
    assert float(result.gap_share.sel(split="test")) == pytest.approx(above[:10].sum() / above.sum(), rel=1e-10)
    assert swapped.gap_share.isnull().all()  # the second is below the first: there is no such gap


class Attending(nn.Module):
    """Every example attends to the others of its batch."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        z = self.inner(x)
        return (z @ z.T).softmax(-1) @ z


class OwnLoss(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x).square().mean()


def contrastive(output: Tensor, _: Tensor) -> Tensor:
    z = F.normalize(output, dim=1)
    return F.cross_entropy(z @ z.T / 0.3, torch.arange(len(z)).roll(1))


def batch_norm() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


LINKED = {
    "attention over the batch": (Attending, F.cross_entropy, {}, "depends on the other examples of its batch"),
    "a contrastive criterion": (lambda: nn.Linear(2, 2), contrastive, {}, "from its examples one by one"),
    "statistics of the batch": (batch_norm, F.cross_entropy, {"buffers": "batch"}, "take the statistics of the data"),
    "the module's own loss": (OwnLoss, None, {"count": lambda batch: len(batch[0])}, "wanted a row for each"),
}


@pytest.mark.parametrize("what", LINKED)
@pytest.mark.filterwarnings("ignore:.* of a batch")
def test_examples_that_are_linked_have_no_shares_and_that_is_said(what, moons):
    make, criterion, options, why = LINKED[what]
    module = seeded(lambda: make().double())
    forward = {"forward": lambda network, batch: (network(batch[0]), None)} if criterion is None else {}
    loss = Loss.of(module, moons, criterion, **options, **forward)
    with pytest.warns(UserWarning, match=f"there are no losses of single examples, and so no shares: .*{why}"):
        result = example_concentration({"train": loss, "test": loss}, loss.theta, generator=chance())
    assert why in result.attrs["linked"]
    for name in ("loss_share", "trace_share", "trace", "largest_share", "effective_examples", "gap_share"):
        assert result[name].isnull().all(), name
    assert (result.examples_by_loss == -1).all()
    assert float(result.loss[0]) == pytest.approx(float(loss(loss.theta)))
    assert why in BY_NAME["example_concentration"].tell(result, "").sentence


def test_a_loss_with_negative_parts_has_no_shares(moons, mlp):
    loss = Loss.of(mlp, (moons[0], moons[0]), lambda output, target: (output * target).mean())
    result = example_concentration(loss, loss.theta, generator=chance())
    assert result.loss_share.isnull().all()
    assert "linked" not in result.attrs


def test_too_few_ranks_or_vectors_are_an_error(loss, theta):
    with pytest.raises(ValueError, match="ranks is 9 and vectors is 30: wanted 10 and 4 at least"):
        example_concentration(loss, theta, generator=chance(), ranks=9)
    with pytest.raises(ValueError, match="ranks is 50 and vectors is 3: wanted 10 and 4 at least"):
        example_concentration(loss, theta, generator=chance(), vectors=3)


def test_columns_of_the_test_data_are_those_of_the_test_data(mlp, moons, theta):
    x, y = moons
    losses = {name: Loss.of(mlp, (x[part], y[part]), nn.CrossEntropyLoss())
              for name, part in (("train", slice(20)), ("test", slice(20, 37)))}  # fmt: skip
    result = example_concentration(losses, theta, generator=chance())
    values = {
        name: column.value(result.sel(split=column.split))
        for name, column in BY_NAME["example_concentration"].columns.items()
    }
    assert values["loss_share"] == float(result.ten_largest_share[0])
    assert values["test_loss_share"] == float(result.ten_largest_share[1])
    assert values["test_largest_share"] == float(result.largest_share[1])
    assert values["trace_share"] == float(result.trace_share[0, 9])
