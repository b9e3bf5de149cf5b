"""The plain pipeline does the same work: its numbers are those of lossatlas."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks import plain_study
from lossatlas import interpolate, linear_connectivity
from lossatlas.loss.loss import Loss
from lossatlas.operators.hessian import dense_hessian
from lossatlas.parameters.subspaces import principal_directions
from lossatlas.study.config import Run, Study, load_study
from lossatlas.study.datasets import Task, make_task
from lossatlas.study.models import build
from lossatlas.study.training.ensemble import losses_of, train_group


@pytest.fixture(scope="module")
def study() -> Study:
    smoke = load_study("smoke")
    probes = smoke.probes.model_copy(
        update={
            "random_line": replace(smoke.probes.random_line, steps=7),
            "random_plane": replace(smoke.probes.random_plane, steps=5),
            "trajectory_plane": replace(smoke.probes.trajectory_plane, steps=5),
            "spectrum": replace(smoke.probes.spectrum, k=3, samples=40, tol=1e-3),
        }
    )
    return smoke.model_copy(
        update={
            "probes": probes,
            "model": smoke.model.model_copy(update={"architectures": ("1x16",), "activations": ("tanh",)}),
            "training": smoke.training.model_copy(update={"optimizers": ("sgd", "adam"), "epochs": 5}),
        }
    )


@pytest.fixture(scope="module")
def task(study: Study) -> Task:
    return make_task("moons", study.data, 0)


@pytest.fixture(scope="module")
def runs(study: Study) -> list[Run]:
    return list(study.runs())


@pytest.fixture(scope="module")
def losses(runs: list[Run], task: Task) -> dict[str, Loss]:
    return losses_of(build(runs[0].architecture, runs[0].activation, task.dimension), task)


@pytest.fixture(scope="module")
def trained(runs: list[Run], task: Task, study: Study) -> list[tuple[torch.nn.Module, list[Tensor]]]:
    return [plain_study.train(run, task, study) for run in runs]


@pytest.fixture(scope="module")
def found(runs: list[Run], task: Task, study: Study) -> dict[str, Any]:
    return plain_study.network(runs[0], task, study)


def test_it_trains_to_the_networks_of_a_group(runs, task, study, trained):
    for member, (_, checkpoints) in zip(train_group(runs, {0: task}, study.training), trained, strict=True):
        group = torch.stack(list(member.checkpoints.values()))
        torch.testing.assert_close(torch.stack(checkpoints), group, rtol=0, atol=2e-4)


def test_its_interpolation_is_that_of_the_probe(losses, trained, found):
    _, checkpoints = trained[0]
    result = interpolate(losses, checkpoints[0], checkpoints[-1], steps=len(found["interpolation"]))
    for number, name in enumerate(("loss", "accuracy")):
        np.testing.assert_allclose(found["interpolation"][..., number].T, result[name], rtol=1e-4, atol=1e-6)


def test_its_planes_have_the_trained_network_in_the_middle_and_the_sizes_of_the_study(losses, found):
    at = {split: float(loss(found["theta"])) for split, loss in losses.items()}
    assert found["plane"].shape == (5, 5, 2, 2)
    np.testing.assert_allclose(found["plane"][2, 2, :, 0], list(at.values()), rtol=1e-5)
    np.testing.assert_allclose(found["line"][3, :, 0], list(at.values()), rtol=1e-5)
    assert found["trajectory"].shape == (5, 5, 2, 2)
    assert np.ptp(found["trajectory"][..., 0, 0]) > 0.05


def test_its_directions_have_the_norms_of_the_filters(trained):
    model, _ = trained[0]
    direction = plain_study.random_direction(model, torch.Generator().manual_seed(0))
    parts = direction.split([parameter.numel() for parameter in model.parameters()])
    for part, weight in zip(parts, model.parameters(), strict=True):
        if weight.ndim == 1:
            assert not part.any()
        else:
            torch.testing.assert_close(part.view_as(weight).norm(dim=1), weight.detach().norm(dim=1))


def test_its_principal_axes_are_those_of_the_gram_matrix(trained):
    _, checkpoints = trained[0]
    axes, path = plain_study.principal_axes(checkpoints)
    points = torch.stack(checkpoints)
    expected, _ = principal_directions(points, points[-1])
    np.testing.assert_allclose(np.abs((torch.stack(axes).double() @ expected.T).numpy()), np.eye(2), atol=1e-3)
    assert not path[-1].any()


def test_its_spectrum_is_that_of_the_dense_hessian(losses, found):
    for loss, result in zip(losses.values(), found["spectrum"], strict=True):
        precise = loss.to(torch.float64)
        matrix = dense_hessian(precise, found["theta"].double())
        values = torch.linalg.eigvalsh(matrix).flip(0).numpy()
        np.testing.assert_allclose(result["eigenvalues"], values[:3], atol=1e-6 * values[0])
        assert result["smallest"] == pytest.approx(values[-1], abs=1e-6 * values[0])
        assert abs(result["trace"] - float(matrix.trace())) < 4 * result["trace_error"]


def test_its_sharpness_rises_and_its_barriers_are_those_of_the_probe(losses, task, study, runs, trained, found):
    assert (found["sharpness"] > 0).all()
    names = [(f"{a.optimizer}{a.seed}", f"{b.optimizer}{b.seed}") for a, b in plain_study.pairs(runs)]
    assert names == [("sgd0", "sgd1"), ("sgd0", "adam0"), ("sgd1", "adam1"), ("adam0", "adam1")]
    start, end = trained[0][1][-1], trained[1][1][-1]
    barrier = plain_study.barrier(trained[0][0], start, end, task, study)
    expected = linear_connectivity(losses, start, end).barrier.values
    np.testing.assert_allclose(barrier, expected, atol=0.02 * max(1e-3, expected.max()))
