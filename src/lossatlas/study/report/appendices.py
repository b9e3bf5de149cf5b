"""Every number of the study: run by run, level by level, configuration by configuration."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from lossatlas.document.blocks import Block, Cell, Paragraph, Reference, Section, Text
from lossatlas.numbers import MISSING, Row, general_text, loss_text, percent_text, yes_or_no
from lossatlas.study.analysis.runs import METRICS, SPLITS
from lossatlas.study.report import grids
from lossatlas.study.report.connectivity import alignment_table, barrier_table
from lossatlas.study.report.grids import Column, configuration_columns
from lossatlas.study.report.levels import FACTORS, level_blocks
from lossatlas.study.report.material import Material

MEASURES = {
    "spectrum_top_eigenvalue": ("Top eigenvalue", loss_text),
    "spectrum_smallest_eigenvalue": ("Smallest", loss_text),
    "spectrum_trace": ("Trace", loss_text),
    "spectrum_trace_error": ("Trace error", loss_text),
    "epsilon_sharpness_mean": ("Sharpness", loss_text),
    "epsilon_sharpness_adaptive_mean": ("Adaptive", loss_text),
    "epsilon_sharpness_maximum": ("Largest increase", loss_text),
    "interpolate_by_weight_decay_penalty": ("Penalty", loss_text),
    "interpolate_by_weight_decay_minimum": ("Path minimum", loss_text),
    "interpolate_rise": ("Rise on path", loss_text),
    "random_line_width": ("Slice width", loss_text),
    "trajectory_plane_explained_variance": ("In plane", percent_text),
    "trajectory_plane_off_plane": ("Off plane", percent_text),
}

DECAYED = (
    "interpolate_by_weight_decay_penalty", "interpolate_by_weight_decay_minimum", "spectrum_top_eigenvalue",
    "spectrum_trace", "epsilon_sharpness_mean", "random_line_width",
)  # fmt: skip

_HOW_TO_READ: Text = ("How to read the intervals is said in ", Reference("comparisons"), ".")


def appendices(material: Material) -> list[Section]:
    levels = [
        Section(
            f"appendix-{factor}",
            f"{factor.capitalize()} study",
            tuple(level_blocks(material, factor, factor, _HOW_TO_READ)),
        )
        for factor in FACTORS
    ]
    found = [_runs(material), *levels, _connectivity(material), every_regularized(material)]
    return [Section(one.label, one.title, one.blocks, one.sections, appendix=True) for one in found]


def _runs(material: Material) -> Section:
    rows = material.rows("runs")
    if not rows:
        return Section("appendix-runs", "Per-run metrics", (Paragraph(("No run has been trained yet.",)),))
    names = [*configuration_columns(material.study), material.seed_column()]
    metrics = [grids.metric(name) for name in METRICS]
    blocks: list[Block] = [
        Paragraph(("One row for every trained run; its seed leads to its folder.",)),
        grids.table("runs", ("Losses and accuracies at the end of training.",), [*names, *metrics], rows),
    ]
    measured = [grids.number(heading, name, form) for name, (heading, form) in MEASURES.items() if name in rows[0]]
    if "interpolate_monotone" in rows[0]:
        measured.insert(-1, grids.text("Monotone", lambda row: yes_or_no(row["interpolate_monotone"])))
    if measured:
        caption = (
            "Geometry of the training loss around the final weights: eigenvalues and trace of the Hessian, largest and "
            "mean increase under random perturbations, largest rise on the path from initial to final weights and "
            "whether it counts as monotone, width of the random slice, share of the trajectory's variance in its "
            "plane and largest distance from it.",
        )
        blocks.append(grids.table("run-measures", caption, [*names, *measured], rows))
    return Section("appendix-runs", "Per-run metrics", tuple(blocks))


def _connectivity(material: Material) -> Section:
    if not material.rows("connectivity"):
        words = "No pair of seeds has been connected."
        return Section("appendix-connectivity", "Connectivity", (Paragraph((words,)),))
    blocks: list[Block] = [
        Paragraph(("What a barrier is, and what its interval covers, is said in ", Reference("connectivity"), ".")),
        barrier_table(material, "barriers"),
    ]
    if material.rows("alignment"):
        blocks += [alignment_table(material, f"alignments-{split}", split) for split in SPLITS]
    return Section("appendix-connectivity", "Connectivity", tuple(blocks))


# Regularization --------------------------------------------------------------------------------------------------


def every_regularized(material: Material) -> Section:
    """Every configuration and network of the regularization study; says so where the study has none."""
    decays = sorted(material.study.regularization.weight_decays)
    if not decays:
        words = "The study has no regularization study: no weight decays to compare were asked for."
        return Section("appendix-regularization", "Regularization", (Paragraph((words,)),))
    rows = material.rows("regularization")
    words = (
        "Every configuration of the regularization study: the same initial weights and batches at each weight decay, "
        "pictures of the first seed."
    )
    blocks: list[Block] = [Paragraph((words,)), _thumbnails(material, decays)]
    if rows:
        names = [
            grids.plain(name.capitalize(), name) for name in ("dataset", "architecture", "activation", "optimizer")
        ]
        columns = [
            *names,
            material.seed_column(),
            grids.plain("Weight decay", "weight_decay"),
            *(grids.metric(name) for name in METRICS),
            *(grids.number(MEASURES[name][0], name, MEASURES[name][1]) for name in DECAYED),
        ]
        caption = (
            "Every network of the regularization study: metrics, penalty of the final weights, lowest training loss "
            "between initial and final weights, and geometry.",
        )
        blocks.append(grids.table("decayed-runs", caption, columns, rows))
    return Section("appendix-regularization", "Regularization", tuple(blocks))


def _thumbnails(material: Material, decays: Sequence[float]) -> Block:
    study = material.study
    rows = [
        {
            "dataset": run.dataset,
            "architecture": run.architecture,
            "activation": run.activation,
            "optimizer": run.optimizer,
            "decays": ", ".join(map(general_text, decays)),
            "run": run,
        }
        for _, runs in itertools.groupby(study.regularization_runs(), key=lambda run: (*run.group, run.optimizer))
        for run in [next(runs)]
    ]

    def picture(heading: str, text: str, *, probe: str, kind: str) -> Column:
        def cell(row: Row) -> Cell:
            path = material.store.family_figure_file(row["run"], probe, kind)
            return Cell(text, image=material.target(path)) if path.is_file() else Cell(MISSING)

        return Column(heading, cell)

    columns = [
        *(grids.plain(name.capitalize(), name) for name in ("dataset", "architecture", "activation", "optimizer")),
        grids.text("Weight decays", lambda row: row["decays"]),
        picture(
            "Interpolation",
            "interpolation over weight decay",
            probe="interpolate_by_weight_decay",
            kind="surface",
        ),
        *(
            picture(
                f"Slice at {general_text(decay)}",
                f"random slice at weight decay {general_text(decay)}",
                probe="slice_by_weight_decay",
                kind=f"surface_wd={general_text(decay)}",
            )
            for decay in dict.fromkeys((decays[0], decays[-1]))
        ),
    ]
    caption = (
        "Configurations trained at several weight decays: loss from initial to final weights over weight decay, and "
        "random slices at the smallest and the largest.",
    )
    return grids.table("decays", caption, columns, rows)
