import numpy as np
import pytest
import torch
from scipy.special import ndtr
from sklearn.neighbors import KNeighborsClassifier

from lossatlas.study.config import Data
from lossatlas.study.datasets import draws, make_task

NAMES = ("moons", "circles", "gaussians", "xor")


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_normalised_with_the_training_statistics(name):
    task = make_task(name, Data(train=300, test=200), 0)
    x, y = task.train
    assert x.shape == (300, 2)
    assert task.test[0].shape == (200, 2)
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    torch.testing.assert_close(x.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(0, correction=0), torch.ones(2), atol=1e-5, rtol=0)
    assert not torch.allclose(task.test[0].mean(0), torch.zeros(2), atol=1e-5)  # the test set keeps its own mean
    assert set(y.tolist()) == {0, 1}


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_examples_and_another_seed_others(name):
    same, again, other = (make_task(name, Data(), seed) for seed in (3, 3, 4))
    assert torch.equal(same.train[0], again.train[0])
    assert torch.equal(same.test[1], again.test[1])
    assert not torch.equal(same.train[0], other.train[0])


def test_the_draws_of_a_study_are_those_of_its_seeds_one_by_one():
    data = Data(seeds=(4, 0), train=20, test=10)
    found = draws("moons", data)
    assert list(found) == [4, 0]
    assert all(torch.equal(task.test[0], make_task("moons", data, seed).test[0]) for seed, task in found.items())
    assert not torch.equal(found[4].train[0], found[0].train[0])


@pytest.mark.parametrize("name", NAMES)
def test_the_task_can_be_learned_and_a_line_does_as_well_as_it_should(name):
    task = make_task(name, Data(), 0)
    neighbors = KNeighborsClassifier(15).fit(task.train[0].numpy(), task.train[1].numpy())
    assert neighbors.score(task.test[0].numpy(), task.test[1].numpy()) > 0.97
    x = np.c_[task.train[0].numpy(), np.ones(1024)]
    weights = np.linalg.lstsq(x, 2.0 * task.train[1].numpy() - 1, rcond=None)[0]
    linear = np.mean((x @ weights > 0) == task.train[1].numpy())
    # On xor a line that has three of the four quadrants right has 3/4 of the examples.
    bounds = {"moons": (0.8, 0.93), "circles": (0.3, 0.7), "gaussians": (0.9, 1.01), "xor": (0.4, 0.75)}[name]
    assert bounds[0] < linear < bounds[1]


@pytest.mark.parametrize("clusters", [2, 3, 4])
@pytest.mark.parametrize("dimension", [2, 3, 7, 256])
def test_gaussian_clusters_stand_apart_in_any_dimension(clusters, dimension):
    task = make_task("gaussians", Data(clusters=clusters, dimension=dimension, spread=0.02, train=400, test=100), 0)
    assert task.dimension == dimension
    share = task.train[1].double().mean().item()  # the clusters are of equal size and labelled 0, 1, 0, 1
    assert share == pytest.approx(clusters // 2 / clusters, abs=0.05)
    neighbor = KNeighborsClassifier(1).fit(task.train[0].numpy(), task.train[1].numpy())
    assert neighbor.score(task.test[0].numpy(), task.test[1].numpy()) == 1


def test_two_gaussians_overlap_as_their_spread_says():
    spread = 0.5
    task = make_task("gaussians", Data(clusters=2, spread=spread, train=20_000, test=2), 0)
    # Centres at distance 1 on both sides: the best line errs with probability Φ(−1 / spread).
    side = task.train[0] @ _axis(task)
    error = ((side > 0).long() != task.train[1]).double().mean().item()
    expected = ndtr(-1 / spread)
    assert abs(error - expected) < 4 * (expected / 20_000) ** 0.5


def _axis(task):
    x, y = task.train
    return x[y == 1].mean(0) - x[y == 0].mean(0)


def test_noise_moves_the_points():
    calm, shaken = (make_task("moons", Data(noise=noise), 0) for noise in (0.0, 0.3))
    assert _gap(calm) > 3 * _gap(shaken)


def _gap(task):
    return torch.cdist(*(task.train[0][task.train[1] == label] for label in (0, 1))).min()
