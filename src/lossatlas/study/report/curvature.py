"""Curvature at the solutions, sharpness around them, and whether either goes with generalization."""

from __future__ import annotations

from collections.abc import Sequence

from lossatlas.document.blocks import Block, Items, Paragraph, Section, Text
from lossatlas.numbers import Row, counted, loss_text
from lossatlas.study.report.material import Material
from lossatlas.study.report.statements import OUTCOMES, correlation_table, factor_table, findings, findings_table


def hessian(material: Material) -> Section | None:
    rows = measured(material, "spectrum_top_eigenvalue")
    if not rows:
        return None
    settings = vars(material.study.probes.settings("spectrum"))
    negative = sum(row["spectrum_smallest_eigenvalue"] < 0 for row in rows)
    words = (
        f"Of the Hessian of the training loss at the final weights: the {settings['k']} largest eigenvalues and "
        f"the smallest by Lanczos iteration, and the trace by Hutchinson's estimator with {settings['samples']} random "
        "vectors, all from Hessian-vector products in double precision; no matrix is formed. Residuals and standard "
        "errors stand beside the values in the folder of each run."
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
    blocks = (Paragraph((words,)), Items(tuple(text for text in ranges if text)))
    sections = [
        _spectra(material),
        _by_factor(material, "hessian", ("spectrum_top_eigenvalue", "spectrum_trace")),
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
    rows = measured(material, "epsilon_sharpness_maximum")
    correlations = correlation_table(material, "correlations-table")
    if not rows:
        return None
    settings = vars(material.study.probes.settings("epsilon_sharpness"))
    samples, share = settings["samples"], f"{100 * settings['radius']:g} %"
    words = (
        f"Epsilon-sharpness is the largest increase of the training loss among {samples} random directions that move "
        f"every parameter tensor by {share} of its norm. Where the Hessian speaks of an infinitely small "
        "neighbourhood, this speaks of a finite one."
    )
    blocks = (
        Paragraph((words,)),
        Items(
            (
                extremes(material, rows, "epsilon_sharpness_maximum", "Largest increase"),
                extremes(material, rows, "epsilon_sharpness_mean", "Mean increase"),
            )
        ),
    )
    runs = [*material.under_each_optimizer("large", "tanh"), material.example("small", "relu", "adam")]
    what = "Increases of the loss under random perturbations"
    figures = material.figures_of("histogram", runs, probe="epsilon_sharpness", kind="hist", what=what)
    sections = [
        Section("histograms", "Example histograms", tuple(figures)) if figures else None,
        _by_factor(material, "sharpness", ("epsilon_sharpness_maximum",)),
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
