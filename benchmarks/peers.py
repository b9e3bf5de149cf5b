# pyright: reportCallIssue=false, reportArgumentType=false
"""The other tools, each as its own documentation has it used. They are installed for the benchmark only."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import itertools
import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from benchmarks.networks import CRITERION, Problem

DISTRIBUTIONS = ("loss-landscapes", "landscaper", "pyhessian", "hessian-eigenthings", "curvlinops-for-pytorch")


class Pairs(NamedTuple):
    """Eigenvalues, descending, and their vectors in the same order."""

    values: Tensor  # (k,)
    vectors: Tensor  # (k, P)


class Nodes(NamedTuple):
    """Quadrature of a spectrum, each draw of total weight 1."""

    values: Tensor  # (draws, m)
    weights: Tensor  # (draws, m)


def versions() -> dict[str, str]:
    """Of the peers that are here."""
    there = {}
    for name in DISTRIBUTIONS:
        with contextlib.suppress(PackageNotFoundError):
            there[name] = version(name)
    return there


def installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def module(name: str) -> ModuleType:
    """A peer's module; what it says on the way in is its own affair."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the peers' progress bars and warnings."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


# Surfaces ------------------------------------------------------------------------------------------------------


def loss_landscapes_plane(problem: Problem, steps: int, seed: int) -> np.ndarray:
    """`loss_landscapes.random_plane`, with its documented metric and filter normalisation."""
    metric = module("loss_landscapes.metrics").Loss(CRITERION, *problem.data)
    torch.manual_seed(seed)
    return module("loss_landscapes").random_plane(
        problem.model, metric, distance=1, steps=steps, normalization="filter", deepcopy_model=True
    )


def loss_landscapes_claim(problem: Problem, steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """The directions that `random_plane` draws with a seed `(2, P)`, and the coordinates along each that it documents.

    "start_point + dir_one * i + dir_two * j", the start point being half of all steps before the model.
    """
    parameters = module("loss_landscapes.model_interface.model_parameters")
    start = parameters.ModelParameters([parameter.detach().clone() for parameter in problem.model.parameters()])
    torch.manual_seed(seed)
    first = parameters.rand_u_like(start)
    second = parameters.orthogonal_to(first)
    flat = []
    for direction in (first, second):
        direction.filter_normalize_(start)
        direction.mul_(start.model_norm() / steps / direction.model_norm())
        flat.append(parameters_to_vector(direction.parameters))
    return torch.stack(flat), torch.arange(steps) - steps / 2


def loss_landscapes_seconds(problem: Problem, steps: int, part: int) -> float:
    """Seconds of a whole surface, from one of about `part` points: what is done once, and so much for every point."""
    side = math.isqrt(part)
    seconds = []
    for count in (1, side):
        start = time.perf_counter()
        loss_landscapes_plane(problem, count, 0)
        seconds.append(time.perf_counter() - start)
    return seconds[0] + (seconds[1] - seconds[0]) * (steps**2 - 1) / (side**2 - 1)


def landscaper_plane(problem: Problem, directions: Tensor, steps: int, every: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """`landscaper.LossLandscape.compute` along directions `(2, P)`: values, and the coordinates that it states.

    It scales every tensor of a direction on its own, and the whole to the norm of the model. With `every` above 1 it is
    stopped from visiting the other points of its grid.
    """
    module("landscaper")
    compute = module("landscaper.compute")
    model, data = problem.copy()
    given = [_like(model, direction) for direction in directions]

    def some(values: range, repeat: int) -> list[tuple[int, ...]]:
        return list(itertools.product(values, repeat=repeat))[::every]

    with quiet(), patch.object(compute, "product", some):
        values, axes = compute.compute_loss_landscape(
            model, data, given, lambda net, batch: CRITERION(net(batch[0]), batch[1]).item(), steps=steps, distance=1.0,
            dim=2, device="cpu",
        )  # fmt: skip
    return values, axes[0]


def landscaper_directions(problem: Problem, directions: Tensor) -> Tensor:
    """What landscaper makes of directions `(2, P)`: coordinate 1 is as far from the model as the origin is."""
    scaled = []
    for direction in directions:
        parts = module("landscaper.compute").normalize_direction(
            _like(problem.model, direction), list(problem.model.parameters())
        )
        flat = parameters_to_vector(parts)
        scaled.append(flat * parameters_to_vector(problem.model.parameters()).detach().norm() / flat.norm())
    return torch.stack(scaled)


def _like(model: torch.nn.Module, direction: Tensor) -> list[Tensor]:
    sizes = [parameter.numel() for parameter in model.parameters()]
    return [
        part.reshape(parameter.shape).clone()
        for part, parameter in zip(direction.split(sizes), model.parameters(), strict=True)
    ]


# Spectra -------------------------------------------------------------------------------------------------------


class Arpack:
    """curvlinops' Hessian in scipy's eigsh, as curvlinops' documentation has it."""

    def __init__(self, problem: Problem, dtype: torch.dtype = torch.float32) -> None:
        model, data = problem.copy(dtype)
        self.products = 0
        # Whether products are reproducible is not tested again at every construction: that costs further ones.
        self.operator = module("curvlinops").HessianLinearOperator(
            model, CRITERION_MODULE, list(model.parameters()), [data], check_deterministic=False
        )

    def __call__(self, k: int, tol: float) -> Pairs:
        inner = self.operator.to_scipy()

        def counted(vector: np.ndarray) -> np.ndarray:
            self.products += 1
            return inner @ vector

        start = np.random.default_rng(0).standard_normal(inner.shape[0]).astype(inner.dtype)
        values, vectors = eigsh(
            LinearOperator(inner.shape, matvec=counted, dtype=inner.dtype), k, which="LA", tol=tol, v0=start
        )
        return Pairs(torch.from_numpy(values[::-1].copy()), torch.from_numpy(vectors.T[::-1].copy()))

    def times(self, vectors: Tensor) -> Tensor:
        """Rows times the Hessian."""
        return torch.stack([self.operator @ vector for vector in vectors])


CRITERION_MODULE = torch.nn.CrossEntropyLoss()  # curvlinops wants a module, for its reduction


class Eigenthings:
    """hessian-eigenthings' operator and its Lanczos, which takes as many steps as it is told to."""

    def __init__(self, problem: Problem) -> None:
        package = module("hessian_eigenthings")
        model, data = problem.copy()
        self.package, self.products = package, 0
        self.operator = package.HessianOperator(model, [data], package.supervised_loss(CRITERION))
        matvec = self.operator.matvec

        def counted(vector: Tensor) -> Tensor:
            self.products += 1
            return matvec(vector)

        self.operator.matvec = counted

    def eigenpairs(self, k: int, steps: int) -> Pairs:
        found = self.package.lanczos(self.operator, k=k, max_iter=min(steps, self.operator.size), which="LA", seed=0)
        return Pairs(found.eigenvalues, found.eigenvectors)

    def density(self, draws: int, steps: int, seed: int) -> Nodes:
        found = self.package.spectral_density(
            self.operator, num_runs=draws, lanczos_steps=steps, num_grid_points=2, seed=1000 * seed
        )
        return Nodes(found.raw_eigenvalues.nan_to_num().double(), found.raw_weights.double())


class PyHessian:
    """PyHessian on one batch of all data, for which it keeps the graph of the gradient."""

    def __init__(self, problem: Problem) -> None:
        model, data = problem.copy()
        with quiet():
            self.engine = module("pyhessian").hessian(model, CRITERION, data=data, cuda=False)
        self.products = 0

    def eigenpairs(self, k: int, iterations: int, tol: float) -> Pairs:
        torch.manual_seed(0)
        with self._counting():
            values, vectors = self.engine.eigenvalues(maxIter=iterations, tol=tol, top_n=k)
        order = np.argsort(values)[::-1].copy()
        rows = torch.stack([torch.cat([part.flatten() for part in vector]) for vector in vectors])
        return Pairs(torch.tensor(values)[order], rows[order])

    def density(self, draws: int, steps: int, seed: int) -> Nodes:
        torch.manual_seed(seed)
        with self._counting(), patch.object(torch, "eig", _eig, create=True):
            values, weights = self.engine.density(iter=steps, n_v=draws)
        return Nodes(torch.tensor(np.array(values)).double(), torch.tensor(np.array(weights)).double())

    @contextmanager
    def _counting(self) -> Iterator[None]:
        inside = module("pyhessian.hessian")
        product = inside.hessian_vector_product

        def counted(*arguments: Any) -> Any:
            self.products += 1
            return product(*arguments)

        with patch.object(inside, "hessian_vector_product", counted):
            yield


def _eig(matrix: Tensor, eigenvectors: bool) -> tuple[Tensor, Tensor]:
    """What PyHessian 0.1 asks for and torch no longer has, for the symmetric matrix that it is."""
    values, vectors = torch.linalg.eigh(matrix)
    return torch.stack([values, torch.zeros_like(values)], -1), vectors
