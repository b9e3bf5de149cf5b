"""What the landscape looks like: surfaces, what the pictures mean, and how they mislead."""

from __future__ import annotations

from collections.abc import Sequence

from lossatlas.document.blocks import Block, Items, Paragraph, Reference, Section, Text
from lossatlas.numbers import Row, counted, listed, percent_text
from lossatlas.numerics.profiles import MONOTONE
from lossatlas.study.report.comparisons import planes_of
from lossatlas.study.report.material import Material
from lossatlas.study.report.statements import findings, findings_table


def landscapes(material: Material) -> Section:
    sections = [_surfaces(material), _meaning(material), _monotone(material)]
    return Section("landscapes", "Landscapes", (), tuple(section for section in sections if section))


def _surfaces(material: Material) -> Section | None:
    deep = [material.example("large", "relu", "adam"), material.example("large", "tanh", "sgd")]
    shallow = [material.example("small", "gelu", "adam")]
    parts = [
        planes_of(material, "plane", deep[:1]),
        material.figures_of(
            "slice-plane",
            deep[1:],
            probe="random_plane",
            kind="surface",
            what="Loss over a plane of two random directions",
        ),
        material.figures_of(
            "slice-line",
            [*shallow, material.example("large", "tanh", "sgd")],
            probe="random_line",
            kind="loss",
            what="Loss along one random direction",
        ),
    ]
    if not any(parts):
        return None
    words = (
        "One network each, chosen by the same rule in every study: the deepest and then widest, or the shallowest and "
        "then narrowest, with the activation and optimizer named in the caption. Loss axes may be logarithmic."
    )
    return Section("surfaces", "Example surfaces", (Paragraph((words,)), *[block for part in parts for block in part]))


def _meaning(material: Material) -> Section:
    items = [
        (f"{probe.heading}. {probe.meaning} {probe.misleads}{numbers}",)
        for probe in material.probes
        for numbers in [f" {_plane_numbers(material)}" if probe.name == "trajectory_plane" else ""]
    ]
    if not items:
        return Section("meaning", "What the probes mean", (Paragraph(("The study measures no landscapes.",)),))
    intro = Paragraph(("What each picture shows, and how it can mislead (sources in ", Reference("references"), "):"))
    return Section("meaning", "What the probes mean, and how they mislead", (intro, Items(tuple(items))))


def _plane_numbers(material: Material) -> str:
    rows = [row for row in material.rows("runs") if row.get("trajectory_plane_explained_variance", -1) >= 0]
    if not rows:
        return ""
    shares = sorted(row["trajectory_plane_explained_variance"] for row in rows)
    away = sorted(row["trajectory_plane_off_plane"] for row in rows if row["trajectory_plane_off_plane"] >= 0)
    words = f"Here the share is {percent_text(shares[0])} to {percent_text(shares[-1])} (n = {len(rows)} runs)"
    if away:
        words += (
            f", and the checkpoint farthest from the plane is {percent_text(away[0])} to {percent_text(away[-1])} of "
            "its distance to the final weights away from it"
        )
    return f"{words}.{_plane_errors(rows)}"


def _plane_errors(rows: Sequence[Row]) -> str:
    """How far these surfaces may be off between the nodes that were measured."""
    names = ("trajectory_plane_error", "trajectory_plane_basin_error")
    stated = [sorted(row[name] for row in rows if row.get(name, -1) >= 0) for name in names]
    whole, basin = (found[len(found) // 2] if found else 0.0 for found in stated)
    if not whole:
        return ""
    return (
        f" Between the nodes that were measured the training loss may be off by {percent_text(whole)} of its range, in "
        f"the basin by {percent_text(basin)} of itself (medians of the runs)."
    )


def _monotone(material: Material) -> Section | None:
    rows = [row for row in material.rows("runs") if row.get("interpolate_monotone") in (True, False)]
    if not rows:
        return None
    lines: list[Text] = []
    for factor in ("activation", "optimizer", "architecture"):
        levels = list(dict.fromkeys(row[factor] for row in rows))
        if len(levels) > 1:
            counts = [
                f"{level} {sum(row['interpolate_monotone'] for row in inside)} of {len(inside)}"
                for level in levels
                for inside in [[row for row in rows if row[factor] == level]]
            ]
            lines.append((f"By {factor}: {listed(counts)}",))
    monotone = sum(row["interpolate_monotone"] for row in rows)
    blocks: list[Block] = [
        Paragraph(
            (
                "On the line from initial to final weights the training loss rises above its running minimum by no "
                f"more than {percent_text(MONOTONE)} of its range in {monotone} of {counted(len(rows), 'run')}; "
                "such lines are called monotone.",
            )
        )
    ]
    blocks += [Items(tuple(lines))] if lines else []
    caption = ("Expected and found: paths and slices.",)
    rows = findings(material, words=("path", "slice", "interpolates"))
    return Section("monotone", "Expected and found: paths", (*blocks, *findings_table("path-findings", caption, rows)))
