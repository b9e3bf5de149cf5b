"""Loss and metrics of single examples, some of those that a loss is a mean over, at any points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossatlas import hardware
from lossatlas.loss.batches import Batches, take_rows
from lossatlas.loss.construction import Components, chunk_budget
from lossatlas.loss.criteria import Measure
from lossatlas.loss.evaluation import Points, PointwiseValues, made_points
from lossatlas.loss.functional_module import plain_transformer
from lossatlas.loss.loss import Loss
from lossatlas.loss.microbatches import DISTANCES, rows_in_cache
from lossatlas.loss.shares import single_losses
from lossatlas.loss.single_examples import LinkedExamples
from lossatlas.loss.subsample import why_together
from lossatlas.work import answered

# Examples on which it is tried whether they have the values alone that they have together. With fewer a batch hides
# more; with more the trial takes longer than a first look at a large model may.
TRIED_EXAMPLES = 16


class ExampleValues:
    """What single examples add to the loss and to every metric, scaled so that the means over all examples are those of
    the loss on the data.

    Args:
        loss: whose examples can be told apart (`check_examples`); its penalty is left out.
        rows: which examples, `(n,)` of int, counted through all batches.
    """

    def __init__(self, loss: Loss, rows: Tensor) -> None:
        components = loss._components
        data = components.data
        self.examples = len(rows)
        self._components = components
        self._scale = np.ones(len(components.measure.names))
        if components.averaging.weighted_by == "sum":
            self._scale[0] = sum(data.rows)
        most = max(data.rows)
        if hardware.microbatches_pay(data.device):
            most = rows_in_cache(components.functional, components.cost, most)
        self._sample = data.taking(rows.split(most))
        self._values = PointwiseValues(
            components.functional, components.statistics, self._sample, _singles(components.measure)
        )

    def __call__(self, points: Points) -> np.ndarray:
        """The values at m `points`, `(m, names, n)` in float64."""
        parts, theta = self._components, self._components.functional.shared_theta()
        cost = parts.cost.times(max(self._sample.rows) / max(parts.data.rows))
        budget = chunk_budget(parts.memory, theta.device)
        chunk = max(1, budget // max(cost.bytes, 4 * len(theta)))
        at_once = self._values.pays(chunk, theta.device)
        if not at_once:  # of points that are evaluated one by one, only they themselves are in memory together
            chunk = max(1, min(hardware.LOOPED_POINTS, budget // theta.nbytes))
        made, found = None, []
        for start in range(0, len(points), chunk):
            made = made_points(points, slice(start, start + chunk), made)
            stack = made.to(theta)
            values = answered(stack, lambda stack=stack: self._joined(stack, at_once=at_once), evaluations=len(stack))
            found.append(values.numpy())
        return np.concatenate(found) * self._scale[:, None]

    def _joined(self, stack: Tensor, *, at_once: bool) -> Tensor:
        """Of all batches, `(m, names, n)`."""
        values, _ = self._values(stack, at_once=at_once)
        return torch.cat([value.to("cpu", torch.float64) for value in values], -1)


def check_examples(loss: Loss) -> None:
    """Say why a loss is no mean, or sum, over single examples, each with a part of its own. Costs passes of a few.

    Args:
        loss: on data with a row for each example.

    Raises:
        LinkedExamples: it is none, and why.
    """
    components = loss._components
    tried = torch.arange(min(TRIED_EXAMPLES, loss.examples))
    if why := why_together(components) or _why_unequal(components) or _why_not_alone(components, tried):
        raise LinkedExamples(why)


def _singles(measure: Measure) -> Callable[[Any, Any], Tensor]:
    """(output, target) of n examples -> the loss and every metric of each alone, `(names, n)`."""

    def values(output: Any, target: Any) -> Tensor:
        wide = torch.float64 if hardware.supports_float64(output.device) else torch.float32
        return torch.stack([single_losses(one, output, target).to(wide) for one in measure.functions.values()])

    return values


def _why_unequal(components: Components) -> str:
    """Why examples do not count alike, or ""; where a batch counts in proportion to its examples, they do."""
    weights, rows = components.averaging.weights, torch.tensor(components.data.rows, dtype=torch.float64)
    columns = weights[:, 1:] if components.averaging.weighted_by == "sum" else weights
    if torch.equal(columns * rows[0], columns[:1] * rows[:, None]):
        return ""
    return f"batches are weighted by {components.averaging.weighted_by}, and examples do not count alike"


@torch.no_grad()
def _why_not_alone(components: Components, rows: Tensor) -> str:
    """Why the mean of what single examples give is not what a batch gives, or ""; tried on those in `rows`."""
    functional, measure = components.functional, components.measure
    batch: Batches = components.data.taking([rows])
    count, half, singles = len(rows), len(rows) // 2, _singles(measure)
    for distance in DISTANCES:
        with plain_transformer(), functional.at(functional.elsewhere(distance)):
            try:
                output, target = functional.call(batch[0])
                if not all(isinstance(part, Tensor) and part.ndim and len(part) == count for part in (output, target)):
                    return "output and target are not tensors with a row for each example"
                together, each = measure(output, target).cpu(), singles(output, target).cpu()
                alone = each
                if half:
                    pieces = torch.arange(count).split(half)
                    alone = torch.cat(
                        [singles(*functional.call(take_rows(batch[0], p, count))).cpu() for p in pieces], 1
                    )
            except Exception as error:  # whatever a module or criterion that wants its batches whole raises
                return f"the module or a criterion does not take a part of a batch ({str(error).splitlines()[0]})"
        means = each.mean(1)
        if components.averaging.weighted_by == "sum":
            means[0] = each[0].sum()
        tolerance = torch.finfo(functional.coarsest).eps ** 0.6  # above rounding, below what another example makes
        largest = float(each.abs().nan_to_num(0.0, 0.0, 0.0).max())
        if not torch.allclose(alone, each, rtol=tolerance, atol=tolerance * largest, equal_nan=True):
            return "the module's output for an example depends on the other examples of its batch"
        if not torch.allclose(means, together, rtol=tolerance, atol=tolerance * largest, equal_nan=True):
            return "the criterion or a metric of a batch is not the mean, or sum, of that of its examples"
    return ""
