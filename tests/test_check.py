"""The self-check passes here, and fails where the library is broken: every check for its own reason."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random

import numpy as np
import pytest
import torch

from lossatlas.alignment import weight_matching as alignment
from lossatlas.check import CHECKS, Check, Measured, derivatives, describe, run_checks, symmetries
from lossatlas.check.case import seed
from lossatlas.errors import InputError
from lossatlas.loss import construction
from lossatlas.loss.averaging import Averaging
from lossatlas.loss.evaluation import PointwiseSums
from lossatlas.loss.loss import Loss
from lossatlas.numerics import lanczos, trace
from lossatlas.numerics import quadrature as density
from lossatlas.operators import hessian as curvature
from lossatlas.operators import matrices
from lossatlas.parameters import directions, subspaces
from lossatlas.parameters.curves import Affine
from lossatlas.probes.slices import random_line as slices
from lossatlas.probes.slices import random_plane
from lossatlas.results import storage as results


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_everything_passes_here(dtype):
    found = list(run_checks("cpu", dtype))
    assert [one.name for one in found] == list(CHECKS)
    assert [describe(one) for one in found if not one.passed] == []
    assert all(math.isfinite(one.value) and not one.error for one in found)


def an_axis_that_misses_the_centre(patch):
    patch.setattr(slices, "centered", lambda radius, steps: torch.linspace(-radius, 1.1 * radius, steps).double())


def a_transposed_grid(patch):
    write = Affine.write

    def swapped(self, index, out):
        return write(dataclasses.replace(self, coordinates=self.coordinates.flip(1)), index, out)

    patch.setattr(Affine, "write", swapped)


def orthogonalization_that_forgets_to_divide_by_the_norm(patch):
    def orthogonalize(layout, drawn):
        return torch.stack([drawn[0], drawn[1] - (drawn[0] @ drawn[1]) * drawn[0]])

    for module in (random_plane, subspaces):
        patch.setattr(module, "orthogonalize_by_tensor", orthogonalize)


def a_cosine_of_vectors_that_are_no_unit_vectors(patch):
    patch.setattr(random_plane, "cosine", lambda a, b: float(a @ b))


def one_norm_for_a_whole_layer(patch):
    scale = directions._scale
    patch.setattr(directions, "_scale", lambda draws, weight, _, biases: scale(draws, weight, "layer", biases))


def directions_without_the_scale_of_the_network(patch):
    patch.setattr(directions, "_scale", lambda *_: None)


def another_answer_point_by_point(patch):
    whole = PointwiseSums.__call__

    def off(self, stack, *, at_once):
        return whole(self, stack, at_once=at_once) * (1 if at_once else 1 + 1e-4)

    patch.setattr(PointwiseSums, "__call__", off)


def curvature_per_relative_change(patch):
    class Relative(curvature.Hessian):
        def __init__(self, function, theta, params=None):
            super().__init__(function, theta, params)
            self.scale = theta.abs()

        def __call__(self, vectors):
            return super().__call__(vectors * self.scale) * self.scale

    for module in (derivatives, symmetries, curvature):
        patch.setattr(module, "Hessian", Relative)
    patch.setitem(matrices.KINDS, "hessian", dataclasses.replace(matrices.KINDS["hessian"], product=Relative))


def curvature_scaled_on_one_side(patch):
    patch.setattr(symmetries, "scaled", lambda product, scale: lambda rows: product(rows) * scale)


def a_permutation_that_forgets_the_biases(patch):
    permute = alignment.permute_neurons

    def forgetful(layout, theta, permutation):
        tensors = layout.unflatten(permute(layout, theta, permutation))
        return layout.flatten(tensors | {"0.bias": layout.unflatten(theta)["0.bias"]})

    patch.setattr(alignment, "permute_neurons", forgetful)


def a_matching_that_finds_nothing(patch):
    patch.setattr(alignment, "match_neurons", lambda *_: torch.arange(5))


def weight_decay_within_the_loss(patch):
    value = Loss.__call__
    patch.setattr(Loss, "__call__", lambda self, theta: value(self, theta) + 1e-3 * theta.square().sum(-1))


def a_gradient_of_the_sum(patch):
    gradient = Loss.gradient
    patch.setattr(Loss, "gradient", lambda self, theta: gradient(self, theta) * (100 if self.batches == 1 else 1))


def finite_differences_whatever_the_length_of_the_vector(patch):
    """(g(θ + εv) − g(θ)) / ε with ε = 1e-3, too far for a long v."""

    class Differences:
        def __init__(self, function, theta):
            self.function, self.theta = function, theta

        def __call__(self, vectors):
            ahead = [self.function.gradient(self.theta + 1e-3 * v) for v in vectors]
            return (torch.stack(ahead) - self.function.gradient(self.theta)) / 1e-3

    patch.setattr(derivatives, "Hessian", Differences)


def power_iteration(patch):
    """On spectra whose signs tie it ends at neither."""

    def power(product, size, *, largest, smallest=0, generator, **_):
        v = torch.randn(size, generator=generator, dtype=torch.float64)
        for _ in range(50):
            v = product(v[None])[0].double()
            v /= v.norm()
        value = (product(v[None])[0] @ v).repeat(largest + smallest)
        return lanczos.Eigenpairs(
            value[:largest], 0 * value, v[None], value[largest:], 0 * value, v[None], 50, converged=True
        )

    patch.setattr(lanczos, "extremal_eigenpairs", power)


def samples_of_a_trace_that_see_again_what_was_taken_out(patch):
    rademacher = trace._rademacher
    patch.setattr(
        trace, "_rademacher", lambda count, size, generator, *, span: rademacher(count, size, generator, span=None)
    )  # fmt: skip


def a_width_taken_for_a_variance(patch):
    def gaussians(axis, nodes, weights, sigma):
        return torch.exp(-0.5 * (axis[:, None] - nodes) ** 2 / sigma) @ weights / (sigma * math.sqrt(2 * math.pi))

    patch.setattr(density, "_gaussians", gaussians)


def every_batch_weighs_the_same(patch):
    of = Averaging.of

    def alike(*args):
        found = of(*args)
        return Averaging(torch.ones_like(found.weights), torch.ones_like(found.weights).sum(0), found.weighted_by)

    patch.setattr(construction.Averaging, "of", alike)


def the_users_own_module_in_eval_mode(patch):
    private_copy = construction.private_copy
    patch.setattr(construction, "private_copy", lambda module, *args: private_copy(module.eval(), *args))


def numbers_from_the_global_stream(patch):
    drawn = torch.randn

    def stealing(*args, **options):
        drawn(1)
        return drawn(*args, **options)

    patch.setattr(directions.torch, "randn", stealing)


def samples_of_a_trace_from_a_seed_of_their_own(patch):
    rademacher, numbers = trace._rademacher, itertools.count()

    def seeded(count, size, _, *, span):
        return rademacher(count, size, seed(next(numbers)), span=span)

    patch.setattr(trace, "_rademacher", seeded)


def results_in_half_the_digits(patch):
    to_netcdf = results.to_netcdf
    patch.setattr(results, "to_netcdf", lambda result: to_netcdf(result.astype("float32")))


# What breaks the library, and the checks that must fail then, and no others.
BROKEN = {
    an_axis_that_misses_the_centre: {"centre"},
    a_transposed_grid: {"cells"},
    orthogonalization_that_forgets_to_divide_by_the_norm: {"cosine"},
    a_cosine_of_vectors_that_are_no_unit_vectors: {"stated_cosine"},
    one_norm_for_a_whole_layer: {"filters"},
    directions_without_the_scale_of_the_network: {"filters", "rescaled_slice"},
    another_answer_point_by_point: {"chunks"},
    curvature_per_relative_change: {"rescaled_curvature", "rescaled_ratio", "adaptive_ratio", "products", "trace"},
    curvature_scaled_on_one_side: {"adaptive_ratio"},
    a_permutation_that_forgets_the_biases: {"permuted_function", "recovered"},
    a_matching_that_finds_nothing: {"recovered"},
    weight_decay_within_the_loss: {"rescaled_loss", "ragged"},
    a_gradient_of_the_sum: {"gradient"},
    finite_differences_whatever_the_length_of_the_vector: {"products"},
    power_iteration: {"eigenvalues"},
    samples_of_a_trace_that_see_again_what_was_taken_out: {"trace"},
    a_width_taken_for_a_variance: {"mass"},
    every_batch_weighs_the_same: {"ragged"},
    the_users_own_module_in_eval_mode: {"untouched"},
    numbers_from_the_global_stream: {"untouched"},
    samples_of_a_trace_from_a_seed_of_their_own: {"repeated"},
    results_in_half_the_digits: {"round_trip"},
}


@pytest.mark.filterwarnings("ignore:the .* of the loss is off by")  # the probes' own check sees some of it too
@pytest.mark.parametrize(("patch", "expected"), BROKEN.items(), ids=[patch.__name__ for patch in BROKEN])
def test_a_broken_library_fails_the_check_of_what_is_broken(patch, expected, monkeypatch):
    patch(monkeypatch)
    found = list(run_checks())
    assert {one.name for one in found if not one.passed} == expected


def test_every_check_can_fail():
    assert set().union(*BROKEN.values()) == set(CHECKS)


def test_a_check_that_raises_has_failed_and_the_others_go_on(monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("no products\n  today")

    monkeypatch.setattr(lanczos, "extremal_eigenpairs", refuse)
    found = {one.name: one for one in run_checks()}
    assert {name for name, one in found.items() if not one.passed} == {"eigenvalues", "adaptive_ratio"}
    line = describe(found["eigenvalues"])
    assert line.startswith("FAIL  eigenvalues of known spectra")
    assert line.endswith("  RuntimeError: no products today")


def test_lines_are_aligned_and_say_which_side_is_right():
    low = describe(Check("centre", CHECKS["centre"][0], 1.234e-16, 1e-12, True))
    high = describe(Check("rescaled_ratio", CHECKS["rescaled_ratio"][0], 1.5, 2.0, False, above=True))
    assert low.split("  ")[0] == "pass"
    assert low.endswith("  1.2e-16 <= 1e-12")
    assert high.startswith("FAIL  rescaled ReLU layers")
    assert high.endswith("  1.5 >= 2")
    assert low.index("1.2e-16") == high.index("1.5")


def test_nan_passes_no_limit(monkeypatch):
    monkeypatch.setitem(CHECKS, "centre", ("centre", lambda _: Measured(math.nan, 1.0)))
    assert not next(run_checks()).passed


def test_random_streams_and_settings_stay():
    def held():
        return (
            torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist(),  # noqa: NPY002
            torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(),
        )  # fmt: skip

    before = held()
    with torch.no_grad():
        assert all(one.passed for one in run_checks())
    assert held() == before


@pytest.mark.parametrize(
    ("device", "dtype", "text"),
    [
        ("cpu", "float16", "the precision is float16: wanted one of float32, float64"),
        ("gpu", "float64", "cannot compute in float64 on gpu: RuntimeError: "),
        ("meta", "float64", "cannot compute in float64 on meta: "),
    ],
)
def test_a_device_or_precision_that_is_not_there_is_one_line(device, dtype, text):
    with pytest.raises(InputError, match=text) as caught:
        run_checks(device, dtype)
    assert "\n" not in str(caught.value)
