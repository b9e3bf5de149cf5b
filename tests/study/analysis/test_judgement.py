"""From an interval to a verdict: rules, p-values, agreement, reversals, sensitivity, false discoveries."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lossatlas.study.analysis.jackknife import NO_INTERVAL, Interval
from lossatlas.study.analysis.judgement import Judgement, controlled, judge
from lossatlas.study.analysis.rules import above, adjusted, below, within
from lossatlas.study.analysis.statistic import Estimate, Statistic

SURE = Estimate(10, 0.5, Interval(0.4, 0.6, 0.04, 4.0), "draws", NO_INTERVAL, cells=5, draws=5)


def between(low: float, high: float) -> Interval:
    return Interval(low, high, (high - low) / 4, 9.0)


# Rules ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", [(-0.5, -0.2), (-0.001, 0.5), (0.001, 0.002), (0.0, 0.0)])
def test_a_statement_and_its_opposite_are_decided_by_the_same_numbers(ends):
    opposite = {"supported": "contradicted", "contradicted": "supported", "undecided": "undecided"}
    found = between(*ends)
    assert above(0, step=1).decide(found) == opposite[below(0, step=1).decide(found)]
    middle = sum(ends) / 2
    assert above(0, step=1).p_value(middle, found) == below(0, step=1).p_value(middle, found)


@pytest.mark.parametrize(
    ("rule", "low", "high", "verdict"),
    [
        (above(1, step=0), 1.1, 2.0, "supported"),
        (above(1, step=0), 0.9, 2.0, "undecided"),
        (above(1, step=0), 0.2, 0.9, "contradicted"),
        (above(1, step=0), 1.0, 2.0, "undecided"),
        (above(1, step=0), 0.0, 1.0, "undecided"),
        (above(0, step=0), 1e-17, 2e-17, "undecided"),  # rounding is no evidence
        (below(1, step=0), 0.0, 0.9, "supported"),
        (below(1, step=0), 0.0, 1.1, "undecided"),
        (below(1, step=0), 1.1, 1.7, "contradicted"),
        (within(1, step=0), -0.9, 0.9, "supported"),
        (within(1, step=0), 0.1, 0.2, "supported"),
        (within(1, step=0), 0.9, 1.1, "undecided"),
        (within(1, step=0), -3.0, 3.0, "undecided"),
        (within(1, step=0), 1.1, 1.2, "contradicted"),
        (within(1, step=0), -1.2, -1.1, "contradicted"),
    ],
)
def test_rules(rule, low, high, verdict):
    assert rule.decide(between(low, high)) == verdict
    assert rule.decide(NO_INTERVAL) == "undecided"


def test_rules_say_their_bounds_and_move_them():
    assert [rule.words() for rule in (above(0.95, step=1), below(0, step=1), within(0.005, step=1))] == [
        "above 0.95", "below 0", "between -0.005 and 0.005",
    ]  # fmt: skip
    assert [(rule.low, rule.high) for rule in above(1, step=0.25).moved()] == [(1.25, math.inf), (0.75, math.inf)]
    assert [(rule.low, rule.high) for rule in below(1, step=0.25).moved()] == [(-math.inf, 1.25), (-math.inf, 0.75)]
    assert [(rule.low, rule.high) for rule in within(1, step=0.25).moved()] == [(-0.75, 0.75), (-1.25, 1.25)]


def test_the_p_value_is_that_of_the_t_test():
    values = np.random.default_rng(0).normal(0.4, size=8)
    low, high = stats.t.interval(0.95, 7, values.mean(), stats.sem(values))
    found = Interval(low, high, stats.sem(values), 7.0)
    for bound in (0.0, 1.0):
        expected = stats.ttest_1samp(values, bound).pvalue
        assert above(bound, step=0).p_value(values.mean(), found) == pytest.approx(expected)
    # Equivalence: both one-sided tests must reject (Schuirmann 1987), here each of them two-sided.
    sides = [stats.ttest_1samp(values, bound).pvalue for bound in (-1, 1)]
    assert within(1, step=0).p_value(values.mean(), found) == pytest.approx(max(sides))
    assert math.isnan(above(0, step=0).p_value(0.4, NO_INTERVAL))


@pytest.mark.parametrize("bound", [-1.0, 0.0, 0.3, 0.5, 2.0])
def test_a_rule_decides_where_its_p_value_is_below_one_in_twenty(bound):
    for rule in (above(bound, step=0), below(bound, step=0)):
        decided = rule.decide(SURE.interval) != "undecided"
        assert decided == (rule.p_value(SURE.mean, SURE.interval) < 0.05)


def test_an_interval_of_no_width_has_a_p_value():
    exact = Interval(1.0, 1.0, 0.0, 4.0)
    assert above(0, step=0).p_value(1.0, exact) == 0
    assert above(1, step=0).p_value(1.0, exact) == 1


def test_q_values_are_scipys():
    p_values = np.random.default_rng(1).uniform(size=30) ** 3
    assert adjusted(p_values) == pytest.approx(stats.false_discovery_control(p_values))
    holed = np.insert(p_values, [0, 7, 30], np.nan)
    assert adjusted(holed)[~np.isnan(holed)] == pytest.approx(adjusted(p_values))
    assert np.isnan(adjusted(holed)[np.isnan(holed)]).all()
    assert len(adjusted(np.array([]))) == 0


# Judging -------------------------------------------------------------------------------------------------------


def statistic(values, **names) -> Statistic:
    """Of four cells, five draws and two seeds, unless told otherwise; `values` is a function of their names."""
    levels = {"architecture": list("abcd"), "data_seed": range(5), "seed": range(2), **names}
    frame = pd.MultiIndex.from_product(levels.values(), names=list(levels)).to_frame(index=False)
    cell = tuple(name for name in levels if name not in ("data_seed", "seed"))
    return Statistic(frame, cell, np.array([float(values(row)) for row in frame.itertuples()]))


def wave(row, size: float = 0.1) -> float:
    """Something like noise, which differs for every unit."""
    return size * math.sin(100 * hash((row.data_seed, row.seed, ord(row.architecture))))


POSITIVE = above(0, step=0.05)
ACTIVATIONS = ("relu", "gelu", "selu", "tanh")


def test_what_all_units_agree_on_is_supported_and_general():
    found = judge(statistic(lambda row: 1 + wave(row)), POSITIVE)
    assert (found.verdict, found.share, found.reversed_by, found.sensitivity) == ("supported", 1, "", "")
    assert found.general
    assert found.p_value < 1e-4
    opposite = judge(statistic(lambda row: 1 + wave(row)), below(0, step=0.05))
    assert (opposite.verdict, opposite.share, opposite.general) == ("contradicted", 0, True)


def test_a_mean_that_few_units_have_is_mixed():
    """Half of the comparisons have the other sign: a large effect in some decides the mean."""
    found = judge(statistic(lambda row: 3 if row.seed else -1 + wave(row)), POSITIVE)
    assert found.found.low > 0
    assert (found.verdict, found.share) == ("mixed", 0.5)
    assert not found.general


@pytest.mark.parametrize(("agreeing", "verdict"), [(2, "supported"), (1, "mixed")])
def test_two_thirds_are_enough_and_less_is_not(agreeing, verdict):
    assert judge(statistic(lambda row: 2 if row.seed < agreeing else -0.5, seed=range(3)), POSITIVE).verdict == verdict


def test_a_factor_that_reverses_it_is_named_with_its_levels():
    made = statistic(lambda row: (-0.5 if row.activation == "tanh" else 1) + wave(row), activation=list(ACTIVATIONS))
    found = judge(made, POSITIVE)
    assert (found.verdict, found.reversed_by) == ("mixed", "activation")
    assert found.share == 0.75  # by the share alone it would have been supported
    assert [one.level for one in found.levels] == list(ACTIVATIONS)
    tanh = found.levels[-1]
    assert tanh.low < tanh.mean < tanh.high < 0
    part = made.keep((made.names.activation == "tanh").to_numpy())
    assert tanh.mean == pytest.approx(part.values.mean())


def test_a_level_that_only_lies_lower_reverses_nothing():
    levels = ["relu", "gelu", "tanh"]
    weaker = judge(statistic(lambda r: 0.2 if r.activation == "tanh" else 1, activation=levels), POSITIVE)
    unsure = judge(statistic(lambda r: wave(r) if r.activation == "tanh" else 1, activation=levels), POSITIVE)
    assert (weaker.verdict, weaker.reversed_by) == ("supported", "")
    assert (unsure.verdict, unsure.reversed_by) == ("supported", "")


def test_levels_with_few_networks_reverse_no_share():
    """Three of three is no sure sign: by Clopper and Pearson it may be 0.29."""
    levels = ["relu", "gelu"]
    made = statistic(
        lambda r: r.activation == "relu", activation=levels, architecture=["a"], seed=[0], data_seed=range(3)
    )
    assert judge(made.mapped(np.positive, share=True), above(0.5, step=0.05)).reversed_by == ""
    many = statistic(lambda r: r.activation == "relu", activation=levels).mapped(np.positive, share=True)
    assert judge(many, above(0.5, step=0.05)).reversed_by == ""  # of both together: undecided, half of all
    assert judge(many, above(0.3, step=0.05)).reversed_by == "activation"


def test_barriers_on_one_draw_can_be_reversed_too():
    rows = [
        {"activation": act, "architecture": arch, "data_seed": 0, "seed_a": a, "seed_b": b}
        for act in ("relu", "tanh") for arch in "abc" for a, b in ((0, 1), (0, 2), (1, 2))
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    values = np.where(frame.activation == "relu", 3.0, -1.0) + 0.01 * (frame.seed_a + frame.seed_b).to_numpy()
    found = judge(Statistic(frame, ("activation", "architecture"), values), POSITIVE)
    assert (found.found.over, found.verdict, found.reversed_by) == ("seeds", "mixed", "activation")


def test_intervals_of_levels_are_wider_the_more_levels_there_are():
    """Of forty levels of a factor without any effect one in twenty would reverse each finding by chance."""
    rng = np.random.default_rng(2)
    wrong = 0
    for _ in range(40):
        levels = {"activation": list(range(12)), "data_seed": range(5), "seed": [0]}
        frame = pd.MultiIndex.from_product(levels.values(), names=list(levels)).to_frame(index=False)
        made = Statistic(frame, ("activation",), rng.normal(0, 1, len(frame)))
        shifted = replace(made, values=made.values - made.values.mean() + 0.45)
        wrong += judge(shifted, POSITIVE).reversed_by != ""
    assert wrong <= 4


def test_sensitivity_names_the_draw_on_which_a_verdict_hangs():
    made = statistic(lambda row: (2.0, 0.52, 0.5, 0.48, 0.51)[row.data_seed] + wave(row, 0.001))
    found = judge(made, above(0.4, step=0.01))
    assert found.verdict == "undecided"  # one odd draw widens the interval of all
    assert found.sensitivity.split("; ") == ["supported without data seed 0"]


def test_sensitivity_names_the_seed_and_the_moved_bound():
    made = statistic(lambda row: (0.01, 0.01, 3.0)[row.seed] * row.data_seed + wave(row, 0.02), seed=range(3))
    assert "without seed 2" in judge(made, above(0.5, step=0.01)).sensitivity
    near = statistic(lambda row: 0.03 + 0.01 * math.sin(7 * row.data_seed))
    found = judge(near, POSITIVE)
    assert found.verdict == "supported"
    assert "if the bound is above 0.05" in found.sensitivity


def test_two_draws_or_seeds_are_not_left_out_one_by_one():
    found = judge(statistic(lambda row: 1 + wave(row), data_seed=range(2)), POSITIVE)
    assert (found.verdict, found.found.over, found.sensitivity) == ("supported", "seeds", "")


@pytest.mark.parametrize(("cells", "verdict"), [("abc", "supported"), ("ab", "undecided")])
def test_with_one_draw_fewer_than_three_cells_cannot_tell(cells, verdict):
    made = statistic(lambda row: 1 + wave(row, 0.01), architecture=list(cells), data_seed=[0], seed=range(5))
    found = judge(made, POSITIVE)
    assert found.found.low > 0
    assert found.found.too_few == (verdict == "undecided")
    assert (found.verdict, math.isnan(found.p_value)) == (verdict, verdict == "undecided")


def test_one_cell_on_three_draws_can_tell():
    assert (
        judge(statistic(lambda row: 1 + wave(row, 0.01), architecture=["a"], data_seed=range(3)), POSITIVE).verdict
        == "supported"
    )


def test_what_holds_here_and_not_in_a_sample_of_cells_is_not_general():
    made = statistic(lambda row: {"a": 0.1, "b": 0.2, "c": 0.1, "d": 8.0}[row.architecture] + wave(row, 0.01))
    found = judge(made, POSITIVE)
    assert (found.verdict, found.general) == ("supported", False)
    assert found.found.configurations.low < 0 < found.found.low


def test_without_units_there_is_nothing_to_judge():
    for nothing in (None, statistic(lambda row: 1, architecture=[])):
        found = judge(nothing, POSITIVE)
        assert (found.verdict, found.found.n, found.sensitivity) == ("undecided", 0, "")
        assert math.isnan(found.p_value)


def test_shares_and_ratios_are_decided_by_their_interval_alone():
    """A share of 0.9 has units of which a tenth are zeros; they are no comparisons with a sign."""
    made = statistic(lambda row: row.seed > 0, seed=range(10)).mapped(np.positive, share=True)
    found = judge(made, above(0.6, step=0.05))
    assert (found.verdict, math.isnan(found.share)) == ("supported", True)


def test_infinities_are_no_verdict():
    found = judge(statistic(lambda row: math.inf if row.seed else 1), POSITIVE)
    assert (found.found.mean, found.verdict) == (math.inf, "undecided")


# The family of findings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", ["supported", "contradicted", "mixed"])
def test_a_verdict_stands_only_with_few_false_discoveries(verdict):
    one = Judgement(SURE, verdict, 0.01, general=True)
    assert controlled(one, 0.04) == one
    assert controlled(one, 0.06) == replace(one, verdict="undecided", general=False)


def test_an_undecided_finding_stays_so():
    one = Judgement(SURE, "undecided", math.nan)
    assert controlled(one, math.nan) == one
