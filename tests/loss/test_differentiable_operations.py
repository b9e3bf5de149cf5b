"""What stands in place of torch's operations has their values, whatever the options."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lossatlas.loss import differentiable_operations as ours
from lossatlas.loss.ctc import ctc_loss


@pytest.fixture
def random():
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


def same(found: Tensor, wanted: Tensor) -> bool:
    return found.shape == wanted.shape and torch.allclose(found, wanted, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 5), (2, 4, 5, 3)])
def test_weight_norm(random, shape):
    v = random(*shape)
    for dim in (0, len(shape) - 1, -1):
        g = 1.3 * torch.norm_except_dim(v, 2, dim)
        assert same(ours.weight_norm(v, g, dim), torch._weight_norm(v, g, dim))


@pytest.mark.parametrize("shape", [(3, 6), (1, 6, 5), (2, 6, 3, 4)])
def test_group_norm(random, shape):
    x = random(*shape)
    for groups, affine in itertools.product((1, 2, 6), ((), (random(6), random(6)), (random(6), None))):
        assert same(ours.group_norm(x, groups, *affine, eps=0.01), F.group_norm(x, groups, *affine, eps=0.01))


@pytest.mark.parametrize("p", [0.0, 1.0, 1.5, 2.0, 3.0, torch.inf])
def test_distances(random, p):
    for x, y in ((random(4, 3), random(5, 3)), (random(2, 1, 4, 3), random(3, 2, 3)), (random(30, 3), random(4, 3))):
        assert same(ours.cdist(x, y, p), torch.cdist(x, y, p))
    points = random(6, 3)
    points[1] = points[0]
    assert same(ours.pdist(points, p), F.pdist(points, p))


def test_hardsigmoid_in_place_writes_to_its_input(random):
    x = 4 * random(20)
    wanted = F.hardsigmoid(x)
    assert same(ours.hardsigmoid(x), wanted)
    ours.hardsigmoid(x, inplace=True)
    assert same(x, wanted)


@pytest.mark.parametrize("norm", [1.0, 2.0])
def test_a_norm_of_rows_is_kept_and_nothing_is_written_to(random, norm):
    weight, indices = random(6, 3), torch.tensor([[0, 1], [5, 1]])
    before = weight.clone()
    found = ours.embedding(indices, weight, max_norm=1.1, norm_type=norm)
    assert torch.equal(weight, before)
    assert same(found, F.embedding(indices, weight.clone(), max_norm=1.1, norm_type=norm))


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_embedding_bag(random, mode):
    weight, indices = random(6, 3), torch.tensor([0, 1, 5, 5, 1, 2, 3, 4])
    offsets = [
        (torch.tensor([0, 2, 2, 5]), False),
        (torch.tensor([0, 2, 2, 8]), True),
        (torch.tensor([0, 3, 8, 8]), False),
    ]
    for (starts, last), padding, norm in itertools.product(offsets, (None, 1, -1), (None, 1.0)):
        words = {"mode": mode, "padding_idx": padding, "include_last_offset": last, "max_norm": norm}
        found = ours.embedding_bag(indices, weight, starts, **words)
        assert same(found, F.embedding_bag(indices, weight.clone(), starts, **words))
    rows = indices.view(2, 4)
    assert same(ours.embedding_bag(rows, weight, mode=mode), F.embedding_bag(rows, weight, mode=mode))
    weights = random(2, 4)
    found = ours.embedding_bag(rows, weight, mode="sum", per_sample_weights=weights)
    assert same(found, F.embedding_bag(rows, weight, mode="sum", per_sample_weights=weights))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_margins(random, reduction):
    scores, classes, weight = random(6, 5), torch.tensor([0, 4, 2, 2, 1, 3]), random(5).square()
    for p, by_class in itertools.product((1, 2), (None, weight)):
        words = {"p": p, "margin": 0.3, "weight": by_class, "reduction": reduction}
        assert same(ours.multi_margin_loss(scores, classes, **words), F.multi_margin_loss(scores, classes, **words))
    assert same(ours.multi_margin_loss(scores[0], classes[0]), F.multi_margin_loss(scores[0], classes[0]))
    labels = [[0, 2, -1, 0, 0], [3, 3, 1, -1, 4], [-1] * 5, [4, 3, 2, 1, 0], [1, -1, 2, -1, 0], [0] * 5]
    for some in (slice(None), 1):
        pair = scores[some], torch.tensor(labels)[some]
        found = ours.multilabel_margin_loss(*pair, reduction=reduction)
        assert same(found, F.multilabel_margin_loss(*pair, reduction=reduction))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("times", [[7, 6, 5, 7], [3, 1, 7, 4]])  # of the second, some are too short for their labels
def test_ctc_loss(random, times, reduction):
    log_probs = random(7, 4, 5).log_softmax(-1)
    for blank, labels, zero_infinity in itertools.product((0, 2), ([2, 3, 0, 1], [3, 3, 3, 3]), (False, True)):
        targets = torch.tensor([[1, 3, 4], [3, 3, 1], [4, 1, 1], [1, 1, 1]])
        words = {"blank": blank, "reduction": reduction, "zero_infinity": zero_infinity}
        lengths = torch.tensor(times), torch.tensor(labels)
        wanted = F.ctc_loss(log_probs, targets, *lengths, **words)
        assert same(ctc_loss(log_probs, targets, *lengths, **words), wanted)
        together = torch.cat([row[:length] for row, length in zip(targets, labels, strict=True)])
        assert same(ctc_loss(log_probs, together, times, labels, **words), wanted)


def test_ctc_loss_is_minus_the_logarithm_of_the_chance_of_all_readings(random):
    log_probs, wanted, chance = random(4, 3).log_softmax(-1), [1, 2], 0.0
    for path in itertools.product(range(3), repeat=4):
        if [label for label, _ in itertools.groupby(path) if label] == wanted:
            chance += float(log_probs[range(4), path].sum().exp())
    found = ctc_loss(log_probs, torch.tensor(wanted), torch.tensor([4]), torch.tensor([2]), reduction="sum")
    assert float(found) == pytest.approx(-math.log(chance), rel=1e-12)
