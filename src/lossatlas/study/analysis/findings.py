"""What is said about loss landscapes of small networks, each statement with the number and the rule that decide it.

To add a finding, add an entry to `FINDINGS`. Every number is matched: it compares networks that are alike in data set,
architecture, activation, optimizer, weight decay and seed except for what the statement is about, or says otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pandas as pd

from lossatlas.study.analysis.contrasts import Estimate, average, between
from lossatlas.study.analysis.evidence import (
    ADAM,
    ADAM_MORE_UNDER_TANH,
    ALIGNED,
    CONVNETS,
    DECAY,
    DEEP_TANH,
    DEEP_TANH_ADAM,
    DEEP_TANH_AGAINST_SMOOTH_ADAM,
    DEEP_TANH_SGD_AGAINST_SMOOTH_ADAM,
    DEEPER,
    DEEPER_ARCHITECTURES,
    EASY_DATA,
    MLP,
    MODERATE_ARCHITECTURES,
    RESIDUAL_MLPS,
    SGD,
    SMOOTH_ADAM,
    TANH,
    XOR,
    Evidence,
    Measure,
    accuracy_on_the_hardest_data_set,
    is_at_least,
    is_at_most,
    log10_trace_over_top,
    mean_of,
    mean_over_weight_decays,
    relative_to,
    sensitivity_of_xor,
    share_above_zero,
    tau,
)
from lossatlas.study.analysis.rules import FEWEST, FEWEST_CELLS, Above, Below, Rule, Within, too_few

COLUMNS = ["name", "axis", "statement", "evidence", "estimate", "low", "high", "n", "rule", "verdict"]
AXES = (
    "Datasets", "Depth", "Width", "Activation", "Optimizer", "Regularization", "Landscape geometry",
    "ConvNet and residual MLP",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """A statement, the number that decides it, and how.

    `number` says in words what `measure` computes, `of` what is counted by its n. `needs` completes "This study has
    no ..." for studies without the networks that the statement is about. On a log10 scale the sentence gives factors.
    """

    name: str
    axis: str
    statement: str
    number: str
    measure: Measure
    rule: Rule
    needs: str
    of: str = "matched comparisons"
    log10: bool = field(default=False, kw_only=True)


# Margins: what is too small to matter.
ACCURACY_ALIKE = 0.005  # between two and three of them
LOW_BARRIER = 0.1  # nats, a seventh of the loss of guessing

_FOUR = "networks on all of moons, circles, gaussians and xor"
_EQUAL_WIDTH = "networks with one and with more hidden layers of the same width"
_SEEDS = "pairs of seeds"
_DECAYED = "networks trained both without weight decay and with 0.001"
_DECAYS = "networks trained at both weight decays"

FINDINGS: tuple[Finding, ...] = (
    # Data sets
    Finding(
        "all_data_sets_are_learnt", "Datasets",
        "Multilayer perceptrons reach a mean test accuracy of 0.95 or more on each of the four data sets.",
        "Mean test accuracy on the data set where it is lowest",
        accuracy_on_the_hardest_data_set, Above(0.95), _FOUR, "networks",
    ),
    Finding(
        "most_networks_are_accurate", "Datasets",
        "At least four of five multilayer perceptrons have a test accuracy of 0.95 or more.",
        "Share of multilayer perceptrons with a test accuracy of at least 0.95",
        mean_of(average({"family": MLP}), is_at_least("test_accuracy", 0.95)), Above(0.8), "multilayer perceptrons",
        "networks",
    ),
    Finding(
        "most_networks_fit_the_training_data", "Datasets",
        "More than half of the multilayer perceptrons reach a training loss near zero (0.05 nats or less).",
        "Share of multilayer perceptrons with a training loss of at most 0.05",
        mean_of(average({"family": MLP}), is_at_most("train_loss", 0.05)), Above(0.5), "multilayer perceptrons",
        "networks",
    ),
    Finding(
        "circles_and_gaussians_are_easiest", "Datasets",
        "Test losses are lower on circles and gaussians than on moons and xor.",
        "Test loss on circles and gaussians over that on moons and xor",
        mean_of(EASY_DATA, "log10 test_loss"), Below(0), _FOUR, log10=True,
    ),
    Finding(
        "xor_is_most_sensitive", "Datasets",
        "Test accuracy depends more on architecture and activation on xor than on any other data set.",
        "Standard deviation of the test accuracy between architectures and activations, xor minus the largest other",
        sensitivity_of_xor, Above(0), _FOUR, "networks",
    ),
    Finding(
        "xor_has_higher_barriers", "Datasets",
        "Barriers between seeds are higher on xor than on the other data sets.",
        "Barrier on xor minus that on the other data sets",
        mean_of(XOR, "barrier"), Above(0), _FOUR, _SEEDS,
    ),
    # Depth
    Finding(
        "deeper_is_more_accurate_at_equal_width", "Depth",
        "Networks with several hidden layers have a higher test accuracy than those with one of the same width.",
        "Test accuracy with several hidden layers minus with one, at equal width",
        mean_of(DEEPER, "test_accuracy"), Above(0), _EQUAL_WIDTH,
    ),
    Finding(
        "four_layers_are_more_accurate_than_two", "Depth",
        "Networks with four hidden layers have a higher test accuracy than those with two of the same width.",
        "Test accuracy with four hidden layers minus with two, at equal width",
        mean_of(between("depth", 2, 4), "test_accuracy"), Above(0),
        "networks with two and with four hidden layers of the same width",
    ),
    Finding(
        "deeper_architectures_are_more_accurate", "Depth",
        "Averaged over this study's architectures, deeper networks have a higher test accuracy than shallow ones; "
        "their widths differ too.",
        "Test accuracy, mean of the deeper architectures minus mean of those with one hidden layer, widths not held",
        mean_of(DEEPER_ARCHITECTURES, "test_accuracy"), Above(0),
        "architectures with one and with more hidden layers", "matched groups of networks",
    ),
    Finding(
        "deeper_has_lower_barriers_at_equal_width", "Depth",
        "Seeds are connected over lower barriers with several hidden layers than with one of the same width.",
        "Barrier with several hidden layers minus with one, at equal width",
        mean_of(DEEPER, "barrier"), Below(0), _EQUAL_WIDTH, _SEEDS,
    ),
    Finding(
        "deeper_architectures_have_lower_barriers", "Depth",
        "Averaged over this study's architectures, seeds of deeper networks are connected over lower barriers than "
        "those of shallow ones; their widths differ too.",
        "Barrier, mean of the deeper architectures minus mean of those with one hidden layer, widths not held",
        mean_of(DEEPER_ARCHITECTURES, "barrier"), Below(0),
        "pairs of seeds of architectures with one and with more hidden layers", _SEEDS,
    ),
    # Width
    *(
        Finding(
            f"width_100_is_more_accurate_than_{width}", "Width",
            f"A width of 100 gives a higher test accuracy than one of {width} at equal depth.",
            f"Test accuracy at width 100 minus at width {width}, at equal depth",
            mean_of(between("width", width, 100), "test_accuracy"), Above(0),
            f"networks of widths 100 and {width} and the same depth",
        )
        for width in (50, 250, 500)
    ),
    Finding(
        "moderate_architectures_are_most_accurate", "Width",
        "2x100 and 4x100 have a higher mean test accuracy than the narrow 1x50 and the wide 1x500; their depths "
        "differ too.",
        "Test accuracy, mean of 2x100 and 4x100 minus mean of 1x50 and 1x500",
        mean_of(MODERATE_ARCHITECTURES, "test_accuracy"), Above(0),
        "networks of all of 1x50, 1x500, 2x100 and 4x100",
        "matched groups of networks",
    ),
    Finding(
        "moderate_architectures_have_lower_barriers", "Width",
        "Seeds of 2x100 and 4x100 are connected over lower barriers than those of 1x50 and 1x500; their depths "
        "differ too.",
        "Barrier, mean of 2x100 and 4x100 minus mean of 1x50 and 1x500",
        mean_of(MODERATE_ARCHITECTURES, "barrier"), Below(0),
        "pairs of seeds of all of 1x50, 1x500, 2x100 and 4x100",
        _SEEDS,
    ),
    # Activation
    Finding(
        "tanh_is_less_accurate", "Activation",
        "Tanh networks have a lower test accuracy than ReLU and GELU networks.",
        "Test accuracy with Tanh minus the mean of ReLU and GELU",
        mean_of(TANH, "test_accuracy"), Below(0), "matched networks of all three activations",
    ),
    Finding(
        "tanh_consistently_has_a_higher_loss", "Activation",
        "Tanh has a higher test loss than the mean of ReLU and GELU in at least four of five matched comparisons.",
        "Share of matched comparisons in which Tanh has the higher test loss",
        share_above_zero(TANH, "test_loss"), Above(0.8), "matched networks of all three activations",
    ),
    Finding(
        "tanh_is_sharper", "Activation",
        "Tanh solutions have a higher epsilon-sharpness than ReLU and GELU solutions.",
        "Sharpness with Tanh over that with ReLU and GELU",
        mean_of(TANH, "log10 sharpness"), Above(0), "sharpness of all three activations", log10=True,
    ),
    Finding(
        "tanh_has_larger_eigenvalues", "Activation",
        "Tanh solutions have larger leading Hessian eigenvalues than ReLU and GELU solutions.",
        "Top eigenvalue with Tanh over that with ReLU and GELU",
        mean_of(TANH, "log10 top_eigenvalue"), Above(0), "Hessians of all three activations", log10=True,
    ),
    Finding(
        "tanh_has_higher_barriers", "Activation",
        "Seeds of Tanh networks are connected over higher barriers than those of ReLU and GELU networks.",
        "Barrier with Tanh minus the mean of ReLU and GELU",
        mean_of(TANH, "barrier"), Above(0), "pairs of seeds of all three activations", _SEEDS,
    ),
    Finding(
        "tanh_paths_are_rougher", "Activation",
        "The path from initial to final weights rises further on its way for Tanh than for ReLU and GELU.",
        "Rise of the training loss on the interpolation path, Tanh minus the mean of ReLU and GELU",
        mean_of(TANH, "interpolation_bump"), Above(0), "interpolation of all three activations",
    ),
    Finding(
        "deep_tanh_has_larger_eigenvalues", "Activation",
        "Tanh networks of four hidden layers have larger leading Hessian eigenvalues than ReLU and GELU networks "
        "trained with Adam.",
        "Top eigenvalue of Tanh (both optimizers) over that of ReLU and GELU with Adam, four hidden layers",
        mean_of(DEEP_TANH_AGAINST_SMOOTH_ADAM, "log10 top_eigenvalue"), Above(0),
        "Hessians of four-layer networks of all three activations with both optimizers", log10=True,
    ),
    Finding(
        "deep_tanh_sgd_is_sharper", "Activation",
        "Tanh networks of four hidden layers trained with SGD have a higher epsilon-sharpness than ReLU and GELU "
        "networks trained with Adam.",
        "Sharpness of Tanh with SGD over that of ReLU and GELU with Adam, four hidden layers",
        mean_of(DEEP_TANH_SGD_AGAINST_SMOOTH_ADAM, "log10 sharpness"), Above(0),
        "sharpness of four-layer networks of all three activations with both optimizers", log10=True,
    ),
    *(
        Finding(
            f"deep_tanh_{what}_with_the_same_optimizer", "Activation",
            f"Among four-layer networks trained with the same optimizer, Tanh has {statement} than ReLU and GELU.",
            f"{number} of Tanh over that of ReLU and GELU, four hidden layers, same optimizer",
            mean_of(DEEP_TANH, f"log10 {outcome}"), Above(0),
            f"{needs} of four-layer networks of all three activations", log10=True,
        )
        for what, outcome, statement, number, needs in (
            ("has_larger_eigenvalues", "top_eigenvalue", "larger leading Hessian eigenvalues", "Top eigenvalue",
             "Hessians"),
            ("is_sharper", "sharpness", "a higher epsilon-sharpness", "Sharpness", "sharpness"),
        )
    ),
    Finding(
        "sharpness_differences_are_not_extreme", "Activation",
        "The sharpness of four-layer Tanh networks trained with SGD and of ReLU and GELU networks trained with Adam "
        "is within a factor of ten.",
        "Sharpness of Tanh with SGD over that of ReLU and GELU with Adam, four hidden layers",
        mean_of(DEEP_TANH_SGD_AGAINST_SMOOTH_ADAM, "log10 sharpness"), Within(1.0),
        "sharpness of four-layer networks of all three activations with both optimizers", log10=True,
    ),
    # Optimizer
    Finding(
        "adam_fits_closer", "Optimizer", "Adam reaches a lower training loss than SGD.",
        "Training loss with Adam over that with SGD",
        mean_of(ADAM, "log10 train_loss"), Below(0), "matched networks of both optimizers", log10=True,
    ),
    Finding(
        "adam_generalizes_better", "Optimizer", "Adam reaches a lower test loss than SGD.",
        "Test loss with Adam over that with SGD",
        mean_of(ADAM, "log10 test_loss"), Below(0), "matched networks of both optimizers", log10=True,
    ),
    Finding(
        "adam_is_more_accurate", "Optimizer", "Adam reaches a higher test accuracy than SGD.",
        "Test accuracy with Adam minus with SGD",
        mean_of(ADAM, "test_accuracy"), Above(0), "matched networks of both optimizers",
    ),
    Finding(
        "adam_helps_tanh_most", "Optimizer",
        "Adam raises the test accuracy over that of SGD further for Tanh than for ReLU and GELU.",
        "What Adam adds to the test accuracy over SGD, with Tanh minus the mean of ReLU and GELU",
        mean_of(ADAM_MORE_UNDER_TANH, "test_accuracy"), Above(0),
        "matched networks of all three activations with both optimizers",
    ),
    Finding(
        "sgd_is_sharper", "Optimizer", "SGD solutions have a higher epsilon-sharpness than Adam solutions.",
        "Sharpness with SGD over that with Adam",
        mean_of(SGD, "log10 sharpness"), Above(0), "sharpness of both optimizers", log10=True,
    ),
    Finding(
        "sgd_has_larger_eigenvalues", "Optimizer",
        "SGD solutions have larger leading Hessian eigenvalues than Adam solutions.",
        "Top eigenvalue with SGD over that with Adam",
        mean_of(SGD, "log10 top_eigenvalue"), Above(0), "Hessians of both optimizers", log10=True,
    ),
    # Regularization
    Finding(
        "weight_decay_leaves_accuracy", "Regularization",
        "Raising the weight decay from 0 to 0.001 changes the mean test accuracy by less than 0.005.",
        "Test accuracy with weight decay 0.001 minus without",
        mean_over_weight_decays(DECAY, "test_accuracy"), Within(ACCURACY_ALIKE), _DECAYED, _DECAYS,
    ),
    Finding(
        "weight_decay_lowers_sharpness", "Regularization",
        "Raising the weight decay from 0 to 0.001 lowers the epsilon-sharpness.",
        "Sharpness with weight decay 0.001 over that without",
        mean_over_weight_decays(DECAY, "log10 sharpness"), Below(0), _DECAYED, _DECAYS, log10=True,
    ),
    Finding(
        "weight_decay_widens_slices", "Regularization",
        "Raising the weight decay from 0 to 0.001 widens the basin along a random direction.",
        "Width of the random slice with weight decay 0.001 minus without",
        mean_over_weight_decays(DECAY, "slice_width"), Above(0), _DECAYED, _DECAYS,
    ),
    Finding(
        "weight_decay_smooths_paths", "Regularization",
        "Raising the weight decay from 0 to 0.001 lowers the rise on the path from initial to final weights.",
        "Rise of the training loss on the interpolation path with weight decay 0.001 minus without",
        mean_over_weight_decays(DECAY, "interpolation_bump"), Below(0), _DECAYED, _DECAYS,
    ),
    Finding(
        "weight_decay_raises_the_path_minimum", "Regularization",
        "Raising the weight decay from 0 to 0.001 raises the lowest training loss on the path from initial to final "
        "weights.",
        "Lowest training loss on the path with weight decay 0.001 over that without",
        mean_over_weight_decays(DECAY, "log10 path_minimum"), Above(0), _DECAYED, _DECAYS, log10=True,
    ),
    # Geometry
    Finding(
        "well_trained_networks_have_low_barriers", "Landscape geometry",
        "Seeds of ReLU and GELU networks trained with Adam are connected over test barriers below 0.1 nats.",
        "Mean test barrier of ReLU and GELU networks trained with Adam",
        mean_of(average(SMOOTH_ADAM), "test_barrier"), Below(LOW_BARRIER),
        "pairs of seeds of ReLU or GELU networks trained with Adam", _SEEDS,
    ),
    Finding(
        "shallow_well_trained_networks_have_low_barriers", "Landscape geometry",
        "With one hidden layer, such barriers are below 0.1 nats too, as trained, without matching neurons.",
        "Mean test barrier of ReLU and GELU networks of one hidden layer trained with Adam",
        mean_of(average({**SMOOTH_ADAM, "family": ("shallow",)}), "test_barrier"), Below(LOW_BARRIER),
        "pairs of seeds of ReLU or GELU networks of one hidden layer trained with Adam", _SEEDS,
    ),
    Finding(
        "deep_tanh_adam_has_higher_barriers", "Landscape geometry",
        "Among four-layer networks trained with Adam, Tanh has higher barriers between seeds than ReLU and GELU.",
        "Barrier of Tanh minus the mean of ReLU and GELU, four hidden layers, Adam",
        mean_of(DEEP_TANH_ADAM, "barrier"), Above(0),
        "pairs of seeds of four-layer networks of all three activations trained with Adam", _SEEDS,
    ),
    Finding(
        "matching_neurons_lowers_barriers", "Landscape geometry",
        "Matching the neurons of networks with one hidden layer takes away at least a quarter of their mean barrier.",
        "Change of the mean barrier by matching neurons, as a share of the barrier as trained",
        relative_to(False, ALIGNED, "barrier"), Below(-0.25), "pairs of seeds with matched neurons", _SEEDS,
    ),
    Finding(
        "paths_from_the_start_are_monotone", "Landscape geometry",
        "The training loss falls all along the straight path from initial to final weights in at least four of five "
        "networks.",
        "Share of networks whose path stays within 1 % of its range of its running minimum",
        mean_of(average(), "interpolation_monotone"), Above(0.8), "interpolation", "networks",
    ),
    Finding(
        "few_directions_carry_the_curvature", "Landscape geometry",
        "Curvature is concentrated: the Hessian's trace is less than ten times its largest eigenvalue.",
        "Trace over top eigenvalue, geometric mean",
        mean_of(average(), log10_trace_over_top), Below(1), "Hessians", "networks", log10=True,
    ),
    *(
        Finding(
            f"sharper_solutions_{what}{where}", "Landscape geometry",
            f"Networks of higher epsilon-sharpness have {statement}{among}.",
            f"Kendall's tau-b of sharpness and {words} {scope}",
            tau("sharpness", outcome, scope), Above(0), "sharpness", "networks",
        )
        for what, outcome, statement, words in (
            ("have_a_higher_test_loss", "test_loss", "a higher test loss", "test loss"),
            ("generalize_worse", "generalization_gap", "a larger gap between test and training loss",
             "generalization gap"),
        )
        for where, among, scope in (
            ("", "", "within data sets"),
            ("_with_the_same_optimizer", ", also among those of one optimizer", "within data sets and optimizers"),
        )
    ),
    # Other networks
    *(
        Finding(
            f"{short}_{what}_like_deep_mlps", "ConvNet and residual MLP", f"{name} {statement}",
            f"{number}, {name} minus deep MLPs", mean_of(contrast, outcome), Within(margin),
            f"{name} beside MLPs of several hidden layers", "matched groups of networks",
        )
        for short, name, contrast in (("conv", "ConvNets", CONVNETS), ("residual", "residual MLPs", RESIDUAL_MLPS))
        for what, outcome, margin, statement, number in (
            (
                "interpolates", "interpolation_bump", 0.05,
                "rise on the path from initial to final weights as little as MLPs of several hidden layers, within "
                "0.05 nats.", "Rise of the training loss on the interpolation path",
            ),
            (
                "slices", "slice_width", 0.2,
                "have basins along random directions as wide as those of MLPs of several hidden layers, within 0.2 of "
                "a range of 2.", "Width of the random slice",
            ),
        )
    ),
)  # fmt: skip


# The table -----------------------------------------------------------------------------------------------------


def finding_table(evidence: Evidence, findings: tuple[Finding, ...] = FINDINGS) -> pd.DataFrame:
    """Every finding with its number, its rule, and the verdict that the rule gives.

    The sentence gives a ratio as such; `estimate`, `low`, `high` and the rule are of its log10.
    """
    rows = []
    for finding in findings:
        found = finding.measure(evidence)
        verdict = finding.rule.decide(found)
        number = (found.mean, found.low, found.high, found.n)
        statement, rule = finding.statement[0].upper() + finding.statement[1:], finding.rule.words()
        scale = "log10 of the ratio: " if finding.log10 else ""
        rows.append([finding.name, finding.axis, statement, sentence(finding, found), *number, scale + rule, verdict])
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({"n": "int64", **dict.fromkeys(("estimate", "low", "high"), "float64")})


def sentence(finding: Finding, found: Estimate) -> str:
    """The evidence for or against a finding, with its numbers, or why there is none."""
    if not found.n:
        return f"This study has no {finding.needs}."
    scale = (lambda value: 10.0**value) if finding.log10 else float
    mean, low, high = (format(scale(value), "#.3g").rstrip(".") for value in (found.mean, found.low, found.high))
    over = " over configurations" if found.resampled == "configurations" else ""
    few = f"; fewer than {FEWEST} or {FEWEST_CELLS} cells decide nothing" if too_few(found) else ""
    counted = f"n = {found.n} {finding.of}{_cells(found)}"
    if math.isnan(found.low):
        return f"{finding.number}: {mean}, {counted}; no interval, too few seeds{few}."
    return f"{finding.number}: {mean} [{low}, {high}]{over}, {counted}{few}."


def _cells(found: Estimate) -> str:
    if found.cells is None:
        return ""
    single = f", {found.single} of them with too few seeds for the interval" if found.single else ""
    return f" in {found.cells} {'cell' if found.cells == 1 else 'cells'}{single}"
