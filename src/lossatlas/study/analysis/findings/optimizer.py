"""Findings on SGD and Adam."""

from __future__ import annotations

from lossatlas.study.analysis.evidence import ADAM, ADAM_MORE_UNDER_TANH, SGD, equal_loss_mean_of, mean_of
from lossatlas.study.analysis.findings.finding import ACCURACY, EQUAL_LOSS, RATIO, Finding
from lossatlas.study.analysis.rules import above, below

FINDINGS: tuple[Finding, ...] = (
    Finding(
        name="adam_fits_closer",
        axis="Optimizer",
        statement="Adam reaches a lower training loss than SGD.",
        number="Training loss with Adam over that with SGD",
        measure=mean_of(ADAM, "log10 train_loss"),
        rule=below(0, step=RATIO),
        needs="matched networks of both optimizers",
        log10=True,
    ),
    Finding(
        name="adam_generalizes_better",
        axis="Optimizer",
        statement="Adam reaches a lower test loss than SGD.",
        number="Test loss with Adam over that with SGD",
        measure=mean_of(ADAM, "log10 test_loss"),
        rule=below(0, step=RATIO),
        needs="matched networks of both optimizers",
        log10=True,
    ),
    Finding(
        name="adam_is_more_accurate",
        axis="Optimizer",
        statement="Adam reaches a higher test accuracy than SGD.",
        number="Test accuracy with Adam minus with SGD",
        measure=mean_of(ADAM, "test_accuracy"),
        rule=above(0, step=ACCURACY),
        needs="matched networks of both optimizers",
    ),
    Finding(
        name="adam_helps_tanh_most",
        axis="Optimizer",
        statement="Adam raises the test accuracy over that of SGD further for Tanh than for ReLU and GELU.",
        number="What Adam adds to the test accuracy over SGD, with Tanh minus the mean of ReLU and GELU",
        measure=mean_of(ADAM_MORE_UNDER_TANH, "test_accuracy"),
        rule=above(0, step=ACCURACY),
        needs="matched networks of all three activations with both optimizers",
    ),
    Finding(
        name="sgd_is_sharper",
        axis="Optimizer",
        statement="SGD solutions have a higher average sharpness than Adam solutions.",
        number="Sharpness with SGD over that with Adam",
        measure=mean_of(SGD, "log10 epsilon_sharpness_mean"),
        rule=above(0, step=RATIO),
        needs="sharpness of both optimizers",
        log10=True,
    ),
    Finding(
        name="sgd_has_larger_eigenvalues",
        axis="Optimizer",
        statement="SGD solutions have larger leading Hessian eigenvalues than Adam solutions.",
        number="Top eigenvalue with SGD over that with Adam",
        measure=mean_of(SGD, "log10 spectrum_top_eigenvalue"),
        rule=above(0, step=RATIO),
        needs="Hessians of both optimizers",
        log10=True,
    ),
    Finding(
        name="sgd_is_sharper_at_equal_loss",
        axis="Optimizer",
        statement="At equal training loss, SGD has a higher average sharpness than Adam.",
        number="Sharpness with SGD over that with Adam, at equal training loss",
        measure=equal_loss_mean_of(SGD, "epsilon_sharpness_mean"),
        rule=above(0, step=RATIO),
        needs="curvature along training of both optimizers at a common loss",
        log10=True,
        at=EQUAL_LOSS,
    ),
    Finding(
        name="sgd_has_larger_eigenvalues_at_equal_loss",
        axis="Optimizer",
        statement="At equal training loss, SGD has larger leading Hessian eigenvalues than Adam.",
        number="Top eigenvalue with SGD over that with Adam, at equal training loss",
        measure=equal_loss_mean_of(SGD, "spectrum_top_eigenvalue"),
        rule=above(0, step=RATIO),
        needs="curvature along training of both optimizers at a common loss",
        log10=True,
        at=EQUAL_LOSS,
    ),
)
