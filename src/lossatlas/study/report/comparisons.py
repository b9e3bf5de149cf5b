"""Architectures, optimizers, weight decay and other kinds of network, each with performance and geometry together."""

from __future__ import annotations

from collections.abc import Sequence

from lossatlas.document.blocks import Block, Paragraph, Reference, Section
from lossatlas.numbers import general_text, listed
from lossatlas.study.config import Run
from lossatlas.study.models import Kind, parse_architecture
from lossatlas.study.report import grids
from lossatlas.study.report.grids import TEST_MEANS
from lossatlas.study.report.levels import mixed
from lossatlas.study.report.material import Material, row_of
from lossatlas.study.report.statements import contrast_table, contrasts, findings, findings_table, matched


def architectures(material: Material) -> Section | None:
    rows = material.rows("architecture")
    if not rows:
        return None
    columns = [grids.plain("Architecture", "architecture"), *TEST_MEANS]
    blocks: list[Block] = [
        Paragraph(("By architecture, over all activations, optimizers and data sets of the study:",)),
        grids.table("architecture-means", ("Mean test loss and accuracy by architecture.",), columns, rows),
    ]
    for factor in ("depth", "width"):
        others = listed([name.replace("_", " ") for name in mixed(material, factor)])
        held = "width" if factor == "depth" else "depth"
        found = contrasts(material, factor=factor)
        text = f"At equal {held}, "
        text += "performance and geometry by " + factor + ":" if found else f"no two networks differ in {factor} only."
        if others:
            text += f" (Without that, {factor} is mixed with {others}: see "
            blocks.append(Paragraph((text, Reference(f"appendix-{factor}"), ".)")))
        else:
            blocks.append(Paragraph((text,)))
        blocks += contrast_table(f"{factor}-contrasts", matched(f"What {factor} changes.", found), found)
    caption = ("Findings on depth and width.",)
    blocks += findings_table("architecture-findings", caption, findings(material, axes=("Depth", "Width")))
    runs = [material.example("small", "relu", "adam"), material.example("large", "relu", "adam")]
    blocks += planes_of(material, "architecture-plane", runs)
    return Section("architectures", "Architecture comparison", tuple(blocks))


def planes_of(material: Material, label: str, runs: Sequence[Run | None]) -> list[Block]:
    """The surfaces over the trajectories of several runs, beside each other."""
    what = "Loss over the plane of the training trajectory"
    return material.figures_of(label, runs, probe="trajectory_plane", kind="surface", what=what)


def optimizers(material: Material) -> Section | None:
    if len(material.study.training.optimizers) < 2:
        return None
    rows = contrasts(material, factor="optimizer")
    words = (
        "The optimizers have one setting each, which was not tuned: a difference between them is one between these "
        "settings (",
        Reference("training"),
        "). Initial weights and batches are the same for both.",
    )
    blocks: list[Block] = [Paragraph(words)]
    blocks += contrast_table("optimizer-contrasts", matched("What the optimizer changes.", rows), rows)
    caption = ("Findings on the optimizer.",)
    blocks += findings_table("optimizer-findings", caption, findings(material, axes=("Optimizer",)))
    runs = material.under_each_optimizer("large", "tanh")
    blocks += planes_of(material, "optimizer-plane", runs)
    return Section("optimizers", "Optimizer comparison", tuple(blocks))


def regularization(material: Material) -> Section | None:
    decays = sorted(material.study.regularization.weight_decays)
    if not decays:
        return None
    rows = contrasts(material, factor="weight_decay")
    named = listed([general_text(decay) for decay in decays])
    words = (
        f"Every configuration trained again at weight decay {named}, from the same initial weights and with the same "
        "batches. Curves and surfaces are of the loss of the data alone, without the penalty. Slices at all weight "
        "decays have the same directions, normalised to the first network: networks that weight decay made smaller are "
        "moved by a larger share of themselves. All configurations are in ",
        Reference("appendix-regularization"),
        ".",
    )
    blocks: list[Block] = [Paragraph(words)]
    blocks += contrast_table("decay-contrasts", matched("What weight decay changes.", rows), rows)
    caption = ("Findings on weight decay.",)
    blocks += findings_table("decay-findings", caption, findings(material, axes=("Regularization",)))
    for index, run in enumerate([material.example("small", "gelu", "adam"), material.example("large", "tanh", "sgd")]):
        blocks += _regularized(material, f"decay-{index}", run, decays) if run else []
    return Section("regularization", "Regularization", tuple(blocks))


def _regularized(material: Material, label: str, run: Run, decays: Sequence[float]) -> list[Block]:
    name = " · ".join((*run.group, run.optimizer))
    lines, slices = "interpolate_by_weight_decay", "slice_by_weight_decay"
    shown = {
        (lines, "surface"): "Loss from initial to final weights, over weight decay",
        **{
            (slices, f"surface_wd={general_text(decay)}"): f"Random slice at weight decay {general_text(decay)}"
            for decay in (decays[0], decays[-1])
        },
        (lines, "curves"): "Loss from initial to final weights, a line for each weight decay",
        (slices, "contour"): "Random slices at each weight decay",
    }
    figures = [
        material.figure(
            f"{label}-{index}", material.store.family_figure_file(run, probe, kind), (f"{what}: {name}.",), run=run
        )
        for index, ((probe, kind), what) in enumerate(shown.items())
    ]
    return row_of(figures)


# ConvNets and residual MLPs --------------------------------------------------------------------------------------


def other_networks(material: Material) -> Section | None:
    kinds = {parse_architecture(name).kind for name in material.study.model.grid()}
    if not kinds & {"conv", "res"}:
        return None
    columns = [grids.plain("Architecture", "architecture"), *TEST_MEANS]
    caption = ("Mean test loss and accuracy by architecture, ConvNets (conv), residual MLPs (res) and MLPs.",)
    words = (
        "ConvNets see the inputs as an image of one channel; residual MLPs add the input of every block to its output. "
        "They are trained and probed as the MLPs are."
    )
    blocks: list[Block] = [Paragraph((words,))]
    blocks.append(grids.table("kinds", caption, columns, material.rows("architecture")))
    caption = ("Findings on ConvNets and residual MLPs.",)
    rows = findings(material, axes=("ConvNet and residual MLP",))
    blocks += findings_table("kind-findings", caption, rows)
    sections = [
        _on(material, dataset, kind)
        for dataset in material.study.data.datasets
        for kind in ("conv", "res")
        if kind in kinds
    ]
    return Section("other-networks", "ConvNets and residual MLPs", tuple(blocks), tuple(one for one in sections if one))


def _on(material: Material, dataset: str, kind: Kind) -> Section | None:
    runs = [
        material.example(size, "relu", material.study.training.optimizers[-1], kind=kind, dataset=dataset)
        for size in ("small", "large")
    ]
    label = f"{kind}-{dataset}"
    parts = {
        ("interpolate", "loss"): "Loss from initial (0) to final weights (1)",
        ("random_line", "loss"): "Loss along one random direction",
        ("random_plane", "surface"): "Loss over a plane of two random directions",
    }
    figures = [
        material.figure(
            f"{label}-{run.architecture}-{index}",
            material.store.figure_file(run, probe, shown),
            (f"{what}: ", material.link(run), "."),
            run=run,
        )
        for run in dict.fromkeys(runs)
        if run
        for index, ((probe, shown), what) in enumerate(parts.items())
    ]
    blocks = row_of(figures)
    names = {"conv": "ConvNets", "res": "Residual MLPs"}
    return Section(label, f"{names[kind]} on {dataset}", tuple(blocks)) if blocks else None
