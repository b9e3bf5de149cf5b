"""Neuron alignment of networks with one hidden layer: which permutation brings one nearest to another."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lossatlas.parameters.layout import Layout


def match_neurons(layout: Layout, reference: Tensor, theta: Tensor) -> Tensor:
    """The permutation of θ's hidden neurons that minimises ‖reference − π(θ)‖, `(h,)`.

    Weight matching (Ainsworth et al. 2023); with one hidden layer it is a single assignment problem, solved
    exactly.

    Args:
        layout: a hidden weight `(h, d)` and bias `(h,)`, then an output weight `(c, h)` and bias `(c,)`.
        reference: `(P,)`.
        theta: θ `(P,)`, whose neurons are matched.

    Raises:
        ValueError: another layout.
    """
    _check(layout)
    similarity = sum(
        a.double() @ b.double().T for a, b in zip(_by_neuron(layout, reference), _by_neuron(layout, theta), strict=True)
    )
    _, matched = linear_sum_assignment(torch.as_tensor(similarity).numpy(), maximize=True)
    return torch.as_tensor(matched)


def permute_neurons(layout: Layout, theta: Tensor, permutation: Tensor) -> Tensor:
    """θ of the same function with its hidden neurons in another order, `(P,)`.

    That holds where nothing but θ belongs to single neurons: buffers, such as the statistics of a
    `BatchNorm(affine=False)` between the layers, are not seen here and stay in their order.

    Args:
        layout: as in `match_neurons`.
        theta: θ `(P,)`.
        permutation: `(h,)`, which neuron comes to each place.

    Raises:
        ValueError: another layout, or more than one point.
    """
    _check(layout)
    if theta.ndim != 1:
        raise ValueError(f"θ has shape {tuple(theta.shape)}: wanted one point, ({layout.size},)")
    tensors = layout.unflatten(theta)
    hidden, bias, out, last = layout.names
    return layout.flatten(
        {
            hidden: tensors[hidden][permutation],
            bias: tensors[bias][permutation],
            out: tensors[out][:, permutation],
            last: tensors[last],
        }
    )


def align(layout: Layout, reference: Tensor, theta: Tensor) -> Tensor:
    """θ with its hidden neurons in the order that is nearest to a reference, `(P,)`: the same function.

    Args:
        layout: as in `match_neurons`.
        reference: `(P,)`.
        theta: θ `(P,)`, whose neurons are matched.

    Raises:
        ValueError: another layout.
    """
    return permute_neurons(layout, theta, match_neurons(layout, reference, theta))


def _by_neuron(layout: Layout, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Everything that belongs to a hidden neuron, one row each: `(h, d)`, `(h, 1)`, `(h, c)`."""
    hidden, bias, out, _ = layout.unflatten(theta.cpu()).values()
    return hidden, bias[:, None], out.T


def _check(layout: Layout) -> None:
    kinds = [len(shape) for shape in layout.shapes]
    if kinds != [2, 1, 2, 1] or layout.shapes[2][1] != layout.shapes[0][0]:
        raise ValueError(
            "alignment wants one hidden layer (weight, bias, weight, bias), "
            f"got {dict(zip(layout.names, layout.shapes, strict=True))}"
        )
