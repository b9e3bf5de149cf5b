"""Synthetic classification tasks with two classes, normalised with the training statistics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import make_circles, make_moons
from torch import Tensor

from lossatlas.random_streams import key
from lossatlas.study.config import Data
from lossatlas.study.config import Dataset as Name


@dataclass(frozen=True)
class Task:
    """Inputs `(n, d)` float32 and targets `(n,)` int64 of one data set."""

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]

    @property
    def dimension(self) -> int:
        return self.train[0].shape[1]


def make_task(name: Name, data: Data, data_seed: int) -> Task:
    """One draw of the data set of that name; the same settings and seed give the same examples."""
    total = data.train + data.test
    seed = key(data_seed, name, "data") % 2**32
    rng = np.random.default_rng(seed)
    if name == "moons":
        inputs, targets = make_moons(total, noise=data.noise, random_state=seed)
    elif name == "circles":
        inputs, targets = make_circles(total, noise=data.noise, factor=0.3, random_state=seed)
    elif name == "gaussians":
        inputs, targets = _gaussians(total, data, rng)
    elif name == "xor":
        inputs, targets = _xor(total, data.noise, rng)
    else:
        raise ValueError(f"there is no data set {name!r}: make_task has no branch for it")
    order = rng.permutation(total)
    inputs, targets = inputs[order], targets[order]

    mean, std = inputs[: data.train].mean(axis=0), inputs[: data.train].std(axis=0)
    x = torch.as_tensor((inputs - mean) / std, dtype=torch.float32)
    y = torch.as_tensor(targets, dtype=torch.int64)
    return Task(train=(x[: data.train], y[: data.train]), test=(x[data.train :], y[data.train :]))


def draws(name: Name, data: Data) -> dict[int, Task]:
    """Every draw of a data set that a study has, by its data seed."""
    return {data_seed: make_task(name, data, data_seed) for data_seed in data.seeds}


def _gaussians(total: int, data: Data, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Clusters of equal size at distance 1 from the origin, labelled alternately 0 and 1.

    In the plane the centres stand on a circle; in more dimensions along orthonormal axes drawn at random, as many
    as there are dimensions for (a 4th cluster in 3 dimensions stands opposite the first).
    """
    if data.dimension == 2:
        angles = 2 * np.pi * np.arange(data.clusters) / data.clusters
        centers = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    else:
        axes = np.linalg.qr(rng.standard_normal((data.dimension, data.dimension)))[0]
        centers = np.concatenate([axes, -axes])[: data.clusters]
    cluster = np.arange(total) % data.clusters
    inputs = centers[cluster] + data.spread * rng.standard_normal((total, data.dimension))
    return inputs, cluster % 2


def _xor(total: int, noise: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points even in four squares that keep 0.2 from the axes, labelled by the sign of x·y, then shaken."""
    signs = rng.choice([-1.0, 1.0], (total, 2))
    points = signs * rng.uniform(0.2, 1, (total, 2)) + noise * rng.standard_normal((total, 2))
    return points, (signs[:, 0] * signs[:, 1] < 0).astype(np.int64)
