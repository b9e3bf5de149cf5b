"""The means by depth, width, activation or optimizer, and what they leave open: for appendices and pages alike."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from lossatlas.document.blocks import Block, Items, Paragraph, Strong, Text
from lossatlas.numbers import Row, counted, loss_text, step_text
from lossatlas.study.analysis.balance import unmatched
from lossatlas.study.analysis.jackknife import FEWEST
from lossatlas.study.analysis.runs import with_shape
from lossatlas.study.report import grids
from lossatlas.study.report.grids import TEST_MEANS
from lossatlas.study.report.material import Material

FACTORS = ("depth", "width", "activation", "optimizer")


def level_blocks(material: Material, factor: str, label: str, note: Text) -> list[Block]:
    """The means of each level, and which other settings are mixed into them. `note` says how to read the intervals."""
    rows = material.rows(factor)
    if not rows:
        return [Paragraph(("No run has been trained yet.",))]
    words = (
        f"Each row is the mean over the n runs of one {factor} that did not diverge, whatever their other settings"
        f"{', all weight decays included' if len(material.study.training.weight_decays) > 1 else ''}. "
        f"{_ranked(factor, rows)}"
    )
    others = mixed(material, factor)
    blocks: list[Block] = [Paragraph((words, *note)), *_diverged(rows)]
    for other, counts in others.items():
        name = other.replace("_", " ")
        blocks.append(
            Paragraph(
                (
                    Strong(f"{factor.capitalize()} and {name} are mixed here"),
                    f": the rows differ in {name} too, so a difference between them cannot be put down to {factor} "
                    "alone.",
                )
            )
        )
        lines = [f"{factor} {level}: {name} {_counted(counts.loc[level])}" for level in counts.index]
        blocks.append(Items(tuple((line,) for line in lines)))
    columns = [grids.plain(factor.capitalize(), factor), *_parts(factor), *TEST_MEANS]
    caption = (f"Mean test loss and accuracy by {factor}.",)
    blocks.append(grids.table(label, caption, columns, rows))
    if {"depth", "width"} & set(others):
        columns = [grids.plain("Architecture", "architecture"), *_parts(factor), *TEST_MEANS]
        caption = ("The same means by architecture.",)
        blocks.append(grids.table(f"{label}-architectures", caption, columns, material.rows("architecture")))
    return blocks


def mixed(material: Material, factor: str) -> dict[str, pd.DataFrame]:
    """The other settings that are not shared out alike between the levels of a factor, with their counts."""
    if not material.rows("runs"):
        return {}
    others = [name for name in ("dataset", *FACTORS, "weight_decay") if name != factor]
    return unmatched(with_shape(material.tables["runs"]), factor, others)


def seeds_interval(material: Material, rows: Sequence[Row]) -> str:
    """What the intervals of means say and do not say, as far as there are any."""
    most = max((row["n"] for row in material.rows("configurations")), default=0)
    words = ""
    if most > 1:
        words = (
            f"The brackets hold a 95 % interval for the mean, by Student's t ({_left_out(material)}). It tells how far "
            "the mean would move with others of these. It does not tell what other configurations or training settings "
            "would give: they are the study's choice, not a sample. "
        )
        words += "An interval without width says that the seeds of each configuration gave the same value. "
    if any(row["n"] and math.isnan(row["mean_test_loss_low"]) for row in rows):
        words += (
            "Where the bracket is [–], no configuration has more than a single run (or a value is not finite), and "
            "one run says nothing about the spread between seeds. "
        )
    step = step_text(1 / material.study.data.test)
    return words + f"One test example more or less is a step of {step} in the test accuracy of a run."


def _left_out(material: Material) -> str:
    draws = len(material.study.data.seeds)
    if draws >= 3:
        return f"one of the {draws} draws of the data is left out at a time, with all its networks"
    return "one seed is left out at a time within each configuration, on these examples"


def calibration(material: Material) -> str:
    """How far an interval over so few draws or seeds can be trusted."""
    draws, seeds = len(material.study.data.seeds), len(material.study.training.seeds)
    few = counted(draws, "draw") if draws >= FEWEST else counted(seeds, "seed")
    return (
        f"Over {few} the variance between them is known roughly only: an interval can be much too narrow, or too wide, "
        "by chance"
    )


def _parts(factor: str) -> list[grids.Column]:
    names = ("datasets", "activations", "optimizers")
    return [grids.plain(name.capitalize(), name) for name in names if name != f"{factor}s"]


def _ranked(factor: str, rows: Sequence[Row]) -> str:
    ranked = sorted((row for row in rows if row["n"]), key=lambda row: row["mean_test_loss"])
    if len(ranked) < 2:
        return f"There is one {factor} only, so nothing to compare. "
    low, high = ranked[0], ranked[-1]
    return (
        f"The lowest mean test loss is that of {factor} {low[factor]} ({loss_text(low['mean_test_loss'])}), the "
        f"highest that of {factor} {high[factor]} ({loss_text(high['mean_test_loss'])}). "
    )


def _diverged(rows: Sequence[Row]) -> list[Block]:
    count = sum(row["diverged"] for row in rows)
    if not count:
        return []
    words = f"{counted(count, 'run')} diverged and {'is' if count == 1 else 'are'} left out of the means, which then "
    return [Paragraph((words + "speak of the runs that converged only.",))]


def _counted(counts: pd.Series) -> str:
    return ", ".join(f"{value} ({count} runs)" for value, count in counts.items() if count)
