"""Accuracies of every shape that is common, counted one by one in plain Python; what is ambiguous is told."""

from __future__ import annotations

import functools
import itertools
import math

import pytest
import torch
from torch import nn
from torch.func import vmap

import lossatlas as la
from lossatlas.loss.loss import Loss

G = torch.Generator().manual_seed(5)


def logits(*shape):
    return torch.randn(*shape, generator=G, dtype=torch.float64)


def labels(classes, *shape):
    return torch.randint(classes, shape, generator=G)


def share(right):
    right = list(right)
    return sum(right) / len(right)


def picks(output, target):
    """Whether each class is the right one: `output` with classes last, `target` of the rest of its shape."""
    for place in itertools.product(*map(range, target.shape)):
        row = output[place].tolist()
        if target[place] != -100:
            yield row.index(max(row)) == target[place].item()


@pytest.mark.parametrize("kind", [torch.float32, torch.int64, torch.bool, torch.uint8])
@pytest.mark.parametrize(("output_shape", "target_shape"), [
    ((50,), (50,)), ((50, 1), (50,)), ((50,), (50, 1)), ((50, 1), (50, 1)),
    ((6, 1, 4, 5), (6, 4, 5)), ((6, 1, 4, 5), (6, 1, 4, 5)), ((6, 7, 1), (6, 7)), ((1, 1), (1,)),
])  # fmt: skip
def test_one_logit_a_target(kind, output_shape, target_shape):
    output, target = 4 * logits(*output_shape) - 2, labels(2, *target_shape)
    wanted = share(
        (x > 0) == bool(y) for x, y in zip(output.flatten().tolist(), target.flatten().tolist(), strict=True)
    )
    assert la.accuracy(output, target.to(kind)).item() == pytest.approx(wanted)


@pytest.mark.parametrize(("shape", "dim"), [((9, 4), -1), ((3, 8, 5), -1), ((2, 6, 7, 3), -1), ((3, 5, 8), 1),
                                            ((2, 4, 6, 7), 1), ((2, 3, 4, 5, 6), 1)])  # fmt: skip
def test_classes_last_or_second(shape, dim):
    output = logits(*shape)
    last = output.movedim(dim, -1)
    target = labels(last.shape[-1], *last.shape[:-1])
    target.view(-1)[::4] = -100
    assert la.accuracy(output, target).item() == pytest.approx(share(picks(last, target)))


def test_one_example_without_a_batch():
    assert la.accuracy(torch.tensor([0.0, 3.0]), torch.tensor(1)).item() == 1
    assert la.accuracy(torch.tensor(2.0), torch.tensor(0)).item() == 0


def test_where_both_readings_fit_the_caller_says_which():
    output, target = logits(4, 6, 6), labels(6, 4, 6)
    with pytest.raises(
        ValueError, match=r"accuracy of outputs \(4, 6, 6\) and targets \(4, 6\): .*class_dim=1.* or cla"
    ):
        la.accuracy(output, target)
    for dim in (1, -1):
        wanted = share(picks(output.movedim(dim, -1), target))
        assert la.accuracy(output, target, class_dim=dim).item() == pytest.approx(wanted)


@pytest.mark.parametrize(("output", "target", "words"), [
    (logits(5, 3), labels(3, 5, 1), r"outputs \(5, 3\) and targets \(5, 1\): wanted \(N, C\) with \(N,\)"),
    (logits(5, 3), labels(3, 6), r"outputs \(5, 3\) and targets \(6,\): wanted"),
    (logits(5), labels(2, 6), "wanted"),
    (logits(5, 3), labels(2, 5, 3), r"use lossatlas.multilabel_accuracy where .*lossatlas.one_hot_accuracy"),
    (logits(5, 1, 3), labels(2, 5, 1, 3), "use lossatlas.multilabel_accuracy"),
    (logits(5, 3), labels(3, 5) + 1, r"a target is 3 and there are 3 classes: wanted 0 to 2; .*ignore_index=3"),
    (logits(5, 3), torch.full((5,), 255), "ignore_index=255"),
    (logits(5, 1), 2.0 * labels(2, 5) - 1, "a target is -1: wanted 0 or 1"),
    (labels(3, 5), labels(3, 5), r"the outputs are int64 \(5,\): wanted logits"),
    ({"logits": logits(5, 3)}, labels(3, 5), r"accuracy of {logits: float64 \(5, 3\)} and int64 \(5,\): wanted two"),
])  # fmt: skip
def test_what_fits_nothing_is_told(output, target, words):
    if isinstance(target, torch.Tensor) and target.is_floating_point():
        target[0] = -1
    elif "target is 3" in words:
        target[0] = 3
    with pytest.raises(ValueError, match=words):
        la.accuracy(output, target)


def test_a_label_that_does_not_count_can_be_another():
    output, target = logits(12, 3), labels(3, 12)
    target[::3] = 255
    wanted = share(picks(output, torch.where(target == 255, -100, target)))
    assert la.accuracy(output, target, ignore_index=255).item() == pytest.approx(wanted)


def test_bytes_have_no_label_that_is_left_out():
    target = torch.tensor([156, 156, 3], dtype=torch.uint8)
    assert la.accuracy(nn.functional.one_hot(torch.tensor([156, 0, 3]), 200).double(), target).item() == pytest.approx(
        2 / 3
    )


@pytest.mark.parametrize("metric", [la.accuracy, la.top_k_accuracy(2)])
def test_nothing_that_counts_is_nan(metric):
    assert math.isnan(metric(logits(4, 3), torch.full((4,), -100)))
    assert math.isnan(metric(logits(0, 3), torch.zeros(0, dtype=torch.int64)))


def test_sums_in_half_precision_are_exact():
    output = torch.ones(70_001, 1, dtype=torch.float16) * 2
    target = torch.ones(70_001)
    target[:1000] = 0
    assert la.accuracy(output, target).item() == pytest.approx(69_001 / 70_001, abs=1e-6)


@pytest.mark.parametrize("metric", [la.accuracy, la.multilabel_accuracy])
def test_probabilities_in_the_place_of_logits_are_told(metric):
    chances, target = torch.sigmoid(logits(40)), labels(2, 40)
    with pytest.warns(UserWarning, match="all outputs lie between 0 and 1, .* threshold=0.5.*, of logits threshold=0"):
        metric(chances, target)
    wanted = share((x > 0.5) == bool(y) for x, y in zip(chances.tolist(), target.tolist(), strict=True))
    assert metric(chances, target, threshold=0.5).item() == pytest.approx(wanted)
    data = (torch.randn(40, 3, generator=G), target[:, None].float())
    module = nn.Sequential(nn.Linear(3, 1), nn.Sigmoid())
    with pytest.raises(ValueError, match="all outputs lie between 0 and 1"):
        Loss.of(module, data, nn.BCELoss(), metrics={"accuracy": metric})
    sound = Loss.of(module, data, nn.BCELoss(), metrics={"accuracy": functools.partial(metric, threshold=0.5)})
    wanted = share((x > 0.5) == bool(y) for x, y in zip(module(data[0])[:, 0].tolist(), target.tolist(), strict=True))
    assert float(sound.evaluate(sound.theta[None])["accuracy"]) == pytest.approx(wanted)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_top_k(k):
    output, target = logits(30, 4, 5), labels(4, 30, 5)
    target[0, :3] = -100
    ranks = [
        sorted(output[n, :, i].tolist(), reverse=True).index(output[n, target[n, i], i].item()) < k
        for n in range(30) for i in range(5) if target[n, i] != -100
    ]  # fmt: skip
    assert la.top_k_accuracy(k)(output, target).item() == pytest.approx(share(ranks))


def test_top_k_wants_so_many_classes():
    with pytest.raises(ValueError, match="k is 0: wanted"):
        la.top_k_accuracy(0)
    with pytest.raises(ValueError, match=r"outputs \(6, 3\) and targets \(6,\), of which 5 of 3 classes"):
        la.top_k_accuracy(5)(logits(6, 3), labels(3, 6))


@pytest.mark.parametrize("shape", [(20, 5), (4, 3, 6), (20, 2)])
def test_multilabel(shape):
    output, target = logits(*shape), labels(2, *shape)
    target.view(-1)[:3] = -100
    pairs = zip(output.flatten().tolist(), target.flatten().tolist(), strict=True)
    wanted = share((x > 0) == bool(y) for x, y in pairs if y != -100)
    assert la.multilabel_accuracy(output, target.float()).item() == pytest.approx(wanted)
    with pytest.raises(ValueError, match="wanted one shape of both"):
        la.multilabel_accuracy(output, target[:1])


@pytest.mark.parametrize("soft", [False, True])
def test_one_hot(soft):
    output, classes = logits(25, 4), labels(4, 25)
    target = nn.functional.one_hot(classes, 4)
    target = 0.7 * target + 0.3 / 4 if soft else target
    assert la.one_hot_accuracy(output, target).item() == pytest.approx(share(picks(output, classes)))
    ignored = target.clone()
    ignored[:5] = -100
    assert la.one_hot_accuracy(output, ignored).item() == pytest.approx(share(picks(output[5:], classes[5:])))


def test_one_hot_in_another_dimension():
    output, classes = logits(2, 4, 3, 3), labels(4, 2, 3, 3)
    target = nn.functional.one_hot(classes, 4).movedim(-1, 1)
    wanted = share(picks(output.movedim(1, -1), classes))
    assert la.one_hot_accuracy(output, target, class_dim=1).item() == pytest.approx(wanted)
    with pytest.raises(ValueError, match="wanted the dimension of the classes"):
        la.one_hot_accuracy(output, target)
    with pytest.raises(ValueError, match="add up to 2: wanted 1"):
        la.one_hot_accuracy(logits(3, 4), torch.tensor([[1, 1, 0, 0]] * 3))


@pytest.mark.parametrize(("metric", "output", "target"), [
    (la.accuracy, logits(7, 20, 3), labels(3, 20)),
    (la.accuracy, logits(7, 20, 1), labels(2, 20).float()),
    (la.accuracy, torch.sigmoid(logits(7, 20)), labels(2, 20)),  # values are not looked at there
    (la.top_k_accuracy(2), logits(7, 20, 3), labels(3, 20)),
    (la.multilabel_accuracy, logits(7, 20, 3), labels(2, 20, 3)),
    (la.one_hot_accuracy, logits(7, 20, 3), nn.functional.one_hot(labels(3, 20), 3)),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:all outputs lie")
def test_points_at_once_have_the_values_of_each(metric, output, target):
    at_once = vmap(metric, in_dims=(0, None))(output, target)
    assert torch.equal(at_once, torch.stack([metric(one, target) for one in output]))


def test_batches_of_unlike_size_give_the_mean_over_all_targets():
    torch.manual_seed(2)
    module, x, y = nn.Linear(3, 1), torch.randn(50, 3), labels(2, 50).float()
    loss = Loss.of(
        module, [(x[i : i + 16], y[i : i + 16, None]) for i in range(0, 50, 16)], nn.BCEWithLogitsLoss(),
        metrics={"accuracy": la.accuracy},
    )  # fmt: skip
    points = torch.randn(9, 4)
    wanted = [share((x @ theta[:3] + theta[3] > 0).eq(y.bool()).tolist()) for theta in points]
    assert loss.evaluate(points)["accuracy"].tolist() == pytest.approx(wanted)
