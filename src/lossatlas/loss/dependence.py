"""Which parameters the loss depends on, and whether its gradient knows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor, nn

from lossatlas.loss.batches import Batch
from lossatlas.loss.criteria import Measure
from lossatlas.loss.functional_module import FunctionalModule, untouched_randomness
from lossatlas.loss.reaching_past import refuse_read, second_place
from lossatlas.loss.second_derivatives import nodes_of
from lossatlas.loss.watch import Watch, storage

LISTED = 5  # names in a message


def warn_of_dependence(functional: FunctionalModule, user: nn.Module, batch: Batch, measure: Measure) -> None:
    """Say so where the loss does not depend on a parameter of θ, or does and its gradient leaves it out; and where it
    has a gradient by tensors outside the module.

    Costs a forward pass of the batch, and where parameters are not in its graph one more for each of them.

    Args:
        functional: the loss's own copy of the module.
        user: the module that was handed in.
        batch: a part of the data.
        measure: the criterion and the metrics.

    Raises:
        ValueError: the pass reads weights of the user's module, or those of the copy past their own attributes.
    """
    with untouched_randomness():
        watch, theta = Watch(), functional.elsewhere(0.0)
        with watch:
            missing, outside = _reach(functional, batch, measure, theta)
        names = functional.layout.names
        refuse_read(watch, user, names, "where gradients are on, the criterion or forward=")
        _refuse_read_past_attributes(watch, functional.module, names)
        _warn_of_held_fixed(functional, outside)
        if missing and len(missing) < len(functional.layout.names):  # else the gradient says that there is none
            missing &= _reach(functional, batch, measure, functional.elsewhere(1.0))[0]
            idle, cut_off = _by_effect(functional, missing, lambda: measure(*functional.call(batch))[0])
        else:
            return
    if idle:
        size = functional.layout.only(idle).size
        warnings.warn(
            f"{size:,} of θ's {functional.layout.size:,} parameters have no effect on the loss: {_listed(idle)} (an "
            "adapter that is merged, a part that is not used?); the landscape is flat along them; leave them out by "
            "params=, or hand in the module before it was merged",
            stacklevel=5,
        )
    if cut_off:
        warnings.warn(
            f"the loss depends on {_listed(cut_off)}, and its gradient does not (.detach(), torch.no_grad, a "
            "straight-through estimator?): values are those of one function, gradients and curvature those of another",
            stacklevel=5,
        )


def _refuse_read_past_attributes(watch: Watch, module: nn.Module, names: Collection[str]) -> None:
    """A pass with θ handed in reads none of the copy's own weights, unless they are kept in a second place."""
    for name, parameter in module.named_parameters():
        if name in names and storage(parameter) in watch.read:
            raise ValueError(second_place(name))


def _reach(functional: FunctionalModule, batch: Batch, measure: Measure, theta: Tensor) -> tuple[set[str], int]:
    """Names of parameters that are not in the graph of the criterion's value, and how many numbers in it are trainable
    and outside the module.

    Where the graph cannot be had, none and all that a pass reads.
    """
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in functional.layout.unflatten(theta).items()}
    outside = functional.traits.outside
    try:
        with torch.enable_grad():
            value = torch.as_tensor(measure.criterion(*functional.output(leaves, batch, {})))
    except Exception:  # what has no derivative says so when it is asked for one
        return set(), sum(outside.values())
    reached = [leaf for node in nodes_of(value) if (leaf := getattr(node, "variable", None)) is not None]
    reached_ids = {*map(id, reached)}
    missing = {name for name, leaf in leaves.items() if id(leaf) not in reached_ids}
    return missing, sum(outside.get(address, 0) for address in {storage(leaf) for leaf in reached})


def _warn_of_held_fixed(functional: FunctionalModule, numbers: int) -> None:
    """A criterion with parameters, a head that a lambda captures; a teacher under torch.no_grad is none."""
    if numbers:
        warnings.warn(
            f"a pass also reads {numbers:,} trainable numbers outside {type(functional.module).__name__} "
            "(a criterion with parameters of its own, or a module that a function captures): they stay as they are; "
            "for a landscape of all of them put both into one nn.Module",
            stacklevel=6,
        )


@torch.no_grad()
def _by_effect(
    functional: FunctionalModule, names: Collection[str], value: Callable[[], Tensor]
) -> tuple[list[str], list[str]]:
    """The parameters without an effect on the value, and the others."""
    before, theta, moved = value(), functional.elsewhere(0.0), functional.elsewhere(1.0)
    idle, cut_off = [], []
    for name, part in functional.layout.slices.items():
        if name in names:
            alone = theta.clone()
            alone[part] = moved[part]
            with functional.at(alone):
                (idle if torch.equal(value(), before) else cut_off).append(name)
    return idle, cut_off


def _listed(names: Sequence[str]) -> str:
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")
