"""Findings on barriers, paths, curvature, and whether sharpness goes with generalization."""

from __future__ import annotations

from lossatlas.study.analysis.contrasts import average
from lossatlas.study.analysis.evidence import (
    ALIGNED,
    DEEP_TANH_ADAM,
    SMOOTH_ADAM,
    mean_of,
    relative_to,
    share_of,
    share_of_concentrated_traces,
    tau,
)
from lossatlas.study.analysis.findings.finding import NATS, SEEDS, SHARE, TAU, Finding
from lossatlas.study.analysis.rules import above, below

LOW_BARRIER = 0.1  # nats, a seventh of the loss of guessing: a higher barrier is no low one

FINDINGS: tuple[Finding, ...] = (
    Finding(
        name="well_trained_networks_have_low_barriers",
        axis="Landscape geometry",
        statement="Seeds of ReLU and GELU networks trained with Adam are connected over test barriers below 0.1 nats.",
        number="Mean test barrier of ReLU and GELU networks trained with Adam",
        measure=mean_of(average(SMOOTH_ADAM), "linear_connectivity_test_barrier"),
        rule=below(LOW_BARRIER, step=NATS),
        needs="pairs of seeds of ReLU or GELU networks trained with Adam",
        of=SEEDS,
    ),
    Finding(
        name="shallow_well_trained_networks_have_low_barriers",
        axis="Landscape geometry",
        statement="With one hidden layer, such barriers are below 0.1 nats too, as trained, without matching neurons.",
        number="Mean test barrier of ReLU and GELU networks of one hidden layer trained with Adam",
        measure=mean_of(average({**SMOOTH_ADAM, "family": ("shallow",)}), "linear_connectivity_test_barrier"),
        rule=below(LOW_BARRIER, step=NATS),
        needs="pairs of seeds of ReLU or GELU networks of one hidden layer trained with Adam",
        of=SEEDS,
    ),
    Finding(
        name="deep_tanh_adam_has_higher_barriers",
        axis="Landscape geometry",
        statement=(
            "Among four-layer networks trained with Adam, Tanh has higher barriers between seeds than ReLU and GELU."
        ),
        number="Barrier of Tanh minus the mean of ReLU and GELU, four hidden layers, Adam",
        measure=mean_of(DEEP_TANH_ADAM, "linear_connectivity_barrier"),
        rule=above(0, step=NATS),
        needs="pairs of seeds of four-layer networks of all three activations trained with Adam",
        of=SEEDS,
    ),
    Finding(
        name="matching_neurons_lowers_barriers",
        axis="Landscape geometry",
        statement=(
            "Matching the neurons of networks with one hidden layer takes away at least a quarter of their mean "
            "barrier."
        ),
        number="Change of the mean barrier by matching neurons, as a share of the barrier as trained",
        measure=relative_to(False, ALIGNED, "linear_connectivity_barrier"),
        rule=below(-0.25, step=SHARE),
        needs="pairs of seeds with matched neurons",
        of=SEEDS,
    ),
    Finding(
        name="paths_from_the_start_are_monotone",
        axis="Landscape geometry",
        statement=(
            "The training loss falls all along the straight path from initial to final weights in at least four of "
            "five networks."
        ),
        number="Share of networks whose path stays within 1 % of its range of its running minimum",
        measure=share_of("interpolate_monotone", lambda monotone: monotone, {}),
        rule=above(0.8, step=SHARE),
        needs="interpolation",
        of="networks",
    ),
    Finding(
        name="few_directions_carry_the_curvature",
        axis="Landscape geometry",
        statement=(
            "Curvature is concentrated: the Hessian's trace is less than ten times its largest eigenvalue in at least "
            "four of five networks."
        ),
        number="Share of networks whose trace is less than ten times the largest eigenvalue",
        measure=share_of_concentrated_traces,
        rule=above(0.8, step=SHARE),
        needs="Hessians",
        of="networks",
    ),
    Finding(
        name="sharper_solutions_have_a_higher_test_loss",
        axis="Landscape geometry",
        statement="Networks of higher average sharpness have a higher test loss.",
        number="Kendall's tau-b of sharpness and test loss within data sets",
        measure=tau("epsilon_sharpness_mean", "test_loss", "within data sets"),
        rule=above(0, step=TAU),
        needs="sharpness",
        of="networks",
    ),
    Finding(
        name="sharper_solutions_have_a_higher_test_loss_with_the_same_optimizer",
        axis="Landscape geometry",
        statement="Networks of higher average sharpness have a higher test loss, also among those of one optimizer.",
        number="Kendall's tau-b of sharpness and test loss within data sets and optimizers",
        measure=tau("epsilon_sharpness_mean", "test_loss", "within data sets and optimizers"),
        rule=above(0, step=TAU),
        needs="sharpness",
        of="networks",
    ),
    Finding(
        name="sharper_solutions_generalize_worse",
        axis="Landscape geometry",
        statement="Networks of higher average sharpness have a larger gap between test and training loss.",
        number="Kendall's tau-b of sharpness and generalization gap within data sets",
        measure=tau("epsilon_sharpness_mean", "generalization_gap", "within data sets"),
        rule=above(0, step=TAU),
        needs="sharpness",
        of="networks",
    ),
    Finding(
        name="sharper_solutions_generalize_worse_with_the_same_optimizer",
        axis="Landscape geometry",
        statement=(
            "Networks of higher average sharpness have a larger gap between test and training loss, also among those "
            "of one optimizer."
        ),
        number="Kendall's tau-b of sharpness and generalization gap within data sets and optimizers",
        measure=tau("epsilon_sharpness_mean", "generalization_gap", "within data sets and optimizers"),
        rule=above(0, step=TAU),
        needs="sharpness",
        of="networks",
    ),
    Finding(
        name="sharper_solutions_have_a_higher_test_loss_with_training_loss_held",
        axis="Landscape geometry",
        statement="Networks of higher average sharpness have a higher test loss, with the training loss held.",
        number="Partial tau of sharpness and test loss within data sets, training loss held",
        measure=tau("epsilon_sharpness_mean", "test_loss", "within data sets", partial=True),
        rule=above(0, step=TAU),
        needs="sharpness",
        of="networks",
    ),
    Finding(
        name="sharper_solutions_generalize_worse_with_training_loss_held",
        axis="Landscape geometry",
        statement=(
            "Networks of higher average sharpness have a larger gap between test and training loss, with the training "
            "loss held."
        ),
        number="Partial tau of sharpness and generalization gap within data sets, training loss held",
        measure=tau("epsilon_sharpness_mean", "generalization_gap", "within data sets", partial=True),
        rule=above(0, step=TAU),
        needs="sharpness",
        of="networks",
    ),
)
