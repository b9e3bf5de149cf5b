"""Findings on the four data sets: which are learnt, which are easy, and on which the design matters."""

from __future__ import annotations

from lossatlas.study.analysis.evidence import (
    EASY_DATA,
    MLP,
    XOR,
    accuracy_on_the_hardest_data_set,
    mean_of,
    sensitivity_of_xor,
    share_of,
)
from lossatlas.study.analysis.findings.finding import ACCURACY, NATS, RATIO, SEEDS, SHARE, Finding
from lossatlas.study.analysis.rules import above, below

_FOUR = "networks on all of moons, circles, gaussians and xor"

FINDINGS: tuple[Finding, ...] = (
    Finding(
        name="all_data_sets_are_learnt",
        axis="Datasets",
        statement=(
            "Multilayer perceptrons reach a mean test accuracy of 0.95 or more on each of moons, circles, gaussians "
            "and xor."
        ),
        number="Mean test accuracy on the data set where it is lowest",
        measure=accuracy_on_the_hardest_data_set,
        rule=above(0.95, step=ACCURACY),
        needs=_FOUR,
        of="networks",
    ),
    Finding(
        name="most_networks_are_accurate",
        axis="Datasets",
        statement="At least four of five multilayer perceptrons have a test accuracy of 0.95 or more.",
        number="Share of multilayer perceptrons with a test accuracy of at least 0.95",
        measure=share_of("test_accuracy", lambda accuracy: accuracy >= 0.95, {"family": MLP}),
        rule=above(0.8, step=SHARE),
        needs="multilayer perceptrons",
        of="networks",
    ),
    Finding(
        name="most_networks_fit_the_training_data",
        axis="Datasets",
        statement="More than half of the multilayer perceptrons reach a training loss near zero (0.05 nats or less).",
        number="Share of multilayer perceptrons with a training loss of at most 0.05",
        measure=share_of("train_loss", lambda loss: loss <= 0.05, {"family": MLP}),
        rule=above(0.5, step=SHARE),
        needs="multilayer perceptrons",
        of="networks",
    ),
    Finding(
        name="circles_and_gaussians_are_easiest",
        axis="Datasets",
        statement="Test losses are lower on circles and gaussians than on moons and xor.",
        number="Test loss on circles and gaussians over that on moons and xor",
        measure=mean_of(EASY_DATA, "log10 test_loss"),
        rule=below(0, step=RATIO),
        needs=_FOUR,
        log10=True,
    ),
    Finding(
        name="xor_is_most_sensitive",
        axis="Datasets",
        statement=(
            "Test accuracy depends more on architecture and activation on xor than on moons, circles and gaussians."
        ),
        number=(
            "Standard deviation of the test accuracy between architectures and activations, xor minus the largest other"
        ),
        measure=sensitivity_of_xor,
        rule=above(0, step=ACCURACY),
        needs=_FOUR,
        of="networks",
    ),
    Finding(
        name="xor_has_higher_barriers",
        axis="Datasets",
        statement="Barriers between seeds are higher on xor than on moons, circles and gaussians.",
        number="Barrier on xor minus that on the other data sets",
        measure=mean_of(XOR, "linear_connectivity_barrier"),
        rule=above(0, step=NATS),
        needs=_FOUR,
        of=SEEDS,
    ),
)
