"""Findings on weight decay, from 0 to 0.001."""

from __future__ import annotations

from lossatlas.study.analysis.evidence import DECAY, mean_over_weight_decays
from lossatlas.study.analysis.findings.finding import ACCURACY, NATS, RATIO, WIDTH, Finding
from lossatlas.study.analysis.rules import above, below, within

ACCURACY_ALIKE = 0.005  # a smaller difference does not matter: between two and three of the 512 test examples

_DECAYED = "networks trained both without weight decay and with 0.001"
_DECAYS = "networks trained at both weight decays"

FINDINGS: tuple[Finding, ...] = (
    Finding(
        name="weight_decay_leaves_accuracy",
        axis="Regularization",
        statement="Raising the weight decay from 0 to 0.001 changes the mean test accuracy by less than 0.005.",
        number="Test accuracy with weight decay 0.001 minus without",
        measure=mean_over_weight_decays(DECAY, "test_accuracy"),
        rule=within(ACCURACY_ALIKE, step=ACCURACY),
        needs=_DECAYED,
        of=_DECAYS,
    ),
    Finding(
        name="weight_decay_lowers_sharpness",
        axis="Regularization",
        statement="Raising the weight decay from 0 to 0.001 lowers the average sharpness.",
        number="Sharpness with weight decay 0.001 over that without",
        measure=mean_over_weight_decays(DECAY, "log10 epsilon_sharpness_mean"),
        rule=below(0, step=RATIO),
        needs=_DECAYED,
        of=_DECAYS,
        log10=True,
    ),
    Finding(
        name="weight_decay_widens_slices",
        axis="Regularization",
        statement="Raising the weight decay from 0 to 0.001 widens the basin along a random direction.",
        number="Width of the random slice with weight decay 0.001 minus without",
        measure=mean_over_weight_decays(DECAY, "random_line_width"),
        rule=above(0, step=WIDTH),
        needs=_DECAYED,
        of=_DECAYS,
    ),
    Finding(
        name="weight_decay_smooths_paths",
        axis="Regularization",
        statement="Raising the weight decay from 0 to 0.001 lowers the rise on the path from initial to final weights.",
        number="Rise of the training loss on the interpolation path with weight decay 0.001 minus without",
        measure=mean_over_weight_decays(DECAY, "interpolate_rise"),
        rule=below(0, step=NATS),
        needs=_DECAYED,
        of=_DECAYS,
    ),
    Finding(
        name="weight_decay_raises_the_path_minimum",
        axis="Regularization",
        statement=(
            "Raising the weight decay from 0 to 0.001 raises the lowest training loss on the path from initial to "
            "final weights."
        ),
        number="Lowest training loss on the path with weight decay 0.001 over that without",
        measure=mean_over_weight_decays(DECAY, "log10 interpolate_by_weight_decay_minimum"),
        rule=above(0, step=RATIO),
        needs=_DECAYED,
        of=_DECAYS,
        log10=True,
    ),
)
