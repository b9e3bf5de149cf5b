"""Drawing what is missing or stale: the figures of a result, in every format that is asked for."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import xarray as xr
from matplotlib.figure import Figure

from lossatlas.execution.failures import recording
from lossatlas.figures import plot
from lossatlas.files import write_bytes
from lossatlas.probes.probe import Probe
from lossatlas.results.storage import read_result

Format = Literal["png", "svg", "pdf"]
PNG: tuple[Format, ...] = ("png",)
# No dates and no random names: the same figure is the same bytes.
_METADATA: dict[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
# Of maps and surfaces 4 takes half the time of PNG's usual 6, for files 5 % larger.
_OPTIONS: dict[str, dict[str, Any]] = {"png": {"pil_kwargs": {"compress_level": 4}}}
_RC: Any = {"svg.hashsalt": "lossatlas", "pdf.fonttype": 42}


@dataclass(frozen=True)
class Drawing:
    """The figures of one result, or of several that are drawn together: `<folder>/<probe>_<kind>.<format>`."""

    probe: Probe
    sources: Mapping[str, Path]  # results by what the legend calls them; "" for one that has no name there
    folder: Path  # of the figures
    title: str
    failures: Path  # folder where a failure is recorded
    dpi: int

    def files(self, kinds: Sequence[str], formats: Sequence[Format]) -> list[Path]:
        """As PNG always, since reports show that."""
        every = dict.fromkeys((*PNG, *formats))
        return [self.folder / self.probe.figure(kind, form) for kind in kinds for form in every]

    def read(self) -> xr.Dataset | dict[str, xr.Dataset]:
        results = {label: read_result(file) for label, file in self.sources.items()}
        return results[""] if list(results) == [""] else results

    def stale(self, formats: Sequence[Format] = PNG) -> bool:
        """Whether a figure is missing, or older than what it shows; not where there is nothing to draw from."""
        if not self.sources or not all(source.is_file() for source in self.sources.values()):
            return False
        newest = max(source.stat().st_mtime_ns for source in self.sources.values())
        there = list(self.folder.glob(f"{self.probe.name}_*.png"))
        if there and min(file.stat().st_mtime_ns for file in there) < newest:
            return True
        files = self.files(plot.kinds(self.read()), formats)
        return not all(file.is_file() and file.stat().st_mtime_ns >= newest for file in files)


def stale(drawings: Iterable[Drawing], formats: Sequence[Format] = PNG) -> list[Drawing]:
    """What is to be drawn."""
    return [drawing for drawing in drawings if drawing.stale(formats)]


def draw(drawings: Iterable[Drawing], formats: Sequence[Format] = PNG) -> None:
    """Draw these, one after the other. What fails is recorded; the rest is drawn."""
    for drawing in drawings:
        with recording(f"figures of {drawing.probe.name}", drawing.failures):
            for kind, figure in plot.pages(drawing.read(), drawing.title):
                for file in drawing.files([kind], formats):
                    save(figure, file, dpi=drawing.dpi)


def save(figure: Figure, file: Path, *, dpi: int) -> None:
    """Write a figure as what the file's name says; the same figure is the same bytes."""
    image, form = io.BytesIO(), file.suffix[1:]
    with mpl.rc_context(_RC):
        options = {"metadata": _METADATA[form], **_OPTIONS.get(form, {})}
        figure.savefig(image, dpi=dpi, format=form, **options)
    write_bytes(file, image.getvalue())
