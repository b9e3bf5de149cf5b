"""Means over ragged batches, and what must stay as it is: the user's module, random streams, results on disk."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from lossatlas.check.case import Case, Measured, deviation, seed
from lossatlas.loss.loss import Loss
from lossatlas.probes.curvature.spectrum import spectrum
from lossatlas.probes.sharpness.epsilon_sharpness import epsilon_sharpness
from lossatlas.probes.slices.random_plane import random_plane
from lossatlas.results import storage as results


def ragged(case: Case) -> Measured:
    """Values and gradients in batches of 7 of 100 examples; a criterion that sums gives 100 times the mean."""
    theta = case.on_device(case.theta)
    value, gradient = case.by_hand(case.theta), case.gradient_by_hand(case.theta)
    deviations = []
    for reduction, times in (("mean", 1), ("sum", 100)):
        loss = case.loss(criterion=nn.CrossEntropyLoss(reduction=reduction), batch_size=7)
        deviations += [deviation(loss(theta), times * value), deviation(loss.gradient(theta), times * gradient)]
    return Measured(max(deviations), case.rounding)


def untouched(case: Case) -> Measured:
    """How many things of the user's differ after probing a module with everything that can be spoiled."""
    inputs, targets = map(case.on_device, case.data)
    module = nn.Sequential(nn.Linear(2, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Dropout(0.4), nn.Linear(5, 3))
    module = module.to(case.device, case.dtype).train()
    module[2].eval()
    nn.functional.cross_entropy(module(inputs), targets).backward()
    before = _everything(module)
    loss = Loss.of(module, (inputs, targets), nn.CrossEntropyLoss(), buffers="stored")
    random_plane(loss, 1.1 * loss.theta, generator=seed(3), steps=3)
    spectrum(loss, 1.1 * loss.theta, generator=seed(3), k=1, samples=2, dtype=case.dtype)
    loss.gradient(1.1 * loss.theta)
    after = _everything(module)
    return Measured(sum(before.get(name) != after.get(name) for name in before | after), 0)


def _everything(module: nn.Module) -> dict[str, Any]:
    """A module's values, modes and gradients, and the random streams, as bytes and plain values."""
    held: dict[str, Any] = {"torch": torch.get_rng_state().tolist(), "python": random.getstate()}
    held["numpy"] = np.random.get_state(legacy=False)["state"]["key"].tolist()  # noqa: NPY002
    if torch.cuda.is_initialized():
        held["cuda"] = torch.cuda.get_rng_state().tolist()
    for name, tensor in module.state_dict(keep_vars=True).items():
        gradient = tensor.grad
        held[name] = tensor.detach().cpu().numpy().tobytes(), tensor.data_ptr(), tensor.requires_grad
        held[f"gradient of {name}"] = None if gradient is None else gradient.cpu().numpy().tobytes()
    return held | {f"mode of {name}": part.training for name, part in module.named_modules()}


def repeated(case: Case) -> Measured:
    """How many probes give another result for the same generator, or the same for another."""
    loss, theta = case.loss(), case.on_device(case.theta)
    probes: list[Callable[[torch.Generator], xr.Dataset]] = [
        lambda generator: random_plane(loss, theta, generator=generator, steps=3),
        lambda generator: epsilon_sharpness(loss, theta, generator=generator, samples=5),
        lambda generator: spectrum(loss, theta, generator=generator, k=2, samples=5, dtype=case.dtype),
    ]
    wrong = 0
    for probe in probes:
        first, again, other = (probe(seed(number)) for number in (3, 3, 4))
        wrong += not first.identical(again) or first.identical(other)
    return Measured(wrong, 0)


def round_trip(case: Case) -> Measured:
    """How many variables of a result, one with a gap, come back from disk with other bytes, type or attributes."""
    loss = case.loss()
    result = random_plane({"train": loss, "test": loss}, case.on_device(case.theta), generator=seed(3), steps=3)
    result.loss[0, 1, 2] = np.nan
    with tempfile.TemporaryDirectory() as folder:
        results.save(result, Path(folder) / "result.nc")
        back = results.load(Path(folder) / "result.nc")
    unchanged = [
        name in back and back[name].identical(result[name]) and _bytes(back[name]) == _bytes(result[name])
        for name in result.variables
    ]
    return Measured(unchanged.count(False) + (back.attrs != result.attrs), 0)


def _bytes(variable: xr.DataArray) -> Any:
    return variable.values.tolist() if variable.dtype.kind in "OU" else (variable.dtype, variable.values.tobytes())
