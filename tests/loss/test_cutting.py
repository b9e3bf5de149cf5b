"""One large batch is cut only where no row of it, wherever it stands, says otherwise."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lossatlas import Loss
from tests.loss.own_code import CE, seeded

ROWS = 6000
X = torch.randn(ROWS, 4, generator=seeded(1))
LATE = (torch.arange(ROWS) >= 4800).long()
RARE = torch.zeros(ROWS, dtype=torch.long).index_fill(0, torch.tensor([777, 4321, 5990]), 1)


def wide(outputs: int = 2) -> nn.Module:
    """Large enough that a batch of 6,000 rows is cut to the cache."""
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Linear(4, 256), nn.Tanh(), nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, outputs)
    )  # fmt: skip


def balanced(output: Tensor, target: Tensor) -> Tensor:
    losses = F.cross_entropy(output, target, reduction="none")
    return torch.stack([losses[target == label].mean() for label in target.unique()]).mean()


def soft_f1(output: Tensor, target: Tensor) -> Tensor:
    p = output.softmax(1)[:, 1]
    return 1 - 2 * (p * target).sum() / (p.sum() + target.sum())


def smooth(output: Tensor, target: Tensor) -> Tensor:
    return CE(output, target) + output.diff(dim=0).square().mean()


@pytest.mark.parametrize(
    ("criterion", "target"),
    [(balanced, LATE), (balanced, RARE), (soft_f1, LATE), (smooth, LATE), (CE, LATE)],
    ids=["balanced", "rare", "f1", "differences", "plain"],
)
def test_labels_in_order_or_rare(criterion, target):
    module = wide()
    loss = Loss.of(module, (X, target), criterion)
    assert loss(loss.theta).item() == pytest.approx(float(criterion(module(X), target).detach()), rel=1e-5)


@pytest.mark.parametrize("where", [slice(5300, 6000), slice(3000, 3100)])
def test_a_masked_mean(where):
    def masked(output: Tensor, target: tuple[Tensor, Tensor]) -> Tensor:
        values, mask = target
        return ((output[:, 0] - values).square() * mask).sum() / mask.sum().clamp(min=1)

    mask, module = torch.zeros(ROWS), wide(1)
    mask[where] = 1.0
    batch = (X, X.sum(1), mask)
    loss = Loss.of(module, [batch], masked, forward=lambda module, batch: (module(batch[0]), batch[1:]))
    assert loss(loss.theta).item() == pytest.approx(float(masked(module(X), batch[1:]).detach()), rel=1e-5)


def test_a_metric_of_two_sorted_batches_is_said():
    target = (torch.arange(ROWS) >= ROWS // 2).long()
    batches = list(zip(X.split(ROWS // 2), target.split(ROWS // 2), strict=True))
    with pytest.warns(UserWarning, match="the metric 'f1' of a batch is not the mean"):
        Loss.of(wide(), batches, CE, metrics={"f1": soft_f1})


def test_an_input_that_is_scaled_by_the_largest_of_its_batch():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = wide()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x / x.abs().max())

    x, module = X.clone(), Scaled()
    x[3210] *= 50
    loss = Loss.of(module, (x, LATE), CE)
    assert loss(loss.theta).item() == pytest.approx(float(CE(module(x), LATE).detach()), rel=1e-5)
