"""Every number that the probes of a study declare, over its networks, and figures that no other part shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from lossatlas.document.blocks import Block, Figure, FigureRow, Items, Paragraph, Section, Text
from lossatlas.numbers import counted
from lossatlas.probes.probe import Probe
from lossatlas.study.analysis.runs import STANDING
from lossatlas.study.report.curvature import extremes, measured
from lossatlas.study.report.material import Material


def measures(material: Material, others: Sequence[Section]) -> Section | None:
    """The appendix of all measures. `others` are the parts of the report whose figures need not be shown again."""
    shown = {PurePosixPath(path) for path in _figures_in(others)}
    sections = [_of_probe(material, probe, shown) for probe in material.study.probes.of("model", "trajectory")]
    present = tuple(section for section in sections if section)
    words = "The smallest and the largest value of every measure, and the networks that have them. Training data."
    return (
        Section("appendix-measures", "Every measure", (Paragraph((words,)),), present, appendix=True)
        if present
        else None
    )


def _of_probe(material: Material, probe: Probe, shown: set[PurePosixPath]) -> Section | None:
    lines: list[Text] = []
    for name, column in probe.columns.items():
        own = name if name in STANDING else probe.column(name)  # what several probes say of a point stands once
        rows = measured(material, own)
        if column.boolean and rows:
            yes = sum(bool(row[own]) for row in rows)
            lines.append((f"{column.words}: {yes} of {counted(len(rows), 'run')}",))
        elif rows:
            lines.append(extremes(material, rows, own, column.words))
    blocks: list[Block] = [Items(tuple(line for line in lines if line))] if any(lines) else []
    if not any(path.parent.name == probe.place and path.match(probe.figure("*")) for path in shown):
        blocks += _example(material, probe)
    return Section(f"measures-{probe.name}", probe.heading, tuple(blocks)) if blocks else None


def _example(material: Material, probe: Probe) -> Iterator[Block]:
    """All figures of the probe around the first network that has any."""
    for run in material.drawn:
        files = sorted(material.store.figures_of(run, probe.name).glob(probe.figure("*")))
        if files:
            figures = [
                material.figure(f"measures-{file.stem}", file, (f"{probe.heading}: ", material.link(run), "."), run=run)
                for file in files
            ]
            yield FigureRow(tuple(figure for figure in figures if figure))
            return


def _figures_in(sections: Iterable[Section]) -> Iterator[str]:
    """Paths of the figures that sections show."""
    for section in sections:
        for block in section.blocks:
            for figure in block.figures if isinstance(block, FigureRow) else [block]:
                if isinstance(figure, Figure):
                    yield figure.path
        yield from _figures_in(section.sections)
