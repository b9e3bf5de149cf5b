"""Findings on the activation, most of them on Tanh beside ReLU and GELU."""

from __future__ import annotations

from lossatlas.study.analysis.evidence import (
    DEEP_TANH,
    DEEP_TANH_AGAINST_SMOOTH_ADAM,
    DEEP_TANH_SGD_AGAINST_SMOOTH_ADAM,
    TANH,
    equal_loss_mean_of,
    mean_of,
    share_above_zero,
)
from lossatlas.study.analysis.findings.finding import ACCURACY, EQUAL_LOSS, NATS, RATIO, SEEDS, SHARE, Finding
from lossatlas.study.analysis.rules import above, below, within

FINDINGS: tuple[Finding, ...] = (
    Finding(
        name="tanh_is_less_accurate",
        axis="Activation",
        statement="Tanh networks have a lower test accuracy than ReLU and GELU networks.",
        number="Test accuracy with Tanh minus the mean of ReLU and GELU",
        measure=mean_of(TANH, "test_accuracy"),
        rule=below(0, step=ACCURACY),
        needs="matched networks of all three activations",
    ),
    Finding(
        name="tanh_consistently_has_a_higher_loss",
        axis="Activation",
        statement=(
            "Tanh has a higher test loss than the mean of ReLU and GELU in at least four of five matched comparisons."
        ),
        number="Share of matched comparisons in which Tanh has the higher test loss",
        measure=share_above_zero(TANH, "test_loss"),
        rule=above(0.8, step=SHARE),
        needs="matched networks of all three activations",
    ),
    Finding(
        name="tanh_is_sharper",
        axis="Activation",
        statement="Tanh solutions have a higher average sharpness than ReLU and GELU solutions.",
        number="Sharpness with Tanh over that with ReLU and GELU",
        measure=mean_of(TANH, "log10 epsilon_sharpness_mean"),
        rule=above(0, step=RATIO),
        needs="sharpness of all three activations",
        log10=True,
    ),
    Finding(
        name="tanh_has_larger_eigenvalues",
        axis="Activation",
        statement="Tanh solutions have larger leading Hessian eigenvalues than ReLU and GELU solutions.",
        number="Top eigenvalue with Tanh over that with ReLU and GELU",
        measure=mean_of(TANH, "log10 spectrum_top_eigenvalue"),
        rule=above(0, step=RATIO),
        needs="Hessians of all three activations",
        log10=True,
    ),
    Finding(
        name="tanh_is_sharper_at_equal_loss",
        axis="Activation",
        statement="At equal training loss, Tanh has a higher average sharpness than ReLU and GELU.",
        number="Sharpness with Tanh over that with ReLU and GELU, at equal training loss",
        measure=equal_loss_mean_of(TANH, "epsilon_sharpness_mean"),
        rule=above(0, step=RATIO),
        needs="curvature along training of all three activations at a common loss",
        log10=True,
        at=EQUAL_LOSS,
    ),
    Finding(
        name="tanh_has_larger_eigenvalues_at_equal_loss",
        axis="Activation",
        statement="At equal training loss, Tanh has larger leading Hessian eigenvalues than ReLU and GELU.",
        number="Top eigenvalue with Tanh over that with ReLU and GELU, at equal training loss",
        measure=equal_loss_mean_of(TANH, "spectrum_top_eigenvalue"),
        rule=above(0, step=RATIO),
        needs="curvature along training of all three activations at a common loss",
        log10=True,
        at=EQUAL_LOSS,
    ),
    Finding(
        name="tanh_has_higher_barriers",
        axis="Activation",
        statement="Seeds of Tanh networks are connected over higher barriers than those of ReLU and GELU networks.",
        number="Barrier with Tanh minus the mean of ReLU and GELU",
        measure=mean_of(TANH, "linear_connectivity_barrier"),
        rule=above(0, step=NATS),
        needs="pairs of seeds of all three activations",
        of=SEEDS,
    ),
    Finding(
        name="tanh_paths_are_rougher",
        axis="Activation",
        statement="The path from initial to final weights rises further on its way for Tanh than for ReLU and GELU.",
        number="Rise of the training loss on the interpolation path, Tanh minus the mean of ReLU and GELU",
        measure=mean_of(TANH, "interpolate_rise"),
        rule=above(0, step=NATS),
        needs="interpolation of all three activations",
    ),
    Finding(
        name="deep_tanh_has_larger_eigenvalues",
        axis="Activation",
        statement=(
            "Tanh networks of four hidden layers have larger leading Hessian eigenvalues than ReLU and GELU networks "
            "trained with Adam."
        ),
        number="Top eigenvalue of Tanh (both optimizers) over that of ReLU and GELU with Adam, four hidden layers",
        measure=mean_of(DEEP_TANH_AGAINST_SMOOTH_ADAM, "log10 spectrum_top_eigenvalue"),
        rule=above(0, step=RATIO),
        needs="Hessians of four-layer networks of all three activations with both optimizers",
        log10=True,
    ),
    Finding(
        name="deep_tanh_sgd_is_sharper",
        axis="Activation",
        statement=(
            "Tanh networks of four hidden layers trained with SGD have a higher average sharpness than ReLU and GELU "
            "networks trained with Adam."
        ),
        number="Sharpness of Tanh with SGD over that of ReLU and GELU with Adam, four hidden layers",
        measure=mean_of(DEEP_TANH_SGD_AGAINST_SMOOTH_ADAM, "log10 epsilon_sharpness_mean"),
        rule=above(0, step=RATIO),
        needs="sharpness of four-layer networks of all three activations with both optimizers",
        log10=True,
    ),
    Finding(
        name="deep_tanh_has_larger_eigenvalues_with_the_same_optimizer",
        axis="Activation",
        statement=(
            "Among four-layer networks trained with the same optimizer, Tanh has larger leading Hessian eigenvalues "
            "than ReLU and GELU."
        ),
        number="Top eigenvalue of Tanh over that of ReLU and GELU, four hidden layers, same optimizer",
        measure=mean_of(DEEP_TANH, "log10 spectrum_top_eigenvalue"),
        rule=above(0, step=RATIO),
        needs="Hessians of four-layer networks of all three activations",
        log10=True,
    ),
    Finding(
        name="deep_tanh_is_sharper_with_the_same_optimizer",
        axis="Activation",
        statement=(
            "Among four-layer networks trained with the same optimizer, Tanh has a higher average sharpness than "
            "ReLU and GELU."
        ),
        number="Sharpness of Tanh over that of ReLU and GELU, four hidden layers, same optimizer",
        measure=mean_of(DEEP_TANH, "log10 epsilon_sharpness_mean"),
        rule=above(0, step=RATIO),
        needs="sharpness of four-layer networks of all three activations",
        log10=True,
    ),
    Finding(
        name="sharpness_differences_are_not_extreme",
        axis="Activation",
        statement=(
            "The sharpness of four-layer Tanh networks trained with SGD and of ReLU and GELU networks trained with "
            "Adam is within a factor of ten."
        ),
        number="Sharpness of Tanh with SGD over that of ReLU and GELU with Adam, four hidden layers",
        measure=mean_of(DEEP_TANH_SGD_AGAINST_SMOOTH_ADAM, "log10 epsilon_sharpness_mean"),
        rule=within(1.0, step=RATIO),
        needs="sharpness of four-layer networks of all three activations with both optimizers",
        log10=True,
    ),
)
