"""Findings on depth and width."""

from __future__ import annotations

from lossatlas.study.analysis.contrasts import between
from lossatlas.study.analysis.evidence import DEEPER, DEEPER_ARCHITECTURES, MODERATE_ARCHITECTURES, mean_of
from lossatlas.study.analysis.findings.finding import ACCURACY, NATS, SEEDS, Finding
from lossatlas.study.analysis.rules import above, below

_EQUAL_WIDTH = "networks with one and with more hidden layers of the same width"

FINDINGS: tuple[Finding, ...] = (
    Finding(
        name="deeper_is_more_accurate_at_equal_width",
        axis="Depth",
        statement=(
            "Networks with several hidden layers have a higher test accuracy than those with one of the same width."
        ),
        number="Test accuracy with several hidden layers minus with one, at equal width",
        measure=mean_of(DEEPER, "test_accuracy"),
        rule=above(0, step=ACCURACY),
        needs=_EQUAL_WIDTH,
    ),
    Finding(
        name="four_layers_are_more_accurate_than_two",
        axis="Depth",
        statement="Networks with four hidden layers have a higher test accuracy than those with two of the same width.",
        number="Test accuracy with four hidden layers minus with two, at equal width",
        measure=mean_of(between("depth", 2, 4), "test_accuracy"),
        rule=above(0, step=ACCURACY),
        needs="networks with two and with four hidden layers of the same width",
    ),
    Finding(
        name="deeper_architectures_are_more_accurate",
        axis="Depth",
        statement=(
            "Averaged over this study's architectures, deeper networks have a higher test accuracy than shallow "
            "ones; their widths differ too."
        ),
        number=(
            "Test accuracy, mean of the deeper architectures minus mean of those with one hidden layer, widths not held"
        ),
        measure=mean_of(DEEPER_ARCHITECTURES, "test_accuracy"),
        rule=above(0, step=ACCURACY),
        needs="architectures with one and with more hidden layers",
        of="matched groups of networks",
    ),
    Finding(
        name="deeper_has_lower_barriers_at_equal_width",
        axis="Depth",
        statement="Seeds are connected over lower barriers with several hidden layers than with one of the same width.",
        number="Barrier with several hidden layers minus with one, at equal width",
        measure=mean_of(DEEPER, "linear_connectivity_barrier"),
        rule=below(0, step=NATS),
        needs=_EQUAL_WIDTH,
        of=SEEDS,
    ),
    Finding(
        name="deeper_architectures_have_lower_barriers",
        axis="Depth",
        statement=(
            "Averaged over this study's architectures, seeds of deeper networks are connected over lower barriers "
            "than those of shallow ones; their widths differ too."
        ),
        number="Barrier, mean of the deeper architectures minus mean of those with one hidden layer, widths not held",
        measure=mean_of(DEEPER_ARCHITECTURES, "linear_connectivity_barrier"),
        rule=below(0, step=NATS),
        needs="pairs of seeds of architectures with one and with more hidden layers",
        of=SEEDS,
    ),
    Finding(
        name="width_100_is_more_accurate_than_50",
        axis="Width",
        statement="A width of 100 gives a higher test accuracy than one of 50 at equal depth.",
        number="Test accuracy at width 100 minus at width 50, at equal depth",
        measure=mean_of(between("width", 50, 100), "test_accuracy"),
        rule=above(0, step=ACCURACY),
        needs="networks of widths 100 and 50 and the same depth",
    ),
    Finding(
        name="width_100_is_more_accurate_than_250",
        axis="Width",
        statement="A width of 100 gives a higher test accuracy than one of 250 at equal depth.",
        number="Test accuracy at width 100 minus at width 250, at equal depth",
        measure=mean_of(between("width", 250, 100), "test_accuracy"),
        rule=above(0, step=ACCURACY),
        needs="networks of widths 100 and 250 and the same depth",
    ),
    Finding(
        name="width_100_is_more_accurate_than_500",
        axis="Width",
        statement="A width of 100 gives a higher test accuracy than one of 500 at equal depth.",
        number="Test accuracy at width 100 minus at width 500, at equal depth",
        measure=mean_of(between("width", 500, 100), "test_accuracy"),
        rule=above(0, step=ACCURACY),
        needs="networks of widths 100 and 500 and the same depth",
    ),
    Finding(
        name="moderate_architectures_are_most_accurate",
        axis="Width",
        statement=(
            "2x100 and 4x100 have a higher mean test accuracy than the narrow 1x50 and the wide 1x500; their depths "
            "differ too."
        ),
        number="Test accuracy, mean of 2x100 and 4x100 minus mean of 1x50 and 1x500",
        measure=mean_of(MODERATE_ARCHITECTURES, "test_accuracy"),
        rule=above(0, step=ACCURACY),
        needs="networks of all of 1x50, 1x500, 2x100 and 4x100",
        of="matched groups of networks",
    ),
    Finding(
        name="moderate_architectures_have_lower_barriers",
        axis="Width",
        statement=(
            "Seeds of 2x100 and 4x100 are connected over lower barriers than those of 1x50 and 1x500; their depths "
            "differ too."
        ),
        number="Barrier, mean of 2x100 and 4x100 minus mean of 1x50 and 1x500",
        measure=mean_of(MODERATE_ARCHITECTURES, "linear_connectivity_barrier"),
        rule=below(0, step=NATS),
        needs="pairs of seeds of all of 1x50, 1x500, 2x100 and 4x100",
        of=SEEDS,
    ),
)
