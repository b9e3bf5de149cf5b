"""What the report about one model says: for each probe what it measures, the numbers, and how it can mislead."""

from __future__ import annotations

import math
from collections.abc import Mapping
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
from lossatlas.files import read_json
from lossatlas.model_report.folder import Folder
from lossatlas.model_report.meaning import MEANING, TITLES
from lossatlas.model_report.measurements import Measurement
from lossatlas.model_report.tell import TELL, Told
from lossatlas.numbers import loss_text
from lossatlas.results.storage import read_result

OF_THE_LOSS = {
    "loss": "Loss",
    "contour": "Loss as contours",
    "surface": "Loss as a surface",
    "hist": "Increase of the loss",
}  # by the last word of a figure's name


FAR = ("interpolation", "trajectory_plane", "connectivity", "model_plane")  # they leave the surroundings of the model
OF_ONE_MODEL = (
    "Every point has the batch statistics of this model, which far from it are not those of the weights there. To have "
    "them estimated anew at every point, give the problem "
)


def build_document(folder: Folder, made: list[Measurement], lacking: Mapping[str, str]) -> Document:
    """The report about the model of a folder, from what lies in it alone."""
    problem = read_json(folder.root / "problem.json")
    failures = read_json(folder.failures) if folder.failures.is_file() else {}
    results = {m.name: read_result(folder.result(m.name)) for m in made if folder.result(m.name).is_file()}
    told = {m.name: TELL[m.probe](results[m.name], m.name) for m in made if m.name in results}
    by_probe: dict[str, list[Measurement]] = {}
    for measurement in made:
        if measurement.name in results:
            by_probe.setdefault(measurement.probe, []).append(measurement)
    glance = _not_finite(problem) + tuple((said.glance,) for said in told.values() if said.glance)
    sections = [
        Section("glance", "At a glance", (Items(glance),)) if glance else None,
        Section("model", "The model and its loss", _model(problem)),
        *(_of_probe(folder, probe, found, told, problem) for probe, found in by_probe.items()),
        _rest(lacking, failures),
        _files(folder, results),
    ]
    return Document(problem["title"], "Its loss landscape", tuple(section for section in sections if section))


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
    settings = [f"{name} {value}" for name, value in problem["settings"].items()]
    versions = [f"{name} {value}" for name, value in problem["versions"].items()]
    return (
        Paragraph((f"{problem['parameters']:,} parameters on {problem['device']}.",)),
        table,
        Items(
            (
                (f"Loss: {', '.join(attributes)}.",),
                (f"Settings: {', '.join(settings)}.",),
                (f"Versions: {', '.join(versions)}.",),
            )
        ),
    )


def _of_probe(
    folder: Folder, probe: str, made: list[Measurement], told: Mapping[str, Told], problem: Mapping[str, Any]
) -> Section:
    blocks: list[Block] = [Paragraph((MEANING[probe],))]
    if probe in FAR and problem["batch_norms"] and problem["attributes"]["buffers"] == "stored":
        blocks.append(Paragraph((OF_ONE_MODEL, Code('options={"buffers": "re-estimated"}'), ".")))
    for measurement in made:
        blocks += told[measurement.name].blocks
        files = sorted(folder.figures(measurement.name).glob("*.png"), key=_order)
        figures = tuple(
            Figure(
                f"{folder.figures(measurement.name).name}-{file.stem}",
                (_caption(measurement, file.stem),),
                file.relative_to(folder.root).as_posix(),
                measurement.name,
            )
            for file in files
        )
        if figures:
            blocks.append(FigureRow(figures))
    return Section(probe, TITLES[probe], tuple(blocks))


def _order(file: Path) -> tuple[bool, str]:
    """The loss comes before metrics."""
    return file.stem.split("_")[-1] not in OF_THE_LOSS, file.stem


def _caption(measurement: Measurement, stem: str) -> str:
    kind = stem.split("_")[-1]
    words = OF_THE_LOSS.get(kind, kind.capitalize())
    what = measurement.name.replace("connectivity_", "path to ").replace("_", " ")
    return f"{words}: {what}."


def _rest(lacking: Mapping[str, str], failures: Mapping[str, str]) -> Section | None:
    items: list[Text] = [(Code(probe), f" was not measured: it {why}.") for probe, why in lacking.items()]
    items += [(Code(name), f" failed: {why}") for name, why in failures.items()]
    return Section("missing", "What is missing", (Items(tuple(items)),)) if items else None


def _files(folder: Folder, results: Mapping[str, xr.Dataset]) -> Section:
    links = [
        Link(folder.result(name).name, folder.result(name).relative_to(folder.root).as_posix()) for name in results
    ]
    text = [part for link in links for part in (", ", link)][1:]
    words = "Every result as netCDF, to be read with lossatlas.load or xarray: "
    return Section("files", "Files", (Paragraph((words, *text, ".")),))
