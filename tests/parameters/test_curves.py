from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lossatlas.parameters.curves import Affine, Segment, centered, grid

finite = st.floats(-1e6, 1e6, width=32)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=5), st.sampled_from([torch.float32, torch.float64]))
def test_both_ends_of_a_segment_are_exact(pairs, dtype):
    start, end = torch.tensor(pairs, dtype=dtype).T
    points = Segment(start, end, torch.linspace(0, 1, 7, dtype=torch.float64))[0:7]
    assert torch.equal(points[0], start)
    assert torch.equal(points[-1], end)


def test_a_segment_is_the_convex_combination(generator):
    start, end = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    alpha = torch.tensor([0.0, 0.2, 0.55, 1.0], dtype=torch.float64)
    segment = Segment(start, end, alpha)
    assert len(segment) == 4
    for index, a in enumerate(alpha):
        assert torch.allclose(segment[index : index + 1][0], (1 - a) * start + a * end, rtol=1e-14, atol=1e-15)
    assert segment[1:3].shape == (2, 6)


def test_reversed_ends_reverse_the_segment(generator):
    start, end = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    alpha = torch.linspace(0, 1, 9, dtype=torch.float64)
    there, back = Segment(start, end, alpha)[0:9], Segment(end, start, alpha)[0:9]
    assert torch.allclose(back, there.flip(0), rtol=1e-13, atol=1e-15)


def test_ends_of_two_architectures_are_an_error():
    with pytest.raises(ValueError, match="end has 3 parameters, start has 2: both must come from the same"):
        Segment(torch.zeros(2), torch.zeros(3), torch.linspace(0, 1, 3))


@settings(deadline=None, max_examples=50)
@given(st.lists(finite, min_size=1, max_size=6), st.sampled_from([torch.float32, torch.float64]))
def test_coordinate_zero_is_the_origin_exactly(values, dtype):
    origin = torch.tensor(values, dtype=dtype)
    basis = torch.stack([1e3 * torch.ones_like(origin), 1e-3 + origin])
    coordinates = torch.tensor([[1.0, -1.0], [0.0, 0.0], [0.5, 2.0]], dtype=torch.float64)
    assert torch.equal(Affine(origin, basis, coordinates)[0:3][1], origin)


def test_an_affine_point_is_the_sum_of_its_parts(generator):
    origin = torch.randn(5, generator=generator, dtype=torch.float64)
    basis = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    coordinates = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    points = Affine(origin, basis, coordinates)
    assert len(points) == 6
    for index, (a, b) in enumerate(coordinates.tolist()):
        assert torch.allclose(points[index : index + 1][0], origin + a * basis[0] + b * basis[1], rtol=1e-13)


@pytest.mark.parametrize("steps", [3, 5, 25, 51])
@pytest.mark.parametrize("radius", [1.0, 0.3])
def test_a_centered_axis_has_zero_in_the_middle_and_is_even(radius, steps):
    axis = centered(radius, steps)
    assert len(axis) == steps
    assert axis[steps // 2].item() == 0
    assert (axis[0].item(), axis[-1].item()) == (-radius, radius)
    assert torch.equal(axis, -axis.flip(0))
    assert torch.allclose(axis.diff(), torch.full((steps - 1,), 2 * radius / (steps - 1), dtype=torch.float64))


@pytest.mark.parametrize("steps", [0, 1, 2, 4, 50])
def test_an_even_axis_would_miss_the_centre(steps):
    with pytest.raises(ValueError, match=f"steps is {steps}: wanted an odd number"):
        centered(1.0, steps)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (4, 1), (2, 3, 4)])
def test_the_last_axis_of_a_grid_is_fastest(shape):
    axes = [torch.arange(n, dtype=torch.float64) + 10 * k for k, n in enumerate(shape)]
    expected = list(itertools.product(*(axis.tolist() for axis in axes)))
    assert [tuple(row) for row in grid(*axes).tolist()] == expected


@pytest.mark.parametrize("radius", [0.0, -1.0, float("nan"), float("inf")])
def test_a_grid_without_extent_is_refused(radius):
    with pytest.raises(ValueError, match=r"radius is .*: wanted a number above 0"):
        centered(radius, 3)


def test_a_module_is_no_end_of_a_segment():
    with pytest.raises(ValueError, match=r"end is a Linear: wanted θ, .*theta_of\(module\)"):
        Segment(torch.ones(2), torch.nn.Linear(1, 1), torch.ones(1))  # type: ignore[arg-type]
