"""How well the networks classify: overall, by design choice, and on other data sets."""

from __future__ import annotations

from lossatlas.document.blocks import Block, Items, Paragraph, Reference, Section
from lossatlas.numbers import Row, accuracy_text, counted, interval_text, listed, loss_text
from lossatlas.study.report import grids
from lossatlas.study.report.comparisons import planes_of
from lossatlas.study.report.grids import TEST_MEANS
from lossatlas.study.report.levels import mixed
from lossatlas.study.report.material import Material, Size
from lossatlas.study.report.statements import (
    contrast_sentences,
    contrast_table,
    contrasts,
    findings,
    findings_table,
    matched,
)
from lossatlas.study.report.strips import strip_figure


def performance(material: Material) -> Section:
    pictures = [strip_figure(material, name) for name in ("test_accuracy", "test_loss")]
    sections = [
        _overall(material),
        _shape(material),
        _activations(material),
        _curves(material),
        _expectations(material),
        _other_data_sets(material),
    ]
    present = tuple(section for section in sections if section)
    if not material.rows("runs"):
        return Section("performance", "Performance", (Paragraph(("No run has been trained yet.",)),))
    return Section("performance", "Performance", tuple(picture for picture in pictures if picture), present)


def level_sentences(rows: list[Row], factor: str) -> Items:
    return Items(
        tuple(
            (
                f"{factor.capitalize()} {row[factor]}: test accuracy "
                f"{interval_text(row, 'mean_test_accuracy', accuracy_text)}, test loss "
                f"{interval_text(row, 'mean_test_loss', loss_text)}, n = {row['n']} runs",
            )
            for row in rows
        )
    )


def _overall(material: Material) -> Section:
    rows = material.rows("configurations")
    accurate = [row for row in rows if row["n"] and row["mean_test_accuracy"] >= 0.99]
    kept = sum(row["n"] for row in rows)
    blocks: list[Block] = [
        Paragraph(
            (
                f"{counted(kept, 'run')} in {counted(len(rows), 'configuration')} did not diverge. "
                f"{len(accurate)} of the {counted(len(rows), 'configuration')} reach a mean test accuracy of 0.99 or "
                "more. Every run is in ",
                Reference("appendix-runs"),
                ". By optimizer (",
                Reference("appendix-optimizer"),
                "):",
            )
        ),
        level_sentences(material.rows("optimizer"), "optimizer"),
    ]
    found = [
        row
        for outcome in ("test_accuracy", "test_loss")
        for row in contrasts(material, factor="optimizer", outcome=outcome)
    ]
    blocks += [Paragraph(("In matched pairs:",)), Items(tuple(contrast_sentences(found)))] if found else []
    if material.study.regularization.weight_decays:
        blocks.append(Paragraph(("What weight decay changes is in ", Reference("regularization"), ".")))
    return Section("overall", "Overall accuracy and the optimizer", tuple(blocks))


def _shape(material: Material) -> Section:
    blocks: list[Block] = []
    for factor in ("depth", "width"):
        rows = material.rows(factor)
        if not rows:
            continue
        blocks += [Paragraph((f"By {factor} (", Reference(f"appendix-{factor}"), "):")), level_sentences(rows, factor)]
        others = [name.replace("_", " ") for name in mixed(material, factor)]
        if others:
            words = f"These rows differ in {listed(others)} too, so they do not show the effect of {factor} alone."
            blocks.append(Paragraph((words,)))
    rows = [
        row
        for factor in ("depth", "width")
        for outcome in ("test_accuracy", "test_loss")
        for row in contrasts(material, factor=factor, outcome=outcome)
    ]
    if rows:
        words = f"At equal width and at equal depth, where the study has such pairs: {_counted_sides(rows)}."
        blocks += [Paragraph((words,)), Items(tuple(contrast_sentences(rows)))]
    else:
        words = "The study has no networks that differ in depth only or in width only: no such comparison can be made."
        blocks.append(Paragraph((words,)))
    return Section("shape", "Depth and width", tuple(blocks))


def _counted_sides(rows: list[Row]) -> str:
    clear = sum(row["low"] > 0 or row["high"] < 0 for row in rows)
    return f"the interval leaves out zero in {clear} of {counted(len(rows), 'comparison')}"


def _activations(material: Material) -> Section:
    blocks: list[Block] = [
        Paragraph(("By activation (", Reference("appendix-activation"), "):")),
        level_sentences(material.rows("activation"), "activation"),
    ]
    rows = [
        row
        for outcome in ("test_accuracy", "test_loss")
        for row in contrasts(material, factor="activation", outcome=outcome)
    ]
    caption = matched("Test accuracy and loss of every two activations.", rows)
    blocks += contrast_table("activation-contrasts", caption, rows)
    words = ("tanh_most", "tanh_is_less", "tanh_consistently")
    caption = ("Activation and optimizer together.",)
    blocks += findings_table("interaction-findings", caption, findings(material, words=words))
    return Section("activations", "Activation and optimizer", tuple(blocks))


def _curves(material: Material) -> Section | None:
    examples: tuple[tuple[Size, str], ...] = (("large", "tanh"), ("small", "gelu"))
    what = "Training and test loss from initial (0) to final weights (1)"
    large, small = (
        material.figures_of(
            f"curve-{size}",
            material.under_each_optimizer(size, activation),
            probe="interpolate",
            kind="loss",
            what=what,
        )
        for size, activation in examples
    )
    if not (large or small):
        return None
    words = (
        "How far training lowered the loss shows on the straight line from where a network began to where it ended. "
        "The deepest and the shallowest network under each optimizer, one seed each; curves of other seeds are in "
        "the folders of their runs."
    )
    return Section("curves", "Example curves", (Paragraph((words,)), *large, *small))


def _expectations(material: Material) -> Section | None:
    words = ("accura", "adam_fits", "adam_generalizes", "most_networks")
    rows = findings(material, words=words)
    if not rows:
        return None
    text = (
        "Networks with more parameters than examples should fit small tasks closely under many designs. Whether "
        "adaptive methods generalize worse than SGD depends on the regime (",
        Reference("references"),
        ").",
    )
    table = findings_table("performance-findings", ("Expected and found: performance.",), rows)
    return Section("performance-expectations", "Expected and found", (Paragraph(text), *table))


def _other_data_sets(material: Material) -> Section | None:
    datasets = material.study.data.datasets
    if len(datasets) < 2:
        return None
    rows = [
        row for name in ("test_accuracy", "test_loss") for row in contrasts(material, factor="dataset", outcome=name)
    ]
    caption = matched("Every two data sets.", rows)
    blocks: list[Block] = [*contrast_table("dataset-contrasts", caption, rows)]
    columns = [grids.plain(name.capitalize(), name) for name in ("dataset", "architecture", "activation", "optimizer")]
    caption = ("The configuration with the lowest and the highest mean test loss on each data set.",)
    blocks.append(grids.table("dataset-extremes", caption, [*columns, *TEST_MEANS], _extremes(material)))
    caption = ("Findings on data sets.",)
    blocks += findings_table("dataset-findings", caption, findings(material, axes=("Datasets",)))
    runs = [material.example("large", "tanh", "sgd", dataset=dataset) for dataset in datasets]
    blocks += planes_of(material, "dataset-surface", runs)
    return Section("datasets", "Other data sets", tuple(blocks))


def _extremes(material: Material) -> list[Row]:
    found = []
    for dataset in material.study.data.datasets:
        rows = [row for row in material.rows("configurations") if row["dataset"] == dataset and row["n"]]
        ranked = sorted(rows, key=lambda row: row["mean_test_loss"])
        found += [ranked[0], ranked[-1]] if len(ranked) > 1 else ranked
    return found
