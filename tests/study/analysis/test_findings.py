from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from importlib import util
from typing import Literal

import numpy as np
import pandas as pd
import pytest

from lossatlas.study import config
from lossatlas.study.analysis import evidence
from lossatlas.study.analysis.contrasts import BARRIERS, OUTCOMES, Estimate
from lossatlas.study.analysis.correlations import correlation_table
from lossatlas.study.analysis.evidence import DATA_SETS, Evidence
from lossatlas.study.analysis.findings import AXES, COLUMNS, FINDINGS, finding_table, sentence
from lossatlas.study.analysis.rules import Above, Below, Within
from lossatlas.study.analysis.runs import MEASURES
from tests.study.samples import networks, noise, paths, sample

BY_NAME = {finding.name: finding for finding in FINDINGS}
ALL = {
    "dataset": list(DATA_SETS), "activation": ["relu", "tanh", "gelu"], "optimizer": ["sgd", "adam"],
    "architecture": ["1x50", "1x100", "1x500", "2x100", "4x50", "4x100", "4x250", "4x500", "conv2x8", "res3x32"],
}  # fmt: skip


# Rules ---------------------------------------------------------------------------------------------------------


def number(low: float, high: float, n: int = 10) -> Estimate:
    return Estimate(n, (low + high) / 2, low, high, "seeds")


@pytest.mark.parametrize("interval", [(-0.5, -0.2), (-0.001, 0.5), (0.001, 0.002), (0.0, 0.0)])
def test_a_statement_and_its_opposite_are_decided_by_the_same_numbers(interval):
    opposite = {"supported": "contradicted", "contradicted": "supported", "undecided": "undecided"}
    assert Above().decide(number(*interval)) == opposite[Below().decide(number(*interval))]


@pytest.mark.parametrize(
    ("rule", "low", "high", "verdict"),
    [
        (Above(1), 1.1, 2.0, "supported"),
        (Above(1), 0.9, 2.0, "undecided"),
        (Above(1), 0.2, 0.9, "contradicted"),
        (Above(1), 1.0, 2.0, "undecided"),
        (Above(1), 0.0, 1.0, "undecided"),
        (Above(), 1e-17, 2e-17, "undecided"),  # rounding is no evidence
        (Below(1), 0.0, 0.9, "supported"),
        (Below(1), 0.0, 1.1, "undecided"),
        (Below(1), 1.1, 1.7, "contradicted"),
        (Within(1), -0.9, 0.9, "supported"),
        (Within(1), 0.1, 0.2, "supported"),
        (Within(1), 0.9, 1.1, "undecided"),
        (Within(1), -3.0, 3.0, "undecided"),
        (Within(1), 1.1, 1.2, "contradicted"),
        (Within(1), -1.2, -1.1, "contradicted"),
    ],
)
def test_rules(rule, low, high, verdict):
    assert rule.decide(number(low, high)) == verdict
    assert rule.decide(number(low, high, n=5)) == "undecided"
    assert rule.decide(number(math.nan, math.nan)) == "undecided"
    assert rule.decide(replace(number(low, high), cells=3)) == verdict
    assert rule.decide(replace(number(low, high), cells=2)) == "undecided"
    assert rule.decide(replace(number(low, high), cells=9, single=7)) == "undecided"
    assert "undecided" in rule.words()


def test_rules_say_their_limits():
    assert "is above 0.95, contradicted if it is below 0.95;" in Above(0.95).words()
    assert "is below 0, contradicted if it is above 0;" in Below(0).words()
    assert "lies between -0.005 and 0.005, contradicted if it lies on one side of" in Within(0.005).words()


# Every finding, each way ---------------------------------------------------------------------------------------


@cache
def names(everything: bool, decays: bool) -> pd.DataFrame:
    levels = {**ALL, "dataset": ALL["dataset"] if everything else ["moons"]}
    if decays:
        return networks({}, weight_decay=[0.0, 1e-3], optimizer=["sgd", "adam"], activation=["relu", "tanh"])
    return networks({}, **levels)


@cache
def name_pairs(everything: bool) -> pd.DataFrame:
    return paths({}, aligned=(False, True), **{**ALL, "dataset": ALL["dataset"] if everything else ["moons"]})


def world(formulas: dict, barrier=None, *, decays=None, everything=False, correlate=False) -> Evidence:
    """A study that has everything, in which outcomes are 1, and barriers too, but for what the formulas say."""
    runs = filled(names(everything, False), formulas)
    barriers = {} if barrier is None else dict.fromkeys(BARRIERS.values(), barrier)
    pairs = filled(name_pairs(everything), barriers)
    decayed = filled(names(False, True), decays or {})
    measures = runs.assign(diverged=False, generalization_gap=runs.test_loss - runs.train_loss)
    return Evidence(sample(runs, pairs), sample(decayed), correlation_table(measures if correlate else measures[:0]))


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
    return lambda r: 1.0 + (0.1 * noise(r.drop("seed")) if where(r) else 0.0)


def xor_sensitivity():
    formulas = scattered(xor), scattered(lambda r: not xor(r))
    return tuple(world({"test_accuracy": formula}, everything=True) for formula in formulas)


def matched_neurons():
    return world({}, lambda r: 0.1 if r.aligned else 1.0), world({}, lambda r: 0.9 if r.aligned else 1.0)


def correlated(outcome):
    """Sharper networks are worse, or better, the same for every optimizer."""

    def sharp(r):
        return float(np.exp(noise(r)))

    return (
        world({"epsilon_sharpness_maximum": sharp, outcome: sharp}, correlate=True),
        world({"epsilon_sharpness_maximum": sharp, outcome: lambda r: 1 / sharp(r)}, correlate=True),
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
    "tanh_is_sharper": lambda: both("epsilon_sharpness_maximum", tanh),
    "tanh_has_larger_eigenvalues": lambda: both("spectrum_top_eigenvalue", tanh),
    "tanh_has_higher_barriers": lambda: both("linear_connectivity_barrier", tanh),
    "tanh_paths_are_rougher": lambda: both("interpolate_rise", tanh),
    "deep_tanh_has_larger_eigenvalues": lambda: both("spectrum_top_eigenvalue", tanh),
    "deep_tanh_sgd_is_sharper": lambda: both("epsilon_sharpness_maximum", of(activation="tanh", optimizer="sgd")),
    "deep_tanh_has_larger_eigenvalues_with_the_same_optimizer": lambda: both("spectrum_top_eigenvalue", tanh),
    "deep_tanh_is_sharper_with_the_same_optimizer": lambda: both("epsilon_sharpness_maximum", tanh),
    "sharpness_differences_are_not_extreme": lambda: (
        both("epsilon_sharpness_maximum", tanh)[0],
        both("epsilon_sharpness_maximum", tanh, step=50)[1],
    ),
    "adam_fits_closer": lambda: flip(both("train_loss", adam)),
    "adam_generalizes_better": lambda: flip(both("test_loss", adam)),
    "adam_is_more_accurate": lambda: both("test_accuracy", adam),
    "adam_helps_tanh_most": lambda: both("test_accuracy", of(activation="tanh", optimizer="adam")),
    "sgd_is_sharper": lambda: both("epsilon_sharpness_maximum", sgd),
    "sgd_has_larger_eigenvalues": lambda: both("spectrum_top_eigenvalue", sgd),
    "weight_decay_leaves_accuracy": lambda: (world({}), by_decay("test_accuracy")[0]),
    "weight_decay_lowers_sharpness": lambda: flip(by_decay("epsilon_sharpness_maximum")),
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


def test_every_finding_has_its_worlds_and_its_axis():
    assert set(WORLDS) == set(BY_NAME)
    assert len(BY_NAME) == len(FINDINGS)
    assert {finding.axis for finding in FINDINGS} == set(AXES)


@pytest.mark.parametrize("name", WORLDS)
def test_every_finding_can_be_supported_and_contradicted(name):
    verdicts = [finding_table(one, (BY_NAME[name],)).verdict.item() for one in WORLDS[name]()]
    assert verdicts == ["supported", "contradicted"]


# A level that is added to the code -----------------------------------------------------------------------------------

OF_ALL_DATA_SETS = ("all_data_sets_are_learnt", "xor_is_most_sensitive", "xor_has_higher_barriers")


def test_a_fifth_name_in_the_type_leaves_the_verdicts_of_a_study(monkeypatch):
    monkeypatch.setattr(config, "Dataset", Literal["moons", "circles", "gaussians", "xor", "spirals"])
    spec = util.find_spec(evidence.__name__)
    assert spec is not None
    assert spec.loader is not None
    fresh = util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    study = world({"test_accuracy": lambda r: 0.9 + (0.01 * noise(r.drop("seed")) if xor(r) else 0.0)}, everything=True)
    for name in ("accuracy_on_the_hardest_data_set", "sensitivity_of_xor"):
        found = getattr(fresh, name)(study)
        assert found.n
        assert vars(found) == vars(getattr(evidence, name)(study))


def test_networks_on_a_fifth_data_set_leave_the_verdicts_on_the_four():
    def learnt(r):
        return 0.99 + (0.001 * noise(r.drop("seed")) if xor(r) else 0.0) if r.dataset in DATA_SETS else 0.5

    def barrier(r):
        return 2.0 if xor(r) else 1.0 if r.dataset in DATA_SETS else 9.0

    levels = {**ALL, "architecture": ["1x50", "2x100", "4x100"]}
    found = []
    for names_of in (list(DATA_SETS), [*DATA_SETS, "spirals"]):
        runs = filled(networks({}, **{**levels, "dataset": names_of}), {"test_accuracy": learnt})
        pairs = filled(paths({}, **{**levels, "dataset": names_of}), dict.fromkeys(BARRIERS.values(), barrier))
        study = Evidence(sample(runs, pairs), sample(), correlation_table(runs.assign(diverged=False)[:0]))
        found.append(finding_table(study, [BY_NAME[name] for name in OF_ALL_DATA_SETS]))
    assert found[0].verdict.tolist() == found[1].verdict.tolist() == ["supported"] * 3
    assert found[0].n.tolist() == found[1].n.tolist()


# What would be concluded wrongly -------------------------------------------------------------------------------


def test_optimizers_do_not_pass_for_sharpness():
    # SGD is sharper and worse; among networks of one optimizer the sharper are better.
    formulas = {
        "epsilon_sharpness_maximum": lambda r: 10.0 * sgd(r) + 1 + r.seed,
        "test_loss": lambda r: 10.0 * sgd(r) + 4 - r.seed,
    }
    found = finding_table(world(formulas, correlate=True), FINDINGS).set_index("name").verdict
    assert found["sharper_solutions_have_a_higher_test_loss"] == "supported"
    assert found["sharper_solutions_have_a_higher_test_loss_with_the_same_optimizer"] == "contradicted"


def test_an_effect_in_half_of_the_cells_is_not_consistent():
    worlds = world({"test_loss": lambda r: 2.0 if tanh(r) == adam(r) else 1.0})
    found = finding_table(worlds, (BY_NAME["tanh_consistently_has_a_higher_loss"],))
    assert (found.estimate.item(), found.verdict.item()) == (0.5, "contradicted")


# The table -----------------------------------------------------------------------------------------------------


def test_studies_without_the_networks_say_so():
    full = world({})
    nothing = sample(full.matrix.runs[:0], full.matrix.pairs[:0])
    found = finding_table(Evidence(nothing, nothing, full.correlations[:0]), FINDINGS)
    assert list(found) == COLUMNS
    assert set(found.verdict) == {"undecided"}
    assert found.n.tolist() == [0] * len(FINDINGS)
    assert found.evidence.str.fullmatch(r"This study has no .*\.").all()


def test_sentences_carry_their_numbers():
    finding = BY_NAME["adam_is_more_accurate"]
    assert sentence(finding, Estimate(45, 0.03149, 0.0268, 0.0358, "seeds")) == (
        "Test accuracy with Adam minus with SGD: 0.0315 [0.0268, 0.0358], n = 45 matched comparisons."
    )
    assert "0.0358] over configurations, n = 45" in sentence(
        finding, Estimate(45, 0.03, 0.02, 0.0358, "configurations")
    )
    few = sentence(finding, Estimate(3, 0.03, math.nan, math.nan))
    assert few.endswith(
        "0.0300, n = 3 matched comparisons; no interval, too few seeds; fewer than 6 or 3 cells decide nothing."
    )
    cells = sentence(finding, Estimate(18, 0.03, 0.02, 0.04, "seeds", 6, 1))
    assert cells.endswith(", n = 18 matched comparisons in 6 cells, 1 of them with too few seeds for the interval.")
    assert "n = 18 matched comparisons in 1 cell; fewer than 6 or 3 cells decide nothing." in sentence(
        finding, Estimate(18, 0.03, 0.02, 0.04, "seeds", 1)
    )
    ratio = sentence(BY_NAME["sgd_is_sharper"], Estimate(45, 1.0, 0.0, 2.0, "seeds"))
    assert "10.0 [1.00, 100], n = 45" in ratio
    table = finding_table(world({}), (finding, replace(BY_NAME["sgd_is_sharper"], name="x")))
    assert table["rule"][1].startswith("log10 of the ratio: supported if the whole 95 % interval is above 0,")
    assert table["rule"][0].startswith("supported if")


def test_a_relative_change_is_that_of_the_means():
    def barriers(r):
        return {0: (4.0, 1.0), 1: (2.0, 2.0)}[r.seed_a][int(r.aligned)]

    pairs = paths({"linear_connectivity_barrier": barriers}, aligned=(False, True))
    made = Evidence(sample(pairs=pairs), sample(), pd.DataFrame())
    found = evidence.relative_to(False, evidence.ALIGNED, "linear_connectivity_barrier")(made)
    assert (found.n, found.mean) == (3, (1 + 1 + 2) / (4 + 4 + 2) - 1)
    assert found.low < found.mean < found.high
    assert (found.cells, found.single) == (1, 0)


def test_without_an_interval_nothing_was_resampled():
    table = pd.DataFrame([["epsilon_sharpness_maximum", "test_loss", "all", 4, 0.5, math.nan, math.nan]])
    found = evidence.tau("epsilon_sharpness_maximum", "test_loss", "all")(Evidence(sample(), sample(), table))
    assert (found.n, found.mean, found.resampled) == (4, 0.5, "")
    runs = networks({"test_accuracy": noise}, dataset=list(DATA_SETS), seed=[0])
    found = evidence.sensitivity_of_xor(Evidence(sample(runs), sample(), table))
    assert math.isnan(found.low)
    assert (found.resampled, found.cells, found.single) == ("", 4, 4)


def test_noise_between_seeds_is_no_sensitivity():
    """All kinds are alike; on xor seeds vary far more, which raises the spread of means and must not count."""

    def accuracy(r):
        return noise(r, 1.0 if xor(r) else 0.01)

    levels = {"activation": ["relu", "tanh", "gelu"], "architecture": [f"1x{width}" for width in range(10, 30)]}
    runs = networks({"test_accuracy": accuracy}, dataset=list(DATA_SETS), seed=list(range(4)), **levels)
    found = evidence.sensitivity_of_xor(Evidence(sample(runs), sample(), pd.DataFrame()))
    means = runs[runs.dataset == "xor"].groupby(["architecture", "activation"]).test_accuracy.mean()
    assert means.std(ddof=0) > 0.4  # 1 / sqrt(4) and nothing else
    assert found.mean < 0.25
    assert found.low <= 0.01
