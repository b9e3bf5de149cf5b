"""Straight paths between networks: barriers, what matching neurons changes, and paths between optimizers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from lossatlas.document.blocks import Block, Figure, Items, Paragraph, Reference, Section, Text
from lossatlas.numbers import Row, accuracy_text, counted, interval_text, loss_text, yes_or_no
from lossatlas.study.analysis.runs import CONFIGURATION, SPLITS
from lossatlas.study.config import Run
from lossatlas.study.report import grids
from lossatlas.study.report.grids import configuration_columns, configuration_name, heading
from lossatlas.study.report.material import Material, row_of
from lossatlas.study.report.statements import factor_table, findings, findings_table
from lossatlas.study.report.strips import strip_figure


def connectivity(material: Material) -> Section | None:
    rows = material.rows("connectivity")
    if "linear_connectivity" not in material.study.probes.run:
        return None
    if not rows:
        return Section("connectivity", "Connectivity", (Paragraph(("No pair of seeds has been connected.",)),))
    sections = [
        _curves(material),
        _by_factor(material),
        _alignment(material),
        _optimizers(material),
        _expected(material),
    ]
    return Section(
        "connectivity", "Connectivity", tuple(_overall(material, rows)), tuple(one for one in sections if one)
    )


def barrier_definition(material: Material) -> str:
    """What a barrier is, and what its interval covers."""
    steps = vars(material.study.probes.settings("linear_connectivity"))["steps"]
    words = (
        "The barrier of a pair is the largest loss on its straight path minus the larger of the two end losses. It is "
        "0 where no point of the path lies above both ends. The excess is the largest height of the path above the "
        f"straight line between the end losses. A path is measured at {steps} even points and more around its peaks: "
        "a narrower peak between them can be missed. The brackets hold a 95 % interval for the mean barrier, from "
        "leaving out one draw of the data at a time. With fewer than three draws one seed is left out with all its "
        "pairs, because pairs that share a network are not independent. No interval reaches below zero."
    )
    if any(row["mean_train_barrier_low"] != row["mean_train_barrier_low"] for row in material.rows("connectivity")):
        words += (
            " Where the bracket is [–] there are fewer than three draws and fewer than three seeds (or a barrier that "
            "is not finite), and no interval can be had from them."
        )
    return words + (
        " Two networks with a barrier may still be joined by a curved path. They may have none once their neurons are "
        "matched, which is tried with one hidden layer."
    )


def barrier_table(material: Material, label: str) -> Block:
    """One row for every configuration, as trained and aligned."""
    columns = [
        *configuration_columns(material.study),
        grids.text("Aligned", lambda row: yes_or_no(row["aligned"])),
        grids.count("Pairs", "num_pairs"),
        *(grids.mean(f"Mean {split} barrier", f"mean_{split}_barrier") for split in SPLITS),
        *(grids.number(f"Max {split} barrier", f"max_{split}_barrier") for split in SPLITS),
        *(grids.number(f"Mean {split} excess", f"mean_{split}_excess") for split in SPLITS),
    ]
    caption = ("Barriers of the straight paths between every two seeds of each configuration.",)
    return grids.table(label, caption, columns, material.rows("connectivity"))


def alignment_table(material: Material, label: str, split: str) -> Block:
    """What matching the neurons changed, one row for every configuration with one hidden layer."""
    columns = [*configuration_columns(material.study), grids.count("Pairs", "num_pairs")]
    columns += [
        grids.number("As trained", f"mean_{split}_barrier"),
        grids.number("Aligned", f"mean_{split}_barrier_aligned"),
        grids.mean("Change", f"mean_{split}_change"),
        grids.count("Lowered", f"{split}_lowered"),
    ]
    caption = (f"Mean {split} barrier as trained and with neurons matched, and in how many pairs it became lower.",)
    return grids.table(label, caption, columns, material.rows("alignment"))


def alignment_words(material: Material) -> str:
    rows = material.rows("alignment")
    total, train, test = (sum(row[name] for row in rows) for name in ("num_pairs", "train_lowered", "test_lowered"))
    return (
        "The neurons of the second network of each pair are put in the order that brings its parameters nearest to the "
        "first's (weight matching), which leaves its function as it is, and the same path is measured again. The "
        'change is the barrier aligned minus as trained, pair by pair; "lowered" counts the pairs whose barrier became '
        f"lower. Over all configurations alignment lowered the train barrier of {train} and the test barrier of {test} "
        f"out of {counted(total, 'pair')}. A pair without a barrier as trained cannot become lower."
    )


# The section ---------------------------------------------------------------------------------------------------


def _overall(material: Material, rows: list[Row]) -> list[Block]:
    trained = sorted((row for row in rows if not row["aligned"]), key=lambda row: row["mean_test_barrier"])
    pairs = sum(row["num_pairs"] for row in trained)
    words = f"{counted(pairs, 'pair')} of seeds in {counted(len(trained), 'configuration')}, all in "
    known = {_configuration(row): row for row in material.rows("configurations")}

    def learnt(row: Row) -> str:
        one = known.get(_configuration(row))
        return f"; mean test accuracy {interval_text(one, 'mean_test_accuracy', accuracy_text)}" if one else ""

    items: list[Text] = [
        (
            f"{which} mean test barrier: {configuration_name(material.study, row)}, "
            f"{interval_text(row, 'mean_test_barrier', loss_text)}, n = {counted(row['num_pairs'], 'pair')}"
            f"{learnt(row)}",
        )
        for which, row in (("Lowest", trained[0]), ("Highest", trained[-1]))
    ]
    picture = strip_figure(material, "linear_connectivity_barrier")
    return [
        *([picture] if picture else []),
        Paragraph((barrier_definition(material),)),
        Paragraph((words, Reference("appendix-connectivity"), ".")),
        Items(tuple(items)),
        Paragraph(("A low barrier between networks that have learnt nothing is no merit: see their accuracy.",)),
    ]


def _configuration(row: Row) -> tuple[object, ...]:
    return tuple(row[name] for name in CONFIGURATION)


def _curves(material: Material) -> Section | None:
    configurations = [*material.under_each_optimizer("large", "tanh"), material.example("small", "relu", "adam")]
    figures = []
    for index, run in enumerate(run for run in dict.fromkeys(configurations) if run):
        pair = next(drawn_pairs(material, seeds_of(material, run)), None)
        figures.append(_figure(material, f"path-{index}", pair) if pair else None)
    blocks = row_of(figures)
    if not blocks:
        return None
    words = "The first pair of seeds of the deepest network under each optimizer, and of the shallowest one."
    return Section("paths", "Example paths", (Paragraph((words,)), *blocks))


def seeds_of(material: Material, run: Run) -> list[Run]:
    return [run.model_copy(update={"seed": seed}) for seed in material.study.training.seeds]


def loss_figure(material: Material, a: Run, b: Run) -> Path:
    """The figure of the loss on the path between two runs, drawn or not."""
    return material.store.pair_figure_file(a, b, "linear_connectivity", "loss")


def drawn_pairs(material: Material, runs: Iterable[Run]) -> Iterator[tuple[Run, Run]]:
    for a, b in itertools.combinations(runs, 2):
        if loss_figure(material, a, b).is_file():
            yield a, b


def _figure(material: Material, label: str, pair: tuple[Run, Run]) -> Figure | None:
    a, b = pair
    caption = ("Loss from ", material.link(a), " to ", material.link(b), ".")
    return material.figure(label, loss_figure(material, a, b), caption, run=a)


def _by_factor(material: Material) -> Section | None:
    table = factor_table(
        material, "barrier-contrasts", "Barrier of the training loss, as trained", "linear_connectivity_barrier"
    )
    return Section("connectivity-factors", "By design choice", tuple(table)) if table else None


def _alignment(material: Material) -> Section | None:
    if not material.rows("alignment"):
        return None
    blocks = (Paragraph((alignment_words(material),)), alignment_table(material, "alignment-table", "test"))
    return Section("alignment", "One hidden layer: as trained and aligned", blocks)


def _optimizers(material: Material) -> Section | None:
    optimizers = material.study.training.optimizers
    if len(optimizers) < 2 or not material.study.probes.between_optimizers:
        return None
    figures = []
    for index, run in enumerate((material.example("large", "tanh"), material.example("small", "relu"))):
        if run:
            both = [run.model_copy(update={"optimizer": optimizer}) for optimizer in optimizers]
            pair = next(drawn_pairs(material, both), None)
            figures.append(_figure(material, f"optimizer-path-{index}", pair) if pair else None)
    blocks = row_of(figures)
    if not blocks:
        return None
    words = (
        "The same initial weights and the same order of batches, trained with one optimizer and with the other: is "
        "there a barrier between the two ends? The bracket is the interval over the seeds of the configuration."
    )
    fields = ("dataset", "architecture", "activation", "weight_decay")
    columns = [
        *(grids.text(heading(field), lambda row, field=field: str(row[field])) for field in fields),
        grids.text("From", lambda row: row["optimizer_a"]),
        grids.text("To", lambda row: row["optimizer_b"]),
        grids.text("Aligned", lambda row: yes_or_no(row["aligned"])),
        grids.count("Pairs", "num_pairs"),
        *(grids.mean(f"Mean {split} barrier", f"mean_{split}_barrier") for split in SPLITS),
        grids.number("Max test barrier", "max_test_barrier"),
    ]
    rows = material.rows("between_optimizers")
    caption = ("Barriers between runs of one seed that differ in their optimizer only.",)
    table = [grids.table("between-optimizers-table", caption, columns, rows)] if rows else []
    return Section("between-optimizers", "Between optimizers", (Paragraph((words,)), *blocks, *table))


def _expected(material: Material) -> Section | None:
    rows = findings(material, words=("barrier",))
    text = (
        "Networks trained apart are expected to be joined by paths of low loss, but curved ones (Garipov et al. 2018; "
        "Draxler et al. 2018); straight ones are expected to be low only once permuted neurons are put in the same "
        "order, and the more so the wider the network (Entezari et al. 2022; Ainsworth et al. 2023)."
    )
    table = findings_table("connectivity-findings", ("Expected and found: connectivity.",), rows)
    return Section("connectivity-expectations", "Expected and found", (Paragraph((text,)), *table)) if rows else None
