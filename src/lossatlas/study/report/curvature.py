"""Curvature at the solutions, sharpness around them, and whether either goes with generalization."""

from __future__ import annotations

from collections.abc import Sequence

from lossatlas.document.blocks import Block, Items, Paragraph, Section, Text
from lossatlas.numbers import Row, counted, loss_text
from lossatlas.study.report.equal_loss import equal_loss
from lossatlas.study.report.influence import influence
from lossatlas.study.report.material import Material
from lossatlas.study.report.standing import standing_words
from lossatlas.study.report.statements import OUTCOMES, correlation_table, factor_table, findings, findings_table
from lossatlas.study.report.strips import strip_figure


def hessian(material: Material) -> Section | None:
    rows = measured(material, "spectrum_top_eigenvalue")
    if not rows:
        return None
    settings = vars(material.study.probes.settings("spectrum"))
    negative = sum(row["spectrum_smallest_eigenvalue"] < 0 for row in rows)
    words = (
        f"The Hessian is that of the training loss at the final weights. Lanczos iteration finds its {settings['k']} "
        f"largest eigenvalues and the smallest. Hutchinson's estimator finds the trace, from {settings['samples']} "
        "random vectors. Every run's folder has the residuals and standard errors."
    )
    ranges: list[Text] = [
        extremes(material, rows, "spectrum_top_eigenvalue", "Top eigenvalue"),
        extremes(material, rows, "spectrum_trace", "Trace"),
        extremes(material, rows, "spectrum_smallest_eigenvalue", "Smallest eigenvalue"),
        (
            f"The smallest eigenvalue is negative in {negative} of {counted(len(rows), 'run')}: there the end of "
            "training is no strict minimum of the training loss",
        ),
    ]
    words += standing_words(rows)
    picture = strip_figure(material, "spectrum_top_eigenvalue")
    blocks = (*([picture] if picture else []), Paragraph((words,)), Items(tuple(text for text in ranges if text)))
    sections = [
        _spectra(material),
        _by_factor(material, "hessian", ("spectrum_top_eigenvalue", "spectrum_trace")),
        equal_loss(material),
        influence(material),
        _expected(
            material,
            "hessian",
            ("eigenvalue", "curvature"),
            "Spectra of trained networks are expected to be skewed: a few large eigenvalues and a bulk near zero "
            "(Ghorbani et al. 2019), with a scale that depends on architecture and training (Yao et al. 2020).",
        ),
    ]
    return Section("hessian", "Hessian and curvature", blocks, tuple(section for section in sections if section))


def sharpness(material: Material) -> Section | None:
    rows = measured(material, "epsilon_sharpness_mean")
    correlations = correlation_table(material, "correlations-table")
    if not rows:
        return None
    settings = vars(material.study.probes.settings("epsilon_sharpness"))
    share = f"{100 * settings['radius']:g} %"
    words = (
        f"Every parameter tensor is moved by {share} of its norm, in a random direction and in the opposite one. "
        "Average sharpness is the mean rise of both: the slope cancels, curvature is left. Adaptive sharpness moves "
        "every parameter by a share of its own size, which a rescaling of layers or units does not change."
    )
    warning = f"{_slope(material)}{standing_words(rows)}".strip()
    picture = strip_figure(material, "epsilon_sharpness_mean")
    ranges = (
        extremes(material, rows, "epsilon_sharpness_mean", "Average sharpness"),
        extremes(material, rows, "epsilon_sharpness_adaptive_mean", "Adaptive sharpness"),
        extremes(material, rows, "epsilon_sharpness_maximum", "Largest increase"),
    )
    blocks = (
        *([picture] if picture else []),
        Paragraph((words,)),
        *([Paragraph((warning,))] if warning else []),
        Items(tuple(text for text in ranges if text)),
    )
    runs = [*material.under_each_optimizer("large", "tanh"), material.example("small", "relu", "adam")]
    what = "Changes of the loss under random perturbations, even part filled and the size of the odd part dotted"
    figures = material.figures_of("histogram", runs, probe="epsilon_sharpness", kind="hist", what=what)
    sections = [
        Section("histograms", "Example histograms", tuple(figures)) if figures else None,
        _by_factor(material, "sharpness", ("epsilon_sharpness_mean", "epsilon_sharpness_adaptive_mean")),
        Section("correlations", "Geometry and generalization", tuple(correlations)) if correlations else None,
        _expected(
            material,
            "sharpness",
            ("sharp",),
            "Flat minima are thought to generalize better (Hochreiter and Schmidhuber 1997; Keskar et al. 2017), but "
            "sharpness changes under rescalings that leave the function alone (Dinh et al. 2017), so that it can be "
            "compared at most between networks of one parametrisation.",
        ),
    ]
    return Section("sharpness", "Sharpness", blocks, tuple(section for section in sections if section))


def _slope(material: Material) -> str:
    """How much of the largest increases is slope, over the networks."""
    shares = [row["epsilon_sharpness_gradient_share"] for row in measured(material, "epsilon_sharpness_gradient_share")]
    if not shares:
        return ""
    over_half = sum(share > 0.5 for share in shares)
    return (
        f" In {over_half} of {counted(len(shares), 'network')} the slope is more than half of the largest increase, "
        "which then says little of curvature."
    )


def extremes(material: Material, rows: Sequence[Row], name: str, what: str) -> Text:
    """The smallest and the largest value of a measure, and the runs that have them."""
    known = sorted((row for row in rows if row.get(name) == row.get(name, 0.0)), key=lambda row: row[name])
    if not known:
        return ()
    low, high = known[0], known[-1]
    return (
        f"{what}: from {loss_text(low[name])} (",
        material.link(material.run_of(low)),
        f") to {loss_text(high[name])} (",
        material.link(material.run_of(high)),
        f"), n = {len(known)} runs",
    )


def measured(material: Material, name: str) -> list[Row]:
    return [row for row in material.rows("runs") if row.get(name, float("nan")) == row.get(name)]


def _spectra(material: Material) -> Section | None:
    runs = [*material.under_each_optimizer("large", "tanh"), material.example("small", "relu", "adam")]
    what = "Leading eigenvalues of the Hessian"
    figures = material.figures_of("spectrum", runs, probe="spectrum", kind="spectrum", what=what)
    return Section("spectra", "Example spectra", tuple(figures)) if figures else None


def _by_factor(material: Material, label: str, outcomes: Sequence[str]) -> Section | None:
    blocks: list[Block] = []
    for outcome in outcomes:
        name = OUTCOMES[outcome][0].upper() + OUTCOMES[outcome][1:]
        blocks += factor_table(material, f"{outcome.replace('_', '-')}-contrasts", name, outcome)
    return Section(f"{label}-factors", "By design choice", tuple(blocks)) if blocks else None


def _expected(material: Material, label: str, words: Sequence[str], text: str) -> Section | None:
    rows = findings(material, words=words)
    table = findings_table(f"{label}-findings", (f"Expected and found: {label}.",), rows)
    return Section(f"{label}-expectations", "Expected and found", (Paragraph((text,)), *table)) if rows else None
