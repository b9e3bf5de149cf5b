"""Metrics that gather over batches have their value on all data at once; what keeps a state of its own is told."""

from __future__ import annotations

import copy

import pytest
import torch
import torchmetrics
from torch import nn
from torchmetrics.classification import BinaryAUROC, MulticlassF1Score, MulticlassJaccardIndex

import lossatlas as la
from lossatlas.loss.loss import Loss

G = torch.Generator().manual_seed(3)


def batches(x, y, size=16):
    return list(zip(x.split(size), y.split(size), strict=True))


def classifier(outputs):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, outputs))


def outputs_at(module, theta, x):
    other = copy.deepcopy(module)
    nn.utils.vector_to_parameters(theta, other.parameters())
    with torch.no_grad():
        return other(x)


def f1(output, target):
    """The mean over classes of 2 TP / (2 TP + FP + FN)."""
    said = output.argmax(1)
    scores = []
    for c in range(3):
        hits = ((said == c) & (target == c)).sum()
        scores.append(2 * hits / ((said == c).sum() + (target == c).sum()).clamp_min(1))
    return float(torch.stack(scores).mean())


def auroc(output, target):
    """The chance that a positive example is above a negative one; ties count a half."""
    above = output[target == 1][:, None] - output[target == 0][None]
    return float((above > 0).double().mean() + 0.5 * (above == 0).double().mean())


def r2(output, target):
    return float(1 - (output - target).square().sum() / (target - target.mean()).square().sum())


X = torch.randn(49, 4, generator=G)
CASES = {
    "f1": (classifier(3), torch.randint(0, 3, (49,), generator=G), nn.CrossEntropyLoss(),
           MulticlassF1Score(num_classes=3, average="macro"), f1),
    "auroc": (nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)), (X[:, 0] > 0.2).long(),
              lambda o, t: nn.functional.binary_cross_entropy_with_logits(o, t.float()), BinaryAUROC(), auroc),
    "r2": (nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)), torch.randn(49, generator=G), nn.MSELoss(),
           torchmetrics.R2Score(), r2),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", [16, 24, 49])  # the last batch of 16 and of 24 has one row
def test_the_value_is_that_on_all_data_at_once(name, size):
    module, y, criterion, metric, plain = CASES[name]
    scaled = copy.deepcopy(module)
    if name == "auroc":  # a batch of few has all its logits between 0 and 1, which torchmetrics takes for probabilities
        scaled[0].weight.data.mul_(3)
    loss = Loss.of(scaled, batches(X, y, size), criterion, metrics={"gathered": metric, "same": lambda o, t: o.sum()})
    points = loss.theta + 0.5 * torch.randn(5, loss.layout.size, generator=G)
    wanted = [plain(outputs_at(scaled, theta, X), y) for theta in points]
    assert loss.evaluate(points)["gathered"].tolist() == pytest.approx(wanted, abs=1e-6)
    assert loss.to(torch.float64).evaluate(points)["gathered"].tolist() == pytest.approx(wanted, abs=1e-6)
    assert metric._update_count == 0  # the caller's own
    assert loss.subset(8, at=loss.theta, generator=torch.Generator()) is None


def test_one_large_batch_is_not_cut():
    x, y = torch.randn(6000, 4, generator=G), torch.arange(6000).ge(5500).long()
    module = nn.Sequential(nn.Linear(4, 256), nn.Tanh(), nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 2))
    loss = Loss.of(
        module, (x, y), nn.CrossEntropyLoss(), metrics={"iou": MulticlassJaccardIndex(num_classes=2, average="macro")}
    )
    said = module(x).argmax(1)
    ious = [((said == c) & (y == c)).sum() / ((said == c) | (y == c)).sum() for c in (0, 1)]
    assert loss.batches == 1
    assert float(loss.evaluate(loss.theta[None])["iou"]) == pytest.approx(float(sum(ious) / 2), abs=1e-6)


def test_a_surface_has_it_too():
    module, y, criterion, metric, plain = CASES["f1"]
    loss = Loss.of(module, batches(X, y), criterion, metrics={"f1": metric})
    line = la.interpolate(loss, torch.zeros_like(loss.theta), loss.theta, steps=4)
    wanted = [plain(outputs_at(module, a * loss.theta, X), y) for a in torch.linspace(0, 1, 4)]
    assert line["f1"].values.tolist() == pytest.approx(wanted, abs=1e-6)


class Median:
    """What has the three methods, and is no torchmetrics.Metric."""

    def reset(self):
        self.seen = []

    def update(self, output, target):
        self.seen.append((output - target).abs())

    def compute(self):
        return torch.cat(self.seen).median()


def test_what_has_the_methods_gathers():
    module, y, criterion, _, _ = CASES["r2"]
    own = Median()
    loss = Loss.of(module, batches(X, y), criterion, metrics={"median": own})
    assert float(loss.evaluate(loss.theta[None])["median"]) == pytest.approx(
        float((module(X) - y).abs().median().detach())
    )
    assert not vars(own)


@pytest.mark.parametrize(("metric", "words"), [
    (MulticlassF1Score(num_classes=3, average=None), r"through the metrics it: the metric it computes float32 \(3,\)"),
    (torchmetrics.MetricCollection([MulticlassF1Score(num_classes=3)]), r"metrics=dict\(collection\)"),
    (BinaryAUROC(), r"a batch, \(float32 \(49, 3\), int64 \(49,\)\), does not go through the metrics it: "),
    (MulticlassF1Score, "it is the class MulticlassF1Score: wanted an instance"),
])  # fmt: skip
def test_what_cannot_be_gathered_is_told(metric, words):
    with pytest.raises(ValueError, match=words):
        Loss.of(CASES["f1"][0], (X, CASES["f1"][1]), nn.CrossEntropyLoss(), metrics={"it": metric})


class RunningMean:
    def __init__(self):
        self.total = self.count = 0

    def __call__(self, output, target):
        self.total, self.count = self.total + (output.argmax(1) == target).sum(), self.count + len(target)
        return self.total / self.count


class Smoothed:
    value = 1.0

    def __call__(self, output, target):
        self.value = 0.9 * self.value + 0.1 * float(nn.functional.cross_entropy(output, target))
        return self.value


class Best(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("least", torch.tensor(float("inf")))

    def forward(self, output, target):
        self.least = torch.minimum(self.least, -nn.functional.cross_entropy(output, target))
        return self.least


@pytest.mark.parametrize("metric", [RunningMean(), Smoothed(), Best()])
def test_a_metric_with_a_state_is_told(metric):
    with pytest.raises(
        ValueError, match=r"the metric it gives .* for the same one after another: wanted a function of"
    ):
        Loss.of(CASES["f1"][0], (X, CASES["f1"][1]), nn.CrossEntropyLoss(), metrics={"it": metric})


def test_a_criterion_with_a_state_is_told():
    normalizer = []

    def relative(output, target):
        normalizer.append(float(nn.functional.cross_entropy(output, target)))
        return nn.functional.cross_entropy(output, target) / max(normalizer)

    with pytest.raises(ValueError, match=r"the criterion gives .* for the same one after another"):
        Loss.of(CASES["f1"][0], (X, CASES["f1"][1]), relative)
