"""What holds, what limits it, and what would settle the rest."""

from __future__ import annotations

import math

from lossatlas.document.blocks import Block, Items, Paragraph, Reference, Section, Text
from lossatlas.numbers import Row, counted, general_text, listed, step_text
from lossatlas.study.analysis.contrasts import RESOLUTION
from lossatlas.study.report.curvature import extremes
from lossatlas.study.report.levels import FACTORS, calibration, mixed
from lossatlas.study.report.material import Material
from lossatlas.study.report.statements import findings, verdicts
from lossatlas.study.report.verdicts import number


def conclusions(material: Material) -> Section:
    rows = findings(material)
    if not rows:
        words = "No findings have been evaluated, so nothing is concluded."
        return Section("conclusions", "Conclusions", (Paragraph((words,)), *_next(material)))
    note: Text = (
        f"Of {counted(len(rows), 'statement')} {verdicts(rows)}; each stands with its number in ",
        Reference("key-findings"),
        ". By axis:",
    )
    axes = {axis: [row for row in rows if row["axis"] == axis] for axis in dict.fromkeys(row["axis"] for row in rows)}
    lines: list[Text] = [
        (f"{axis}: of {counted(len(inside), 'statement')} {verdicts(inside)}",) for axis, inside in axes.items()
    ]
    blocks: list[Block] = [Paragraph(note), Items(tuple(lines))]
    for verdict, words in (
        ("contradicted", "What the numbers contradict, although it may hold elsewhere:"),
        ("mixed", "What holds in the mean, while comparisons or levels of another factor disagree:"),
        ("undecided", "What they leave undecided:"),
    ):
        said = [row for row in rows if row["verdict"] == verdict]
        if said:
            blocks += [Paragraph((words,)), Items(tuple((_with_evidence(row),) for row in said))]
    return Section("conclusions", "Conclusions", (*blocks, *_next(material)))


def _with_evidence(row: Row) -> str:
    if math.isnan(row["estimate"]):
        return f"{row['statement']} The number that would decide it is undefined here, n = {row['n']}."
    return f"{row['statement']} {row['quantity']}: {number(row)}."


def limits(material: Material) -> Section:
    items = [
        _seeds(material),
        _confounded(material),
        _missing(material),
        _plane(material),
        _hessian(material),
        _test_set(material),
        (
            "One setting for each optimizer: the results are those of this study's configurations, not of "
            "architectures or optimizers in general",
        ),
        _common_numbers(material),
        (
            f"In ratios of losses, eigenvalues, traces and sharpness a value below {general_text(RESOLUTION)}, about "
            "the rounding of a loss in single precision, counts as that: networks that fit their data to the last bit "
            "would else decide every ratio",
        ),
        (
            "Verdicts on findings are controlled for false discoveries (Benjamini and Hochberg). The intervals of "
            "single contrasts are not: of twenty true zeros one leaves out zero by chance",
        ),
    ]
    return Section("limits", "Limits", (Items(tuple(item for item in items if item)),))


def _seeds(material: Material) -> Text:
    most = max((row["n"] for row in material.rows("configurations")), default=0)
    if most < 2:
        return (
            "One seed for each configuration: nothing is known of the spread between seeds, and means have no interval",
        )
    return (f"At most {counted(most, 'network')} for each configuration. {calibration(material)}",)


def _common_numbers(material: Material) -> Text:
    if len(material.study.data.seeds) >= 3:
        return ()
    return (
        "A seed sets the same initialization and the same order of batches in every configuration (common random "
        "numbers), so that configurations are not independent given the seed. With one draw of the data, intervals "
        "over many configurations take the seeds of each on its own and may therefore be too narrow",
    )


def _confounded(material: Material) -> Text:
    if not material.rows("runs"):
        return ()
    found = {factor: [name.replace("_", " ") for name in mixed(material, factor)] for factor in FACTORS}
    said = [f"{factor} with {listed(others)}" for factor, others in found.items() if others]
    if not said:
        return ("No design choice is confounded with another: every level occurs equally often with every other",)
    return (
        f"Confounded in the means by level: {'; '.join(said)}. Comparisons at equal width and equal depth use only the "
        "networks that have a partner, which may be few",
    )


def _missing(material: Material) -> Text:
    planned, untrained, diverged = len(material.study.all_runs()), len(material.untrained), len(material.diverged)
    failures = sum(len(failed) for failed in material.records.failures.values())
    if not untrained and not diverged and not failures:
        return (f"All {counted(planned, 'run')} were trained, none diverged, no measurement failed",)
    return (
        f"{untrained} of {counted(planned, 'run')} are not trained, {diverged} diverged and are left out of "
        f"all means, {counted(failures, 'step')} failed (see summary.md)",
    )


def _plane(material: Material) -> Text:
    rows = material.rows("runs")
    share = extremes(
        material, rows, "trajectory_plane_explained_variance", "Share of the trajectory's variance in its plane"
    )
    away = extremes(
        material,
        rows,
        "trajectory_plane_off_plane",
        "Largest distance of a checkpoint from the plane over its distance from the end",
    )
    if not share or "trajectory_plane_explained_variance" not in rows[0]:
        return ()
    return (*share, ". ", *away, ". A path that leaves the plane has another loss than the surface below it shows")


def _hessian(material: Material) -> Text:
    rows = [row for row in material.rows("runs") if row.get("spectrum_top_eigenvalue") is not None]
    if "spectrum" not in material.study.probes.run or not rows:
        return ()
    measured = sum(row["spectrum_top_eigenvalue"] == row["spectrum_top_eigenvalue"] for row in rows)
    words = f"{measured} of {counted(len(rows), 'trained run')} have a spectrum. "
    known = [row["spectrum_converged"] for row in rows if row.get("spectrum_converged") in (True, False)]
    if known:
        words += f"The eigenvalues of {sum(not one for one in known)} of {len(known)} spectra have not converged. "
    return (words, *extremes(material, rows, "spectrum_trace_error", "Standard error of the trace"))


def _test_set(material: Material) -> Text:
    data = material.study.data
    return (
        f"{data.test} test examples, the same for all runs of a draw: a step of one is {step_text(1 / data.test)} "
        f"in accuracy, and differences of that size say nothing. {_draws(material)}",
    )


def _draws(material: Material) -> str:
    draws = len(material.study.data.seeds)
    if draws < 3:
        return (
            f"The data are {counted(draws, 'draw')}: intervals are over seeds alone, and accuracies differ from draw "
            "to draw too"
        )
    return (
        f"The data are drawn {draws} times (data.seeds), fixed beforehand. Every draw has networks of its own; "
        "intervals are over draws and seeds together"
    )


def _next(material: Material) -> list[Block]:
    most = max((row["n"] for row in material.rows("configurations")), default=0)
    mixed_up = [name for name in ("depth", "width") if material.rows("runs") and mixed(material, name)]
    items: list[Text] = []
    if any(row["verdict"] == "undecided" for row in findings(material)):
        items.append(
            (
                f"More draws of the data, and more than {counted(most, 'network')} for each configuration, would "
                "narrow the undecided statements",
            )
        )
    if mixed_up:
        items.append(("A full grid of depths and widths would separate the two (model.depth and model.width)",))
    items += [
        ("Learning rates, batch sizes and schedules chosen for each configuration would compare optimizers fairly",),
        ("Curved paths would tell whether barriers are more than a matter of the straight line",),
        ("Harder data, normalisation layers and attention would tell whether any of this carries over",),
        ("Flatness relative to a prior (PAC-Bayes) does not change under rescalings, as the measures here do",),
    ]
    return [Paragraph(("What would settle more:",)), Items(tuple(items))]
