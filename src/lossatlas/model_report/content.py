"""What the report about one model says: for each probe what it measures, the numbers, and how it can mislead."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from lossatlas.document.blocks import (
    Block,
    Cell,
    Code,
    Document,
    Figure,
    FigureRow,
    Items,
    Link,
    Paragraph,
    Section,
    Table,
    Text,
)
from lossatlas.execution.failures import failures
from lossatlas.execution.measuring import Measurement
from lossatlas.files import read_json
from lossatlas.model_report.folder import Folder
from lossatlas.model_report.plan import Plan
from lossatlas.numbers import loss_text
from lossatlas.probes.probe import Rows, Told

OF_THE_LOSS = {
    "loss": "Loss",
    "contour": "Loss as contours",
    "surface": "Loss as a surface",
    "hist": "Change of the loss",
    "radius": "Change of the loss by the size of the steps",
}  # by the kind of figure, the last word of its file's name

FROZEN_STATISTICS = (
    "Every point has the batch statistics of this model, which far from it are not those of the weights there: losses "
    "of checkpoints are not those that they had with their own. To have them estimated anew at every point, give the "
    "problem "
)
OWN_STATISTICS = (
    "Buffers that training writes, such as batch statistics, go along with the weights: every model has its own, and "
    "between models they are linear."
)


def build_document(folder: Folder, plan: Plan, results: Mapping[str, xr.Dataset]) -> Document:
    """The report about the model of a folder, from what lies in it alone.

    Args:
        folder: whose `problem.json` and figures are read.
        plan: what was asked.
        results: of the measurements that are done, by name.
    """
    problem = read_json(folder.root / "problem.json")
    told = {one.name: one.probe.tell(results[one.name], one.other) for one in plan.measurements if one.name in results}
    by_probe: dict[str, list[Measurement]] = {}
    for measurement in plan.measurements:
        if measurement.name in results:
            by_probe.setdefault(measurement.probe.name, []).append(measurement)
    glance = _not_finite(problem) + tuple((said.sentence,) for said in told.values() if said.sentence)
    sections = [
        Section("glance", "At a glance", (Items(glance),)) if glance else None,
        Section("model", "The model and its loss", _model(problem)),
        *(_of_probe(folder, made, told, problem, results) for made in by_probe.values()),
        _rest(plan.lacking, failures(folder.root)),
        _files(folder, [one.file for one in plan.measurements if one.name in results]),
    ]
    subtitle = f"Its loss landscape over {problem['parameters']}"
    return Document(problem["title"], subtitle, tuple(section for section in sections if section))


def _not_finite(problem: Mapping[str, Any]) -> tuple[Text, ...]:
    """What is to be known before any number is read."""
    return tuple(
        (f"The {split} loss is not finite at the final weights, so most of what follows is not either.",)
        for split, values in problem["values"].items()
        if not math.isfinite(float(values["loss"]))
    )


def _model(problem: Mapping[str, Any]) -> tuple[Block, ...]:
    values = problem["values"]
    names = list(next(iter(values.values())))
    rows = tuple(
        (
            Cell(split),
            Cell(f"{problem['examples'][split]:,}", value=float(problem["examples"][split])),
            *(Cell(loss_text(float(found[name])), value=float(found[name])) for name in names),
        )
        for split, found in values.items()
    )
    headings = ("Data", "Examples", *(name.replace("_", " ").capitalize() for name in names))
    table = Table("values", ("At the final weights.",), headings, (False, *[True] * (len(headings) - 1)), rows)
    said = {name: value for name, value in problem["attributes"].items() if name != "buffers" or problem["batch_norms"]}
    attributes = [f"{name.replace('_', ' ')} {value}" for name, value in said.items()]
    shared = {name: value for name, value in problem["settings"].items() if not isinstance(value, Mapping)}
    versions = [f"{name} {value}" for name, value in problem["versions"].items()]
    return (
        Paragraph((f"θ holds {problem['parameters']}, on {problem['device']}.",)),
        table,
        Items(
            (
                (f"Loss: {', '.join(attributes)}.",),
                (f"Settings: {_listed(shared)}; those of each probe are in its section.",),
                (f"Versions: {', '.join(versions)}.",),
            )
        ),
    )


def _of_probe(
    folder: Folder,
    made: list[Measurement],
    told: Mapping[str, Told],
    problem: Mapping[str, Any],
    results: Mapping[str, xr.Dataset],
) -> Section:
    probe = made[0].probe
    blocks: list[Block] = [Paragraph((f"{probe.meaning} {probe.misleads}",))]
    far = probe.of != "model"  # it leaves the surroundings of the model
    buffers = results[made[0].name].attrs.get("buffers")
    if buffers == "interpolated" != problem["attributes"]["buffers"]:
        blocks.append(Paragraph((OWN_STATISTICS,)))
    elif far and problem["batch_norms"] and buffers == "stored":
        blocks.append(Paragraph((FROZEN_STATISTICS, Code('options={"buffers": "re-estimated"}'), ".")))
    for measurement in made:
        if stopped := results[measurement.name].attrs.get("stopped"):
            words = (
                f"{measurement.name} was ended {stopped}, before it was done: these are the numbers that there were."
            )
            blocks.append(Paragraph((words,)))
        blocks += _blocks(told[measurement.name], measurement.name)
        files = sorted(folder.figures(measurement.name).glob("*.png"), key=_order)
        figures = tuple(
            Figure(
                f"{measurement.name}-{file.stem}", (_caption(measurement, file.stem, told[measurement.name].note),),
                file.relative_to(folder.root).as_posix(), measurement.name,
            )
            for file in files
        )  # fmt: skip
        if figures:
            blocks.append(FigureRow(figures))
    blocks.append(Paragraph((f"Settings: {_listed(vars(made[0].settings))}.",)))
    return Section(probe.name, probe.heading, tuple(blocks))


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
                     for name, value in settings.items())  # fmt: skip


def _blocks(told: Told, label: str) -> list[Block]:
    """What a probe says, as a document says it: one line is a paragraph, several are a list."""
    lines: list[Block] = [Paragraph((line,)) for line in told.lines]
    if len(told.lines) > 1:
        lines = [Items(tuple((line,) for line in told.lines))]
    return [*lines, *(_table(rows, f"{label}-numbers-{number}") for number, rows in enumerate(told.tables, 1))]


def _table(rows: Rows, label: str) -> Table:
    cells = tuple(tuple(Cell(text) for text in row) for row in rows.rows)
    return Table(label, (rows.caption,), rows.headings, (False, *[True] * (len(rows.headings) - 1)), cells)


def _order(file: Path) -> tuple[bool, str]:
    """The loss comes before metrics."""
    return file.stem.split("_")[-1] not in OF_THE_LOSS, file.stem


def _caption(measurement: Measurement, stem: str, note: str) -> str:
    kind = stem.split("_")[-1]
    words = OF_THE_LOSS.get(kind, kind.capitalize())
    what = f"path to {measurement.other}" if measurement.other else measurement.name
    return f"{words}: {what.replace('_', ' ')}. {note}".strip()


def _rest(lacking: Mapping[str, str], failed: Mapping[str, str]) -> Section | None:
    items: list[Text] = [(Code(probe), f" was not measured: it wants {why}.") for probe, why in lacking.items()]
    items += [(Code(name), f" failed: {why}") for name, why in failed.items()]
    return Section("missing", "What is missing", (Items(tuple(items)),)) if items else None


def _files(folder: Folder, results: Sequence[Path]) -> Section:
    links = [Link(file.name, file.relative_to(folder.root).as_posix()) for file in results]
    text = [part for link in links for part in (", ", link)][1:]
    words = "Every result, to be read with lossatlas.load: "
    return Section("files", "Files", (Paragraph((words, *text, ".")),))
