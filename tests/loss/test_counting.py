"""What a batch counts: the mean over ragged batches is the value on all data at once, or it is said that it is not."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_sequence, pad_sequence

from lossatlas import Loss
from tests.loss.own_code import CE, assert_is, inputs, labels, network, ragged, seeded

X, Y = inputs(), labels()
LENGTHS = [6, 1, 4, 3, 5, 2, 6, 2, 1]
SEQUENCES = [torch.randn(length, 4, generator=seeded(length)) for length in LENGTHS]
TAGS = [torch.randint(0, 3, (length,), generator=seeded(30 + length)) for length in LENGTHS]
NO_MEAN = "of a batch is not the mean of its values on parts of it"


class Tagger(nn.Module):
    """A label for every step of a sequence, or one for the whole."""

    def __init__(self, *, whole: bool = False, batch_first: bool = True) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.rnn, self.head, self.whole = nn.RNN(4, 6, batch_first=batch_first), nn.Linear(6, 3), whole

    def forward(self, x) -> Tensor:
        steps, last = self.rnn(x)
        return self.head(last[-1] if self.whole else steps)


class Operator(nn.Module):
    """A function at shared points of a grid."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.branch, self.trunk = nn.Linear(4, 5), nn.Linear(2, 5)

    def forward(self, grid: Tensor, functions: Tensor) -> Tensor:
        return torch.tanh(self.branch(functions)) @ torch.tanh(self.trunk(grid)).T


class Detector(nn.Module):
    """Losses by name, over all boxes of a batch of images."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.box = nn.Linear(4, 4)

    def forward(self, images: Tensor, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        boxes = self.box(images)
        apart = [(box - target["boxes"]).abs().sum(1) for box, target in zip(boxes, targets, strict=True)]
        return {"box": torch.cat(apart).mean(), "size": boxes.square().mean()}


one_by_one = pytest.mark.filterwarnings("ignore:.*cannot be vectorised over points")  # torch has no rule for it


def padded(rows: range) -> tuple[Tensor, Tensor, Tensor]:
    parts = [[series[row] for row in rows] for series in (SEQUENCES, TAGS)]
    return *(pad_sequence(part, batch_first=True) for part in parts), torch.tensor([LENGTHS[row] for row in rows])


def masked_mean(output: Tensor, target: tuple[Tensor, Tensor]) -> Tensor:
    tags, lengths = target
    mask = torch.arange(tags.shape[1]) < lengths[:, None]
    return (F.cross_entropy(output.transpose(1, 2), tags, reduction="none") * mask).sum() / mask.sum()


@one_by_one
def test_padded_sequences_with_lengths_and_an_own_mean():
    batches = [padded(range(start, min(start + 4, 9))) for start in (0, 4, 8)]
    module, forward = Tagger(), lambda module, batch: (module(batch[0]), batch[1:])
    loss = Loss.of(module, batches, masked_mean, forward=forward)
    assert_is(loss, module, lambda held: masked_mean(held(padded(range(9))[0]), padded(range(9))[1:]))


@one_by_one
def test_packed_sequences():
    packs = [pack_sequence(SEQUENCES[start : start + 4], enforce_sorted=False) for start in (0, 4, 8)]
    module = Tagger(whole=True)
    loss = Loss.of(module, list(zip(packs, Y[:9].split(4), strict=True)), CE)
    assert_is(loss, module, lambda held: CE(held(pack_sequence(SEQUENCES, enforce_sorted=False)), Y[:9]))


@one_by_one
def test_time_first_is_told_and_then_counted():
    series, module = torch.randn(7, 23, 4, generator=seeded(4)), Tagger(whole=True, batch_first=False)
    batches = list(zip(series.split(5, dim=1), Y.split(5), strict=True))
    with pytest.raises(ValueError, match=r"7 inputs and 5 targets: wanted as many; .*count=lambda batch"):
        Loss.of(module, batches, CE)
    loss = Loss.of(module, batches, CE, count=lambda batch: len(batch[1]))
    assert loss.examples == 23
    assert_is(loss, module, lambda held: CE(held(series), Y))


@pytest.mark.parametrize("points", [5, 11])  # as many as a batch has examples, and others
def test_an_operator_on_a_shared_grid(points):
    grid, values = torch.rand(points, 2, generator=seeded(5)), torch.randn(23, points, generator=seeded(6))
    batches = [((grid, u), v) for u, v in ragged(X, values)]
    module = Operator()
    loss = Loss.of(module, batches, nn.MSELoss())
    assert_is(loss, module, lambda held: F.mse_loss(held(grid, X), values))


def test_sums_of_several_outputs_and_a_module_with_a_sum_of_its_own():
    def total(output: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
        return (output[0] - x).square().sum() + output[1].exp().sum()

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network(8)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.inner(x).chunk(2, 1)

    module = Two()
    assert_is(Loss.of(module, ragged(X, X), total), module, lambda held: total(held(X), X))

    def own(module: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, None]:
        return total(module(batch[0]), batch[1]), None

    assert_is(Loss.of(module, ragged(X, X), forward=own), module, lambda held: total(held(X), X))


def test_batches_of_one_class_each():
    order = Y.argsort()
    batches, weights = ragged(X[order], Y[order]), torch.tensor([1.0, 4.0, 9.0])
    module = network()
    loss = Loss.of(module, batches, lambda output, target: F.cross_entropy(output, target, weight=weights))
    assert_is(loss, module, lambda held: F.cross_entropy(held(X), Y, weight=weights))
    balanced = lambda o, t: torch.stack([F.cross_entropy(o[t == c], t[t == c]) for c in t.unique()]).mean()  # noqa: E731
    with pytest.warns(UserWarning, match=NO_MEAN):
        Loss.of(module, batches, balanced)


def test_labels_that_do_not_count_are_found_by_their_effect():
    targets = torch.where(torch.arange(23) < 7, 255, Y)  # a whole batch is ignored, and a part of the second
    module = network()
    loss = Loss.of(module, ragged(X, targets), lambda o, t: F.cross_entropy(o, t, ignore_index=255))
    assert_is(loss, module, lambda held: F.cross_entropy(held(X[7:]), Y[7:]))


def test_two_tasks_of_which_one_is_not_labelled_everywhere():
    second = torch.where(torch.arange(23) < 8, torch.nan, X[:, 0])

    def both(output: Tensor, target: dict[str, Tensor]) -> Tensor:
        known = ~target["second"].isnan()
        apart = (output[:, 0] - target["second"].nan_to_num()).square() * known
        return CE(output, target["first"]) + apart.sum() / known.sum().clamp(min=1)

    batches = [(x, {"first": y, "second": z}) for x, y, z in ragged(X, Y, second)]
    with pytest.warns(UserWarning, match=NO_MEAN):
        Loss.of(network(), batches, both)


def test_detection_counts_boxes():
    boxes = [torch.randn(1 + row % 4, 4, generator=seeded(row)) for row in range(23)]
    targets = [{"boxes": one} for one in boxes]
    batches = [(X[start : start + 5], targets[start : start + 5]) for start in range(0, 23, 5)]
    forward = lambda module, batch: (module(*batch), None)  # noqa: E731
    with pytest.warns(UserWarning, match=NO_MEAN):
        assert Loss.of(Detector(), batches, lambda o, _: o["box"] + o["size"], forward=forward).examples == 23
    module = Detector()
    loss = Loss.of(module, batches, lambda o, _: o["size"], forward=forward)
    assert_is(loss, module, lambda held: held(X, targets)["size"] + 0 * held.box.bias.sum())


def test_outputs_that_see_each_other_are_said():
    class Centered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) - self.inner(x).mean(0)

    with pytest.warns(UserWarning, match=NO_MEAN):
        Loss.of(Centered(), ragged(X, Y), CE)


def test_batches_that_cannot_be_taken_apart_are_said():
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, rows: Tensor, edges: Tensor) -> Tensor:
            return self.inner(rows)[edges[0]].square().mean()

    def graph(size: int) -> tuple[Tensor, Tensor]:
        return X[:size], torch.randint(0, size, (2, 2 * size), generator=seeded(size))

    batches = [{"rows": rows, "edges": edges} for rows, edges in map(graph, (7, 5, 3))]
    own = lambda module, batch: (module(**batch), None)  # noqa: E731
    with pytest.warns(UserWarning, match="cannot be taken apart|not the mean"):
        Loss.of(Pooled(), batches, forward=own)
