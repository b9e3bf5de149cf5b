"""What the landscape looks like: surfaces, what the pictures mean, and how they mislead."""

from __future__ import annotations

from lossatlas.document.blocks import Block, Items, Paragraph, Reference, Section, Text
from lossatlas.numbers import counted, listed, percent_text
from lossatlas.study.analysis.runs import MONOTONE
from lossatlas.study.report.material import Material
from lossatlas.study.report.statements import findings, findings_table


def landscapes(material: Material) -> Section:
    sections = [_surfaces(material), _meaning(material), _monotone(material)]
    return Section("landscapes", "Landscapes", (), tuple(section for section in sections if section))


def _surfaces(material: Material) -> Section | None:
    deep = [material.example("large", "relu", "adam"), material.example("large", "tanh", "sgd")]
    shallow = [material.example("small", "gelu", "adam")]
    parts = [
        material.figures_of(
            "plane", deep[:1], "pca/plane_surface.png", "Loss over the plane of the training trajectory"
        ),
        material.figures_of(
            "slice-plane", deep[1:], "random_slice/slice2d_surface.png", "Loss over a plane of two random directions"
        ),
        material.figures_of(
            "slice-line",
            [*shallow, material.example("large", "tanh", "sgd")],
            "random_slice/slice1d_loss.png",
            "Loss along one random direction",
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
    probes = material.study.probes
    said: dict[str, Text] = {
        "interpolation": (
            "Interpolation: loss on the straight line between initial and final weights (Goodfellow et al. 2015). A "
            "line without a bump does not say that training met none: training did not go along it.",
        ),
        "random_slice": (
            f"Random slices: loss along Gaussian directions, {probes.random_slice.normalize}-normalised so that "
            "networks of different weight scales can be compared (Li et al. 2018). A random direction of many "
            "dimensions is nearly orthogonal to the few steep ones: a slice shows something like the mean curvature, "
            "and a sharp valley can look like a bowl. Another draw gives another picture.",
        ),
        "pca": (
            "Trajectory plane: loss over the two leading principal directions of the checkpoints. Trajectories of "
            "almost any kind put most of their variance into two such directions, so a large share is no sign of a "
            f"simple path. {_plane_numbers(material)}",
        ),
        "hessian": (
            "Hessian: curvature at the solution itself, where slices show a finite neighbourhood. Scaling the layers "
            "of a ReLU network against each other leaves its function and changes its Hessian (Dinh et al. 2017).",
        ),
        "sharpness": (
            f"Sharpness: increase of the training loss under {probes.sharpness.samples} random perturbations that move "
            f"every tensor by {percent_text(probes.sharpness.radius)} of its norm. The largest of a sample grows with "
            "the number of samples, and a random sample misses the steepest directions.",
        ),
        "connectivity": (
            "Connectivity: loss on the straight line between two trained networks. Two networks with a barrier may be "
            "joined by a curved path (Garipov et al. 2018; Draxler et al. 2018), or by a straight one once their "
            "neurons are put in the same order (Entezari et al. 2022; Ainsworth et al. 2023).",
        ),
    }
    items = tuple(said[probe] for probe in said if probe in probes.run)
    if not items:
        return Section("meaning", "What the probes mean", (Paragraph(("The study measures no landscapes.",)),))
    intro = Paragraph(("What each picture shows, and how it can mislead (sources in ", Reference("references"), "):"))
    return Section("meaning", "What the probes mean, and how they mislead", (intro, Items(items)))


def _plane_numbers(material: Material) -> str:
    rows = [row for row in material.rows("runs") if row.get("explained_variance", -1) >= 0]
    if not rows:
        return ""
    shares = sorted(row["explained_variance"] for row in rows)
    away = sorted(row["off_plane"] for row in rows if row["off_plane"] >= 0)
    words = f"Here the share is {percent_text(shares[0])} to {percent_text(shares[-1])} (n = {len(rows)} runs)"
    if away:
        words += (
            f", and the checkpoint farthest from the plane is {percent_text(away[0])} to {percent_text(away[-1])} of "
            "its distance to the final weights away from it"
        )
    return f"{words}."


def _monotone(material: Material) -> Section | None:
    rows = [row for row in material.rows("runs") if row.get("interpolation_monotone") in (True, False)]
    if not rows:
        return None
    lines: list[Text] = []
    for factor in ("activation", "optimizer", "architecture"):
        levels = list(dict.fromkeys(row[factor] for row in rows))
        if len(levels) > 1:
            counts = [
                f"{level} {sum(row['interpolation_monotone'] for row in inside)} of {len(inside)}"
                for level in levels
                for inside in [[row for row in rows if row[factor] == level]]
            ]
            lines.append((f"By {factor}: {listed(counts)}",))
    monotone = sum(row["interpolation_monotone"] for row in rows)
    blocks: list[Block] = [
        Paragraph(
            (
                "On the line from initial to final weights the training loss rises above its running minimum by no "
                f"more than {100 * MONOTONE:g} % of its range in {monotone} of {counted(len(rows), 'run')}; such lines "
                "are called monotone.",
            )
        )
    ]
    blocks += [Items(tuple(lines))] if lines else []
    caption = ("Expected and found: paths and slices.",)
    rows = findings(material, words=("path", "slice", "interpolates"))
    return Section("monotone", "Expected and found: paths", (*blocks, *findings_table("path-findings", caption, rows)))
