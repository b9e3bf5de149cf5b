from __future__ import annotations

import math
from dataclasses import replace
from importlib import util
from typing import Literal

import numpy as np
import pandas as pd
import pytest

from lossatlas.study import config
from lossatlas.study.analysis import evidence
from lossatlas.study.analysis.contrasts import BARRIERS
from lossatlas.study.analysis.evidence import DATA_SETS, Evidence
from lossatlas.study.analysis.findings import AXES, COLUMNS, FINDINGS, finding_table, sentence
from lossatlas.study.analysis.findings.table import RULES, statement
from lossatlas.study.analysis.jackknife import NO_INTERVAL, Interval
from lossatlas.study.analysis.judgement import Judgement, Level
from lossatlas.study.analysis.runs import CONFIGURATION
from lossatlas.study.analysis.statistic import Estimate
from tests.study.analysis.worlds import ALL, WORLDS, adam, filled, of_configuration, sgd, side, tanh, world, xor
from tests.study.samples import networks, noise, paths, sample

BY_NAME = {finding.name: finding for finding in FINDINGS}
# Every finding, each way ----------------------------------------------------------------------------------------


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
    study = world({"test_accuracy": lambda r: 0.9 + (0.01 * of_configuration(r) if xor(r) else 0.0)}, everything=True)
    for name in ("accuracy_on_the_hardest_data_set", "sensitivity_of_xor"):
        found = getattr(fresh, name)(study)
        own = getattr(evidence, name)(study)
        assert (found.n, found.summary()) == (own.n, own.summary())


def test_networks_on_a_fifth_data_set_leave_the_verdicts_on_the_four():
    def learnt(r):
        return 0.99 + (0.001 * of_configuration(r) if xor(r) else 0.0) if r.dataset in DATA_SETS else 0.5

    def barrier(r):
        return 2.0 if xor(r) else 1.0 if r.dataset in DATA_SETS else 9.0

    levels = {**ALL, "architecture": ["1x50", "2x100", "4x100"], "data_seed": [0, 1, 2], "seed": [0, 1]}
    found = []
    for names_of in (list(DATA_SETS), [*DATA_SETS, "spirals"]):
        runs = filled(networks({}, **{**levels, "dataset": names_of}), {"test_accuracy": learnt})
        pairs = filled(paths({}, **{**levels, "dataset": names_of}), dict.fromkeys(BARRIERS.values(), barrier))
        study = Evidence(sample(runs, pairs), sample(), runs.assign(diverged=False)[:0], {})
        found.append(finding_table(study, [BY_NAME[name] for name in OF_ALL_DATA_SETS]))
    assert found[0].verdict.tolist() == found[1].verdict.tolist() == ["supported"] * 3
    assert found[0].n.tolist() == found[1].n.tolist()


# What would be concluded wrongly -------------------------------------------------------------------------------


def test_optimizers_do_not_pass_for_sharpness():
    # SGD is sharper and worse; among networks of one optimizer the sharper are better.
    formulas = {
        "epsilon_sharpness_mean": lambda r: 10.0 * sgd(r) + of_shape(r),
        "test_loss": lambda r: 10.0 * sgd(r) + 4 - of_shape(r),
    }
    names = [name for name in BY_NAME if name.startswith("sharper_solutions_have")]
    found = finding_table(world(formulas), [BY_NAME[name] for name in names]).set_index("name").verdict
    assert found["sharper_solutions_have_a_higher_test_loss"] == "supported"
    assert found["sharper_solutions_have_a_higher_test_loss_with_the_same_optimizer"] == "contradicted"


def of_shape(r) -> float:
    return abs(noise(r[["architecture", "activation"]].reindex([*CONFIGURATION], fill_value="")))


def test_the_training_loss_does_not_pass_for_sharpness():
    """What was trained further is less sharp and has a lower test loss; with the training loss held nothing is left."""
    formulas = {
        "train_loss": lambda r: np.exp(of_configuration(r)),
        "epsilon_sharpness_mean": lambda r: np.exp(of_configuration(r) + 0.5 * of_configuration(r, 1) + noise(r, 0.02)),
        "test_loss": lambda r: np.exp(of_configuration(r) + 0.5 * of_configuration(r, 2)),
    }
    chosen = [BY_NAME["sharper_solutions_have_a_higher_test_loss" + end] for end in ("", "_with_training_loss_held")]
    found = finding_table(world(formulas), chosen)
    assert found.verdict[0] == "supported"
    assert found.configurations_low[1] < 0 < found.configurations_high[1]
    assert abs(found.estimate[1]) < 0.2 < 0.5 < found.estimate[0]


def test_what_ended_at_another_loss_does_not_pass_for_curvature():
    """Curvature is ten times the training loss for all; SGD ends at a higher one."""
    study = world({"train_loss": side(sgd, 0.1, 0.01), "spectrum_top_eigenvalue": side(sgd, 1.0, 0.1)})
    paths = {
        name: {
            **path,
            "loss": np.array([1.0, *path["loss"][1:]]),
            "top_eigenvalue": np.array([2.0, path["loss"][1] + 1]),
        }
        for name, path in study.paths.items()
    }
    chosen = [BY_NAME["sgd_has_larger_eigenvalues" + end] for end in ("", "_at_equal_loss")]
    found = finding_table(replace(study, paths=paths), chosen)
    assert found.estimate.tolist() == pytest.approx([1.0, 0.0], abs=1e-5)
    assert found.verdict[0] == "supported"
    assert found.verdict[1] != "supported"


def test_a_reversal_is_found_named_and_told_with_its_levels():
    """As in the audit: SGD is sharper pooled, and with Tanh it is the other way round."""

    def sharpness(r):
        return 0.5 if sgd(r) and tanh(r) else 10.0 if sgd(r) else 1.0

    row = finding_table(world({"epsilon_sharpness_mean": sharpness}), (BY_NAME["sgd_is_sharper"],)).iloc[0]
    assert row.estimate > 0 < row.low  # pooled it would be supported
    assert (row.verdict, row.reversed_by) == ("mixed", "activation")
    assert "reversed by activation: gelu 10.0" in row.evidence
    assert "tanh 0.500" in row.evidence


def test_an_effect_in_half_of_the_cells_is_not_consistent():
    worlds = world({"test_loss": lambda r: 2.0 if tanh(r) == adam(r) else 1.0})
    found = finding_table(worlds, (BY_NAME["tanh_consistently_has_a_higher_loss"],))
    assert (found.estimate.item(), found.verdict.item()) == (0.5, "mixed")
    assert found.reversed_by.item() == "optimizer"


# The table -----------------------------------------------------------------------------------------------------


def test_studies_without_the_networks_say_so():
    full = world({})
    nothing = sample(full.matrix.runs[:0], full.matrix.pairs[:0])
    found = finding_table(Evidence(nothing, nothing, full.measures[:0], {}), FINDINGS)
    assert list(found) == COLUMNS
    assert set(found.verdict) == {"undecided"}
    assert found.n.tolist() == [0] * len(FINDINGS)
    assert found.q_value.isna().all()
    assert found.evidence.str.fullmatch(r"This study has no .*\.").all()


def judged(estimate: Estimate, **fields) -> Judgement:
    return Judgement(estimate, "supported", 0.001, general=True, **fields)


def test_sentences_carry_their_numbers():
    finding = BY_NAME["adam_is_more_accurate"]
    sure, wide = Interval(0.0268, 0.0358, 0.001, 4.0), Interval(0.0201, 0.0442, 0.004, 2.0)
    found = Estimate(45, 0.03149, sure, "draws", wide, cells=15, draws=3)
    assert sentence(finding, judged(found, share=0.8)) == (
        "Test accuracy with Adam minus with SGD: 0.0315 [0.0268, 0.0358] over 3 draws of the data and their seeds, "
        "n = 45 matched comparisons in 15 cells; [0.0201, 0.0442] if the cells were a sample; "
        "80.0 % of them on the stated side."
    )
    one_draw = sentence(finding, judged(replace(found, over="seeds", draws=1, configurations=NO_INTERVAL)))
    assert "over seeds, on this draw of the data, n = 45 matched comparisons in 15 cells." in one_draw
    few = sentence(finding, judged(Estimate(3, 0.03, NO_INTERVAL, "", NO_INTERVAL, cells=1, draws=1)))
    assert few.endswith("n = 3 matched comparisons in 1 cell; fewer than 3 draws and 3 cells cannot tell.")
    levels = (Level("relu", 1.0, 0.9, 1.1), Level("tanh", -1.0, -1.2, -0.8))
    ratio = sentence(BY_NAME["sgd_is_sharper"], judged(found, reversed_by="weight_decay", levels=levels))
    assert "reversed by weight decay: relu 10.0 [7.94, 12.6] and tanh 0.100 [0.0631, 0.158]" in ratio


def test_a_statement_that_is_not_general_is_one_of_this_studys_configurations():
    finding = BY_NAME["adam_is_more_accurate"]
    found = judged(Estimate(45, 0.03, NO_INTERVAL, "draws", NO_INTERVAL, cells=15, draws=3))
    assert statement(finding, found) == finding.statement
    here = f"{finding.statement[:-1]} (in this study's configurations)."
    assert statement(finding, replace(found, general=False)) == here
    assert statement(finding, replace(found, general=False, verdict="undecided")) == finding.statement


def test_the_rule_is_printed_with_the_numbers_it_has():
    assert "at least two thirds" in RULES[0]
    assert "5 % false discoveries" in RULES[0]
    assert "fewer than 3 draws and 3 cells" in RULES[-1]
    table = finding_table(world({}), (BY_NAME["adam_is_more_accurate"], BY_NAME["sgd_is_sharper"]))
    assert table["rule"].tolist() == ["above 0", "log10 of the ratio above 0"]


# Other statistics ----------------------------------------------------------------------------------------------


def test_a_relative_change_is_that_of_the_means():
    def barriers(r):
        return {0: (4.0, 1.0), 1: (2.0, 2.0)}[r.seed_a][int(r.aligned)]

    pairs = paths({"linear_connectivity_barrier": barriers}, aligned=(False, True))
    made = Evidence(sample(pairs=pairs), sample(), pd.DataFrame(), {})
    measured = evidence.relative_to(False, evidence.ALIGNED, "linear_connectivity_barrier")(made)
    assert measured is not None
    found = measured.summary()
    assert (found.n, found.mean) == (3, pytest.approx((1 + 1 + 2) / (4 + 4 + 2) - 1))
    assert found.low < found.mean < found.high
    assert (found.cells, found.single, found.over) == (1, 0, "seeds")
    assert measured.values is None  # a ratio of means has no units with signs


def test_the_spread_on_xor_is_that_of_the_means_of_kinds_by_a_loop():
    levels = {"activation": ["relu", "tanh"], "architecture": ["1x50", "2x100", "4x100"], "data_seed": [0, 1, 2]}
    runs = networks({"test_accuracy": noise}, dataset=list(DATA_SETS), **levels)
    found = evidence.sensitivity_of_xor(Evidence(sample(runs), sample(), pd.DataFrame(), {}))
    assert found is not None
    means = runs.groupby(["dataset", "architecture", "activation"]).test_accuracy.mean()
    spread = means.groupby("dataset").std(ddof=0)
    assert found.estimate == pytest.approx(spread.xor - spread.drop("xor").max())
    without = []
    for draw in range(3):
        kept = runs[runs.data_seed != draw]
        spread = kept.groupby(["dataset", "architecture", "activation"]).test_accuracy.mean().groupby("dataset")
        spread = spread.std(ddof=0)
        without.append(spread.xor - spread.drop("xor").max())
    assert found.summary().interval.error == pytest.approx(math.sqrt(2 / 3 * np.var(without) * 3))
    one = evidence.sensitivity_of_xor(
        Evidence(sample(runs.query("data_seed == 0 and seed == 0")), sample(), pd.DataFrame(), {})
    )
    assert one is not None
    assert one.summary().over == ""
