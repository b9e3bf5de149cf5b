"""Are the criterion and the metrics functions of output and target alone?"""

from __future__ import annotations

import warnings
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from lossatlas.loss.accumulation import Accumulators, accumulates
from lossatlas.loss.batches import Batch, describe, first_rows, map_tensors
from lossatlas.loss.criteria import Measure
from lossatlas.loss.first_pass import equal_to_rounding
from lossatlas.loss.functional_module import FunctionalModule, plain_transformer

CHECKED_ROWS = 256  # examples on which a running mean moves on; with more the check takes longer


@torch.no_grad()
def check_metrics(functional: FunctionalModule, batch: Batch, measure: Measure, most: int) -> None:
    """Say which metric, or criterion, is no function of output and target alone, or cannot be accumulated.

    Costs a pass of a part of the batch. Between two looks at its output there are two at others, on which a running
    mean moves on.

    Args:
        functional: the loss's own copy of the module.
        batch: the largest one.
        measure: the criterion and the metrics.
        most: examples that are looked at; `CHECKED_ROWS` at most.

    Raises:
        ValueError: a value is another one the second time, or what gathers over batches fails on one.
    """
    part = first_rows(batch, min(most, CHECKED_ROWS))
    with warnings.catch_warnings(), plain_transformer():
        warnings.simplefilter("ignore")  # of a criterion or metric at weights that are nobody's
        try:
            own = functional.call(part)
            first = measure(*own)
        except Exception:  # a module or criterion that takes its batches as they are
            part, own = batch, functional.call(batch)
            first = measure(*own)
        for factor in (-10.0, 10.0):  # far enough that a least or largest value is another
            with suppress(Exception):  # whatever a criterion raises at outputs that are nobody's
                measure(_scaled(own[0], factor), own[1])
        with suppress(Exception), functional.at(functional.elsewhere(0.1)):
            functional.call(first_rows(part, 2))  # what a pass leaves somewhere is of other examples now
        again = _again(measure, own)
    for name, one, other in zip(measure.names, first, again, strict=True):
        if not equal_to_rounding(one[None], other[None], functional):
            raise ValueError(
                f"the {'criterion' if name == 'loss' else f'metric {name}'} gives {float(one):.6g} for a batch, and "
                f"{float(other):.6g} for the same one after another: wanted a function of output and target alone "
                "(forward= may hand over more); what gathers over batches has reset(), update(output, target) and "
                "compute(), as torchmetrics.Metric"
            )
    accumulators = Accumulators(measure.metrics, first.device)
    try:
        accumulators.reset()
        accumulators.update(*own)
        accumulators.values()
    except Exception as error:
        names = ", ".join(name for name, metric in measure.metrics.items() if accumulates(metric))
        raise ValueError(f"a batch, {describe(own)}, does not go through the metrics {names}: {error}") from error


def _scaled(output: Any, factor: float) -> Any:
    return map_tensors(lambda tensor: factor * tensor + 0.1 if tensor.is_floating_point() else tensor, output)


def _again(measure: Measure, output_and_target: tuple[Any, Any]) -> Tensor:
    try:
        return measure(*output_and_target)
    except Exception as error:
        raise ValueError(
            f"the criterion or a metric fails on the same output and target after another batch ({error}): wanted a "
            "function of output and target alone (forward= may hand over more)"
        ) from error
