"""Hand-made studies in which a finding is supported, and in which it is contradicted."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd

from lossatlas.study.analysis.contrast_table import OUTCOMES
from lossatlas.study.analysis.contrasts import BARRIERS
from lossatlas.study.analysis.equal_loss import ALONG, NAME
from lossatlas.study.analysis.evidence import DATA_SETS, Evidence
from lossatlas.study.analysis.runs import CONFIGURATION, MEASURES
from tests.study.samples import networks, noise, paths, sample

ALL = {
    "dataset": list(DATA_SETS), "activation": ["relu", "tanh", "gelu"], "optimizer": ["sgd", "adam"],
    "architecture": ["1x50", "1x100", "1x500", "2x100", "4x50", "4x100", "4x250", "4x500", "conv2x8", "res3x32"],
}  # fmt: skip


@cache
def names(everything: bool, decays: bool) -> pd.DataFrame:
    draws = {"data_seed": [0, 1, 2], "seed": [0]}
    if decays:
        levels = {"optimizer": ["sgd", "adam"], "activation": ["relu", "tanh"], "weight_decay": [0.0, 1e-3]}
        return networks({}, **levels, **draws)
    return networks({}, **{**ALL, "dataset": ALL["dataset"] if everything else ["moons"]}, **draws)


@cache
def name_pairs(everything: bool) -> pd.DataFrame:
    levels = {**ALL, "dataset": ALL["dataset"] if everything else ["moons"], "data_seed": [0, 1, 2], "seed": [0, 1]}
    return paths({}, aligned=(False, True), **levels)


def world(formulas: dict, barrier=None, *, decays=None, everything=False) -> Evidence:
    """A study that has everything, in which outcomes are 1, and barriers too, but for what the formulas say.

    Along training curvature and sharpness are what they are at the end.
    """
    runs = filled(names(everything, False), formulas)
    barriers = {} if barrier is None else dict.fromkeys(BARRIERS.values(), barrier)
    pairs = filled(name_pairs(everything), barriers)
    decayed = filled(names(False, True), decays or {})
    measures = runs.assign(diverged=False, generalization_gap=runs.test_loss - runs.train_loss)
    return Evidence(sample(runs, pairs), sample(decayed), measures, along_training(runs))


def along_training(runs: pd.DataFrame) -> dict:
    return {
        tuple(row[name] for name in NAME): {
            "loss": np.log10([10.0, row["train_loss"]]),
            **{variable: np.log10([row[outcome]] * 2) for outcome, variable in ALONG.items()},
        }
        for row in runs.to_dict("records")
    }


def filled(frame: pd.DataFrame, formulas: dict) -> pd.DataFrame:
    jitter = 1 + 1e-6 * np.random.default_rng(0).normal(size=len(frame))
    plain = dict.fromkeys((*OUTCOMES, *MEASURES, *BARRIERS.values()), 1.0)
    values = {name: [float(formula(row)) for _, row in frame.iterrows()] for name, formula in formulas.items()}
    table = frame.assign(**{**plain, **values})
    numbers = [name for name in plain if name != "interpolate_monotone"]
    table[numbers] = table[numbers].mul(jitter, axis=0)
    return table


def side(level_of, high: float = 10.0, low: float = 1.0):
    return lambda r: high if level_of(r) else low


def of(**levels):
    """Whether a network has these levels."""
    return lambda r: all(r[name] is not pd.NA and r[name] in np.atleast_1d(level) for name, level in levels.items())


easy, xor = of(dataset=["circles", "gaussians"]), of(dataset="xor")
deep, moderate = of(family="deep"), of(architecture=["2x100", "4x100"])
tanh, adam, sgd = of(activation="tanh"), of(optimizer="adam"), of(optimizer="sgd")


def decayed(r):
    return r.weight_decay > 0


def both(outcome, chosen, *, step=1.0, base=1.0, everything=False):
    """Worlds in which an outcome is higher at the chosen level, and in which it is lower."""
    formulas = (side(chosen, base + step, base), side(chosen, base, base + step))
    if outcome == "linear_connectivity_barrier":
        return tuple(world({}, formula, everything=everything) for formula in formulas)
    return tuple(world({outcome: formula}, everything=everything) for formula in formulas)


def by_decay(outcome):
    return tuple(world({}, decays={outcome: side(decayed, *ends)}) for ends in ((2.0, 1.0), (1.0, 2.0)))


def constant(outcome, *values, everything=False):
    if outcome == "linear_connectivity_barrier":
        return tuple(world({}, lambda r, v=v: v) for v in values)
    return tuple(world({outcome: lambda r, v=v: v}, everything=everything) for v in values)


def scattered(where):
    return lambda r: 1.0 + (0.1 * of_configuration(r) if where(r) else 0.0)


def of_configuration(r, number: int = 0) -> float:
    """A normal number that is the same for all draws and seeds; another one for every `number`."""
    return noise(pd.concat([r[CONFIGURATION], pd.Series({"seed": number})]))


def xor_sensitivity():
    formulas = scattered(xor), scattered(lambda r: not xor(r))
    return tuple(world({"test_accuracy": formula}, everything=True) for formula in formulas)


def matched_neurons():
    return world({}, lambda r: 0.1 if r.aligned else 1.0), world({}, lambda r: 0.9 if r.aligned else 1.0)


def correlated(outcome):
    """Sharper networks are worse, or better, the same for every optimizer."""

    def sharp(r):
        return float(np.exp(of_configuration(r)))

    return (
        world({"epsilon_sharpness_mean": sharp, outcome: sharp}),
        world({"epsilon_sharpness_mean": sharp, outcome: lambda r: 1 / sharp(r)}),
    )


def flip(worlds):
    return worlds[::-1]


WORLDS = {
    "all_data_sets_are_learnt": lambda: constant("test_accuracy", 0.99, 0.7, everything=True),
    "most_networks_are_accurate": lambda: constant("test_accuracy", 0.99, 0.7),
    "most_networks_fit_the_training_data": lambda: constant("train_loss", 0.01, 0.5),
    "circles_and_gaussians_are_easiest": lambda: flip(both("test_loss", easy, everything=True)),
    "xor_is_most_sensitive": xor_sensitivity,
    "xor_has_higher_barriers": lambda: both("linear_connectivity_barrier", xor, everything=True),
    "deeper_is_more_accurate_at_equal_width": lambda: both("test_accuracy", deep),
    "four_layers_are_more_accurate_than_two": lambda: both("test_accuracy", of(depth=4)),
    "deeper_architectures_are_more_accurate": lambda: both("test_accuracy", deep),
    "deeper_has_lower_barriers_at_equal_width": lambda: flip(both("linear_connectivity_barrier", deep)),
    "deeper_architectures_have_lower_barriers": lambda: flip(both("linear_connectivity_barrier", deep)),
    **{
        f"width_100_is_more_accurate_than_{width}": lambda: both("test_accuracy", of(width=100))
        for width in (50, 250, 500)
    },
    "moderate_architectures_are_most_accurate": lambda: both("test_accuracy", moderate),
    "moderate_architectures_have_lower_barriers": lambda: flip(both("linear_connectivity_barrier", moderate)),
    "tanh_is_less_accurate": lambda: flip(both("test_accuracy", tanh)),
    "tanh_consistently_has_a_higher_loss": lambda: both("test_loss", tanh),
    "tanh_is_sharper": lambda: both("epsilon_sharpness_mean", tanh),
    "tanh_has_larger_eigenvalues": lambda: both("spectrum_top_eigenvalue", tanh),
    "tanh_is_sharper_at_equal_loss": lambda: both("epsilon_sharpness_mean", tanh),
    "tanh_has_larger_eigenvalues_at_equal_loss": lambda: both("spectrum_top_eigenvalue", tanh),
    "tanh_has_higher_barriers": lambda: both("linear_connectivity_barrier", tanh),
    "tanh_paths_are_rougher": lambda: both("interpolate_rise", tanh),
    "deep_tanh_has_larger_eigenvalues": lambda: both("spectrum_top_eigenvalue", tanh),
    "deep_tanh_sgd_is_sharper": lambda: both("epsilon_sharpness_mean", of(activation="tanh", optimizer="sgd")),
    "deep_tanh_has_larger_eigenvalues_with_the_same_optimizer": lambda: both("spectrum_top_eigenvalue", tanh),
    "deep_tanh_is_sharper_with_the_same_optimizer": lambda: both("epsilon_sharpness_mean", tanh),
    "sharpness_differences_are_not_extreme": lambda: (
        both("epsilon_sharpness_mean", tanh)[0],
        both("epsilon_sharpness_mean", tanh, step=50)[1],
    ),
    "adam_fits_closer": lambda: flip(both("train_loss", adam)),
    "adam_generalizes_better": lambda: flip(both("test_loss", adam)),
    "adam_is_more_accurate": lambda: both("test_accuracy", adam),
    "adam_helps_tanh_most": lambda: both("test_accuracy", of(activation="tanh", optimizer="adam")),
    "sgd_is_sharper": lambda: both("epsilon_sharpness_mean", sgd),
    "sgd_has_larger_eigenvalues": lambda: both("spectrum_top_eigenvalue", sgd),
    "sgd_is_sharper_at_equal_loss": lambda: both("epsilon_sharpness_mean", sgd),
    "sgd_has_larger_eigenvalues_at_equal_loss": lambda: both("spectrum_top_eigenvalue", sgd),
    "weight_decay_leaves_accuracy": lambda: (world({}), by_decay("test_accuracy")[0]),
    "weight_decay_lowers_sharpness": lambda: flip(by_decay("epsilon_sharpness_mean")),
    "weight_decay_widens_slices": lambda: by_decay("random_line_width"),
    "weight_decay_smooths_paths": lambda: flip(by_decay("interpolate_rise")),
    "weight_decay_raises_the_path_minimum": lambda: by_decay("interpolate_by_weight_decay_minimum"),
    "well_trained_networks_have_low_barriers": lambda: constant("linear_connectivity_barrier", 0.01, 0.5),
    "shallow_well_trained_networks_have_low_barriers": lambda: constant("linear_connectivity_barrier", 0.01, 0.5),
    "deep_tanh_adam_has_higher_barriers": lambda: both("linear_connectivity_barrier", tanh),
    "matching_neurons_lowers_barriers": matched_neurons,
    "paths_from_the_start_are_monotone": lambda: constant("interpolate_monotone", 1.0, 0.0),
    "few_directions_carry_the_curvature": lambda: constant("spectrum_trace", 3.0, 100.0),
    "sharper_solutions_have_a_higher_test_loss": lambda: correlated("test_loss"),
    "sharper_solutions_have_a_higher_test_loss_with_the_same_optimizer": lambda: correlated("test_loss"),
    "sharper_solutions_generalize_worse": lambda: correlated("test_loss"),
    "sharper_solutions_generalize_worse_with_the_same_optimizer": lambda: correlated("test_loss"),
    "sharper_solutions_have_a_higher_test_loss_with_training_loss_held": lambda: correlated("test_loss"),
    "sharper_solutions_generalize_worse_with_training_loss_held": lambda: correlated("test_loss"),
    "conv_interpolates_like_deep_mlps": lambda: (
        world({}),
        both("interpolate_rise", of(family="conv"))[0],
    ),
    "conv_slices_like_deep_mlps": lambda: (world({}), both("random_line_width", of(family="conv"))[1]),
    "residual_interpolates_like_deep_mlps": lambda: (
        world({}),
        both("interpolate_rise", of(family="res"))[0],
    ),
    "residual_slices_like_deep_mlps": lambda: (world({}), both("random_line_width", of(family="res"))[1]),
}
