"""What the measuring stage stores, against the library called by hand and against plain torch."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from lossatlas.results.storage import read_result
from lossatlas.study.datasets import make_task
from lossatlas.study.models import build
from lossatlas.study.store import Store


@pytest.fixture(params=["1x5", "2x4"])
def run(request, finished: Store):
    return next(run for run in finished.study.runs() if run.architecture == request.param)


def network(store: Store, run, checkpoint: int) -> nn.Module:
    model = build(run.architecture, run.activation, 2)
    model.load_state_dict(load_file(store.checkpoint_files(run)[checkpoint]))
    return model


@torch.no_grad()
def cross_entropy(model: nn.Module, data) -> float:
    return nn.functional.cross_entropy(model(data[0]), data[1]).item()


def test_the_metrics_are_those_of_the_final_checkpoint(finished: Store, run):
    task = make_task(run.dataset, finished.study.data, run.data_seed)
    model = network(finished, run, -1)
    metrics = finished.metrics(run)
    assert metrics["train_loss"] == pytest.approx(cross_entropy(model, task.train), rel=1e-5)
    assert metrics["test_loss"] == pytest.approx(cross_entropy(model, task.test), rel=1e-5)
    accuracy = (model(task.test[0]).argmax(-1) == task.test[1]).double().mean().item()
    assert metrics["test_accuracy"] == pytest.approx(accuracy, abs=1e-7)
    last = (finished.run_folder(run) / "history.csv").read_text().splitlines()[-1].split(",")
    assert float(last[2]) == metrics["train_loss"]


def test_the_interpolation_runs_from_initial_to_final_weights(finished: Store, run):
    task = make_task(run.dataset, finished.study.data, run.data_seed)
    curve = read_result(finished.result_file(run, "interpolate"))
    for alpha, checkpoint in ((0.0, 0), (1.0, -1)):
        model = network(finished, run, checkpoint)
        for split in ("train", "test"):
            wanted = cross_entropy(model, getattr(task, split))
            assert float(curve.loss.sel(alpha=alpha, split=split)) == pytest.approx(wanted, rel=1e-5)
    assert {"loss", "accuracy"} <= set(curve.data_vars)


def test_slices_and_plane_are_centred_on_the_final_weights(finished: Store, run):
    metrics = finished.metrics(run)
    for name in ("random_line", "random_plane", "trajectory_plane"):
        result = read_result(finished.result_file(run, name))
        centre = result.sel({axis: 0.0 for axis in ("alpha", "beta") if axis in result.dims}, method="nearest")
        for split in ("train", "test"):
            assert float(centre.loss.sel(split=split)) == pytest.approx(metrics[f"{split}_loss"], rel=1e-6)
            assert float(centre.accuracy.sel(split=split)) == pytest.approx(metrics[f"{split}_accuracy"], abs=1e-6)


def test_the_spectrum_is_that_of_the_dense_hessian(finished: Store, run):
    task = make_task(run.dataset, finished.study.data, run.data_seed)
    model = network(finished, run, -1).double()
    names = [name for name, _ in model.named_parameters()]
    shapes = [p.shape for p in model.parameters()]
    theta = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    stored = json.loads(finished.result_file(run, "spectrum").read_text())
    for split in ("train", "test"):
        x, y = getattr(task, split)

        def loss(flat, x=x, y=y):
            parts = flat.split([shape.numel() for shape in shapes])
            tensors = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
            return nn.functional.cross_entropy(torch.func.functional_call(model, tensors, (x.double(),)), y)

        values = np.linalg.eigvalsh(torch.autograd.functional.hessian(loss, theta).numpy())
        found = stored[split]
        scale = abs(values).max()
        np.testing.assert_allclose(found["eigenvalues"], values[::-1][:3], atol=1e-4 * scale)
        assert found["smallest"] == pytest.approx(values[0], abs=1e-4 * scale)
        assert abs(found["trace"] - values.sum()) < 6 * found["trace_error"] + 1e-3 * scale
        assert found["converged"]


def test_sharpness_keeps_the_whole_distribution(finished: Store, run):
    stored = json.loads(finished.result_file(run, "epsilon_sharpness").read_text())
    for split in ("train", "test"):
        even, odd = (np.array(stored[split][part]) for part in ("even", "odd"))
        assert len(even) == 6
        assert stored[split]["maximum"] == pytest.approx(max(even + abs(odd)), rel=1e-12)
        assert len(stored[split]["accuracy_even"]) == 6
        assert len(stored[split]["mean_even"]) == 4
    assert stored["attributes"]["radius"] == 0.05
    assert stored["coordinates"] == {"radius": [0.0125, 0.025, 0.05, 0.1]}


def test_the_barrier_is_the_maximum_minus_the_larger_end(finished: Store, run):
    summary = json.loads(finished.pairs_file(run, "linear_connectivity", between="seed").read_text())
    (pair, *_) = summary["pairs"]
    folder = finished.configuration_folder(run) / "connectivity" / pair["pair"]
    curve = read_result(folder / "linear_connectivity.nc")
    for split in ("train", "test"):
        loss = curve.loss.sel(split=split).values
        assert pair[f"{split}_barrier"] == pytest.approx(loss.max() - max(loss[0], loss[-1]), abs=1e-12)
        assert loss[-1] == pytest.approx(
            finished.metrics(run.model_copy(update={"seed": 1}))[f"{split}_loss"], rel=1e-6
        )
