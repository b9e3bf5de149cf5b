"""Contrasts at equal training loss, on hand-made paths whose crossings are known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from lossatlas.study.analysis.contrasts import RESOLUTION, Matched, between
from lossatlas.study.analysis.equal_loss import NAME, at_equal_loss, resolved
from lossatlas.study.analysis.statistic import Statistic
from tests.study.samples import networks, sample

SGD = between("optimizer", "adam", "sgd")
LOSS = np.array([1.0, 0.1, 0.01])


def at_the_common_loss(runs: pd.DataFrame, paths: dict, contrast=SGD, outcome="spectrum_top_eigenvalue") -> Statistic:
    return at_equal_loss(Matched.of(contrast, sample(runs), pairs=False), paths, outcome)


def path(loss, curvature) -> dict[str, np.ndarray]:
    return {"loss": resolved(loss), "top_eigenvalue": resolved(curvature), "sharpness": resolved(curvature)}


def two(losses: tuple, curvatures: tuple) -> tuple[pd.DataFrame, dict]:
    """A network trained with SGD and one with Adam, with their losses and curvatures at checkpoints."""
    ends = dict(zip(("sgd", "adam"), (loss[-1] for loss in losses), strict=True))
    runs = networks({"train_loss": lambda r: ends[r.optimizer]}, optimizer=["sgd", "adam"], seed=[0])
    names = runs[list(NAME)].itertuples(index=False, name=None)
    return runs, {name: path(*own) for name, *own in zip(names, losses, curvatures, strict=True)}


def test_the_one_that_was_trained_further_is_taken_where_it_had_the_loss_at_which_the_other_ended():
    """Curvature is loss² for Adam, which ends at 0.01; SGD ends at 0.05 with 0.03: between two checkpoints of Adam."""
    runs, paths = two(([1.0, 0.05], LOSS), ([1.0, 0.03], LOSS**2))
    found = at_the_common_loss(runs, paths)
    assert found.n == 1
    assert found.estimate == pytest.approx(math.log10(0.03 / 0.05**2))
    assert at_the_common_loss(runs, paths, between("optimizer", "sgd", "adam")).estimate == pytest.approx(
        -found.estimate
    )
    assert at_the_common_loss(runs, paths, outcome="epsilon_sharpness_mean").estimate == pytest.approx(found.estimate)


def test_a_loss_that_was_passed_more_than_once_counts_where_it_was_passed_last():
    runs, paths = two(([1.0, 0.1], [1.0, 0.05, 0.5, 0.02]), ([1.0, 1.0], [9.0, 9.0, 4.0, 4.0]))
    assert at_the_common_loss(runs, paths).estimate == pytest.approx(-math.log10(4))


def test_at_a_checkpoint_it_is_the_value_of_that_checkpoint():
    runs, paths = two(([1.0, 0.1], LOSS), ([1.0, 1.0], [3.0, 7.0, 5.0]))
    assert at_the_common_loss(runs, paths).estimate == pytest.approx(-math.log10(7))


def test_networks_without_a_loss_in_common_and_without_a_path_are_left_out():
    runs, paths = two(([1.0, 0.5], [0.1, 0.01]), ([1.0, 1.0], [1.0, 1.0]))  # Adam starts below the end of SGD
    assert at_the_common_loss(runs, paths).n == 0
    runs, paths = two(([1.0, 0.1], LOSS), ([1.0, 1.0], LOSS))
    assert at_the_common_loss(runs, dict(list(paths.items())[:1])).n == 0
    assert at_the_common_loss(runs, {}).n == 0
    assert at_the_common_loss(runs[:0], paths).n == 0
    assert at_the_common_loss(runs.assign(train_loss=math.inf), paths).n == 0


def test_losses_below_the_rounding_are_alike():
    runs, paths = two(([1.0, 1e-9], [1.0, 0.0]), ([1.0, 2.0], [1.0, 1.0]))
    assert at_the_common_loss(runs, paths).estimate == pytest.approx(math.log10(2))
    assert resolved([0.0, -1.0, 1e-30, math.nan])[:3].tolist() == [math.log10(RESOLUTION)] * 3
    assert np.isnan(resolved([math.nan])[0])


def test_every_unit_has_a_loss_of_its_own():
    """The curvature is the loss times that of the optimizer: the contrast is the same at any loss."""
    ends = {"sgd": 0.2, "adam": 0.01}
    runs = networks(
        {"train_loss": lambda r: ends[r.optimizer] * (1 + r.seed + 3 * r.data_seed)},
        optimizer=["sgd", "adam"], architecture=["1x50", "2x100"], data_seed=[0, 1, 2],
    )  # fmt: skip
    paths = {}
    for row in runs.to_dict("records"):
        loss = np.geomspace(10, row["train_loss"], 9)
        paths[tuple(row[name] for name in NAME)] = path(loss, loss * {"sgd": 3.0, "adam": 1.0}[row["optimizer"]])
    found = at_the_common_loss(runs, paths)
    assert found.n == 18
    assert found.values == pytest.approx(np.full(18, math.log10(3)), abs=1e-6)
    assert found.summary().over == "draws"
    without = at_the_common_loss(runs, {name: paths[name] for name in list(paths)[1:]})
    assert without.n == 17
