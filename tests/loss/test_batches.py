"""What may stand for data, and what the weights of its batches are."""

from __future__ import annotations

import random
from collections import namedtuple
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from lossatlas.loss.batches import Batches, describe, map_tensors, rows_of
from lossatlas.loss.loss import Loss
from lossatlas.loss.metrics import accuracy
from lossatlas.loss.reading import read
from tests.conftest import seeded

Pair = namedtuple("Pair", "inputs targets")


def sizes(data, batch_size=None):
    return [rows_of(batch) for batch in read(data, batch_size)]


def test_everything_that_holds_batches_gives_the_same_loss(mlp, moons, theta):
    x, y = moons
    pairs = list(zip(x.split(16), y.split(16), strict=True))
    dataset = TensorDataset(x, y)
    expected = nn.functional.cross_entropy(Loss.of(mlp, moons, nn.CrossEntropyLoss()).module(x), y).item()
    for data in (
        moons, list(moons), pairs, iter(pairs), (pair for pair in pairs), dataset, DataLoader(dataset, 16),
        [list(pair) for pair in pairs], [Pair(*pair) for pair in pairs],
    ):  # fmt: skip
        loss = Loss.of(mlp, data, nn.CrossEntropyLoss())
        assert loss(loss.theta).item() == pytest.approx(expected, rel=1e-13)
        assert loss.examples == 37


def test_a_pair_and_a_dataset_are_cut_by_batch_size(moons):
    assert sizes(moons) == [37]
    assert sizes(moons, 16) == [16, 16, 5]
    assert sizes(TensorDataset(*moons), 10) == [10, 10, 10, 7]
    assert sizes([moons, moons], 20) == [20, 17, 20, 17]
    assert sizes({"a": moons[0], "labels": moons[1]}, 30) == [30, 7]
    with pytest.raises(ValueError, match=r"cannot cut .* by batch_size=2: wanted 3 rows in every tensor"):
        read(((torch.zeros(3), torch.zeros(4, 4)), torch.zeros(3)), 2)
    with pytest.raises(ValueError, match="batch_size is 0: wanted 1 at least"):
        read(moons, 0)


def test_a_tree_keeps_its_shape():
    @dataclass
    class Graph:
        nodes: torch.Tensor
        name: str

    tree = {"a": [torch.ones(2), None], "b": Pair(torch.ones(2), (torch.ones(2),)), "c": Graph(torch.ones(2), "g")}
    doubled = map_tensors(lambda t: 2 * t, tree)
    assert isinstance(doubled["b"], Pair)
    assert isinstance(doubled["c"], Graph)
    assert doubled["c"].name == "g"
    assert doubled["a"][1] is None
    for tensor in (doubled["a"][0], doubled["b"].inputs, doubled["b"].targets[0], doubled["c"].nodes):
        assert tensor.tolist() == [2, 2]


def test_a_stream_is_a_dataset_too(mlp, moons):
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(zip(*moons, strict=True))

    assert sizes(Stream(), 20) == [20, 17]
    assert Loss.of(mlp, DataLoader(Stream(), 20), nn.CrossEntropyLoss()).examples == 37


def test_large_data_stay_where_they_are_and_are_cast_batch_by_batch():
    x = torch.zeros(4, 100)
    small = Batches([(x, x)], torch.device("cpu"), torch.float64, budget=10**6)
    large = Batches([(x, x)], torch.device("cpu"), torch.float64, budget=1)
    assert small._batches[0][0].dtype == torch.float64
    assert large._batches[0][0] is x
    assert next(iter(large))[0].dtype == torch.float64
    assert Batches([(x, x)], torch.device("cpu"), budget=1)._batches[0][0] is x


def test_reading_draws_from_no_random_stream(mlp, moons):
    class Random(Dataset):
        def __len__(self):
            return 5

        def __getitem__(self, index):
            noise = torch.rand(2) * 0 + random.random() * 0 + np.random.rand() * 0  # noqa: NPY002
            return moons[0][index] + noise, moons[1][index]

    generator = torch.Generator().manual_seed(1)
    loader = DataLoader(Random(), 2, shuffle=True, generator=generator)

    def held():
        return (torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist(),  # noqa: NPY002
                generator.get_state().tolist())  # fmt: skip

    before = held()
    assert Loss.of(mlp, loader, nn.CrossEntropyLoss()).examples == 5
    assert held() == before
    assert Loss.of(mlp, DataLoader(Random(), 2, shuffle=True), nn.CrossEntropyLoss()).examples == 5
    assert held() == before


def test_a_shuffled_loader_is_read_once_so_that_every_pass_has_the_same_batches(mlp, moons, theta):
    loss = Loss.of(mlp, DataLoader(TensorDataset(*moons), 16, shuffle=True), nn.CrossEntropyLoss())
    assert torch.equal(loss(theta), loss(theta))
    assert loss(theta).item() == pytest.approx(Loss.of(mlp, moons, nn.CrossEntropyLoss())(theta).item(), rel=1e-13)


def test_random_augmentation_is_noticed(mlp, moons):
    class Augmented(Dataset):
        def __len__(self):
            return 9

        def __getitem__(self, index):
            flip = -1 if torch.rand(()) < 0.5 else 1
            return flip * moons[0][index], moons[1][index]

    with torch.random.fork_rng():
        torch.manual_seed(0)
        with pytest.warns(UserWarning, match="first examples of the data differ when they are read again"):
            Loss.of(mlp, DataLoader(Augmented(), 4), nn.CrossEntropyLoss())


def test_drop_last_is_noticed(mlp, moons):
    with pytest.warns(UserWarning, match=r"the loader drops 5 of 37 examples \(drop_last=True\)"):
        loss = Loss.of(mlp, DataLoader(TensorDataset(*moons), 16, drop_last=True), nn.CrossEntropyLoss())
    assert loss.examples == 32
    assert sizes(DataLoader(TensorDataset(*moons), 37, drop_last=True)) == [37]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (3, "the data are a int: wanted a pair"),
        ("moons", "the data are a str"),
        (iter([]), "the data hold no examples.*a generator can be read once only"),
        ([(torch.tensor(1.0), torch.tensor(2.0))], r"holds no tensor with a dimension"),
    ],
)
def test_what_is_no_data(data, text):
    with pytest.raises(ValueError, match=text):
        Loss.of(nn.Linear(1, 1), data, nn.MSELoss())


def test_a_generator_that_has_been_read_is_empty(mlp, ragged):
    stream = iter(ragged)
    Loss.of(mlp, stream, nn.CrossEntropyLoss())
    with pytest.raises(ValueError, match="can be read once only: make a new one"):
        Loss.of(mlp, stream, nn.CrossEntropyLoss())


def test_describe():
    assert describe([torch.zeros(2), 3]) == "(float32 (2,), int)"


# Weights -------------------------------------------------------------------------------------------------------


@pytest.fixture
def tagged():
    """A tagger's logits come from `Linear`; 12 sequences of 4 positions, many of them ignored, in ragged batches."""
    g = torch.Generator().manual_seed(0)
    module = seeded(lambda: nn.Sequential(nn.Linear(3, 5).double(), Transposed()))
    x = torch.randn(12, 4, 3, generator=g, dtype=torch.float64)
    y = torch.randint(0, 5, (12, 4), generator=g)
    return module, x, y


class Transposed(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


CLASSES = torch.tensor([1.0, 2.0, 0.5, 3.0, 0.25], dtype=torch.float64)


@pytest.mark.parametrize(
    "criterion",
    [
        nn.CrossEntropyLoss(),
        nn.CrossEntropyLoss(ignore_index=2),
        nn.CrossEntropyLoss(weight=CLASSES, ignore_index=2),
        nn.CrossEntropyLoss(ignore_index=2, label_smoothing=0.1),
        nn.functional.cross_entropy,
        partial(nn.functional.cross_entropy, ignore_index=2),
        partial(nn.functional.cross_entropy, weight=CLASSES),
        nn.CrossEntropyLoss(reduction="sum"),
        partial(nn.functional.cross_entropy, reduction="sum"),
    ],
)
def test_batches_give_the_criterion_on_all_data_at_once(tagged, criterion):
    """Tokens that are ignored, weighted classes, and sums: what the criterion itself says of the whole."""
    module, x, y = tagged
    y[0], y[5:8] = ignored_by(criterion), 2  # the first batch counts nothing, the third with ignore_index=2
    batches = list(zip(x.split([1, 4, 3, 4]), y.split([1, 4, 3, 4]), strict=True))
    loss = Loss.of(module, batches, criterion, metrics={"hits": hits(criterion)})
    expected = criterion(module(x), y)
    assert loss(loss.theta).item() == pytest.approx(expected.item(), rel=1e-12)
    assert sum(float(s) for s in loss.batch_losses(loss.theta)) == pytest.approx(expected.item(), rel=1e-12)
    expected.backward()
    assert torch.allclose(loss.gradient(loss.theta), torch.cat([p.grad.reshape(-1) for p in module.parameters()]))
    summed = "sum" in (getattr(criterion, "reduction", ""), getattr(criterion, "keywords", {}).get("reduction"))
    assert loss.attrs["weighted_by"] == ("sum" if summed else "tokens")
    if not summed:
        assert loss.evaluate(loss.theta[None])["hits"].item() == pytest.approx(hits(criterion)(module(x), y).item())


def ignored_by(criterion):
    return getattr(criterion, "ignore_index", getattr(criterion, "keywords", {}).get("ignore_index", -100))


def hits(criterion):
    """Share of the positions that count where the largest logit is right."""
    ignored = ignored_by(criterion)

    def share(output, target):
        return (output.argmax(1) == target)[target != ignored].double().mean()

    return share


def test_weights_may_be_examples_whatever_is_ignored(tagged):
    module, x, y = tagged
    y[:3, 1:] = -100
    batches = list(zip(x.split(3), y.split(3), strict=True))
    loss = Loss.of(module, batches, nn.CrossEntropyLoss(), weigh_by="examples")
    values = [nn.functional.cross_entropy(module(a), b).item() for a, b in batches]
    assert loss(loss.theta).item() == pytest.approx(sum(values) / 4, rel=1e-12)
    assert loss.attrs["weighted_by"] == "examples"


def test_a_target_for_every_example_is_weighted_by_examples(loss):
    assert loss.attrs == {"buffers": "stored", "weighted_by": "examples"}


def test_probabilities_as_targets_ignore_nothing(mlp, moons, theta):
    soft = torch.nn.functional.one_hot(moons[1], 2).double() * 0.8 + 0.1
    batches = list(zip(moons[0].split(16), soft.split(16), strict=True))
    whole = Loss.of(mlp, (moons[0], soft), nn.CrossEntropyLoss())
    assert Loss.of(mlp, batches, nn.CrossEntropyLoss())(theta).item() == pytest.approx(whole(theta).item(), rel=1e-13)


def test_a_sum_that_only_the_caller_knows_of(mlp, ragged, moons, theta):
    def summed(output, target):
        return nn.functional.cross_entropy(output, target, reduction="sum")

    loss = Loss.of(mlp, ragged, summed, reduction="sum", metrics={"accuracy": accuracy})
    mean = Loss.of(mlp, moons, nn.CrossEntropyLoss(), metrics={"accuracy": accuracy})
    assert loss(theta).item() == pytest.approx(37 * mean(theta).item(), rel=1e-13)
    values = [one.evaluate(theta[None])["accuracy"].item() for one in (loss, mean)]
    assert values[0] == pytest.approx(values[1])
    assert torch.allclose(loss.gradient(theta), 37 * mean.gradient(theta), rtol=1e-12)


def test_no_target_that_counts_is_an_error(tagged):
    module, x, y = tagged
    with pytest.raises(ValueError, match="one target that counts at least"):
        Loss.of(module, [(x, torch.full_like(y, -100))], nn.CrossEntropyLoss())


def test_a_metric_may_be_a_plain_number(mlp, moons, theta):
    loss = Loss.of(mlp, moons, nn.CrossEntropyLoss(), metrics={"examples": lambda output, _: len(output)})
    assert loss.evaluate(theta[None])["examples"].item() == 37
