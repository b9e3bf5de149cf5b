"""The page of a run: what it is, what was measured of it, its figures, its files, and the paths to other runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lossatlas.document.blocks import Block, Cell, Figure, FigureRow, Items, Link, Paragraph, Section, Strong, Table
from lossatlas.files import read_json
from lossatlas.numbers import MISSING, Row, general_text, measure_text, yes_or_no
from lossatlas.probes import BY_NAME, PROBES
from lossatlas.probes.probe import Probe
from lossatlas.study.analysis.runs import RECENT
from lossatlas.study.config import Run
from lossatlas.study.records import Records
from lossatlas.study.site.site import ASSETS, Site, slug

# What the columns of `runs.csv` are called, in the order in which a page shows them.
NUMBERS = {
    "train_loss": "Training loss",
    "test_loss": "Test loss",
    "train_accuracy": "Training accuracy",
    "test_accuracy": "Test accuracy",
    "epochs": "Epochs",
    "recent_decrease": f"Fall of the training loss over the last {RECENT} epochs, as a share",
    "gradient_norm": "Norm of the gradient",
    "gradient_norm_relative": "Norm of the gradient over that of one example's",
    "gradient_decrease": "What a step along it promises, as a share of the loss",
    "stationary": "Stationary",
    **{probe.column(name): column.words for probe in PROBES for name, column in probe.columns.items()},
}
# Figures by their kind, in the order in which they are shown.
_FIGURES = {
    "surface": "Loss as a surface",
    "contour": "Loss as contours",
    "loss": "Loss",
    "accuracy": "Accuracy",
    "spectrum": "Eigenvalues of the Hessian",
    "hist": "Change of the loss under random perturbations: even and odd part",
    "radius": "The same by the size of the perturbations",
}


def sections(site: Site, records: Records, run: Run, row: Row) -> list[Section]:
    """Everything that a run's page says below its heading, but for the curves of its training. `row` is of runs.csv."""
    found = [
        Section("surfaces", "Surfaces", _surfaces(site, run)),
        Section("numbers", "Numbers", (_pairs("numbers-table", _known(row), numeric=True),)),
        Section("settings", "Settings", (_pairs("settings-table", _settings(site, run)),)),
        *(Section(probe.name, probe.heading, _figures(site, run, probe)) for probe in PROBES),
        Section("decay", "At other weight decays", _over_weight_decay(site, run)),
        Section("partners", "Paths to other runs", tuple(_partners(site, records, run))),
        Section("files", "Files", tuple(_files(site, run))),
    ]
    return [section for section in found if section.blocks]


def state(records: Records, run: Run, row: Row) -> list[str]:
    """What a reader must know before the numbers. `row` is of runs.csv."""
    failed = records.failures.get(records.store.run_folder(run), {})
    said = [f"Failed: {what}. {message}" for what, message in failed.items()]
    if run not in records.metrics:
        return ["This run has not been trained.", *said]
    if records.diverged(run):
        return ["The training of this run diverged: nothing was measured around it.", *said]
    if str(row.get("stationary")) == "False":
        said.append(
            "This run did not end at a stationary point: its curvature and sharpness are those of a point on a slope."
        )
    return said


def numbers(row: Row) -> list[tuple[str, Cell]]:
    """The measures of a row of runs.csv, those it does not have as a dash."""
    return [(words, number(row[name])) for name, words in NUMBERS.items() if name in row]


def _known(row: Row) -> list[tuple[str, Cell]]:
    """Those that were measured: of a further seed or draw they are few."""
    return [(words, cell) for words, cell in numbers(row) if cell.text != MISSING]


def number(value: Any) -> Cell:
    """
    >>> number(0.00123456).text, number(True).text, number(float("nan")).text
    ('0.001235', 'yes', '–')
    """
    if value is None or value != value or str(value) == "<NA>":
        return Cell(MISSING)
    if str(value) in ("True", "False"):
        return Cell(yes_or_no(value))
    return Cell(measure_text(value), value=float(value))


def _settings(site: Site, run: Run) -> Iterator[tuple[str, Cell]]:
    names = ("dataset", "architecture", "activation", "optimizer", "weight_decay", "data_seed", "seed")
    file = site.store.run_folder(run) / "config.json"
    config = read_json(file) if file.is_file() else run.model_dump()
    for name in names:
        yield _words(name), Cell(general_text(config[name]))
    yield from ((_words(name), Cell(f"{value:,}")) for name, value in config.items() if name == "parameters")
    for group in ("data", "training"):
        for name, value in config.get(group, {}).items():
            yield f"{_words(group)}: {_words(name).lower()}", Cell(general_text(value))


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _pairs(label: str, pairs: Any, *, numeric: bool = False) -> Table:
    rows = tuple((Cell(name), cell) for name, cell in pairs)
    return Table(label, (), ("Setting" if not numeric else "Measure", "Value"), (False, numeric), rows)


# Figures -------------------------------------------------------------------------------------------------------


def _surfaces(site: Site, run: Run) -> tuple[Block, ...]:
    """Every surface of the run: these turn."""
    files = {BY_NAME[plane]: site.store.figure_file(run, plane, "surface") for plane in site.planes(run)}
    return _row(site, run, {file: f"Loss {probe.title}" for probe, file in files.items() if file.is_file()})


def _figures(site: Site, run: Run, probe: Probe) -> tuple[Block, ...]:
    """The figures of a probe around the run, side by side, but for its surface."""
    files = site.store.figures_of(run, probe.name).glob(probe.figure("*"))
    shown = sorted((file for file in files if file.name != probe.figure("surface")), key=_place)
    return _row(site, run, {file: _caption(file) for file in shown})


def _row(site: Site, run: Run, captions: Mapping[Path, str]) -> tuple[Block, ...]:
    owner = site.path(site.store.run_folder(run))
    figures = tuple(Figure(file.stem, (words,), site.path(file), owner) for file, words in captions.items())
    return (FigureRow(figures),) if figures else ()


def _over_weight_decay(site: Site, run: Run) -> tuple[Block, ...]:
    """The figures over weight decay of the run's configuration."""
    lines, slices = "interpolate_by_weight_decay", "slice_by_weight_decay"
    decays = [general_text(decay) for decay in sorted(site.store.study.regularization.weight_decays)]
    shown = {
        (lines, "curves"): "Interpolation curves",
        (lines, "surface"): "Interpolation surface",
        **{(slices, f"surface_wd={decay}"): f"Slice surface at weight decay {decay}" for decay in decays},
        (slices, "contour"): "Slices contour",
    }
    files = {site.store.family_figure_file(run, probe, kind): words for (probe, kind), words in shown.items()}
    figures = tuple(
        Figure(f"decay-{file.stem}", (words,), site.path(file)) for file, words in files.items() if file.is_file()
    )
    return (FigureRow(figures),) if figures else ()


def _place(file: Path) -> tuple[int, str]:
    kind = file.stem.split("_")[-1]
    return list(_FIGURES).index(kind) if kind in _FIGURES else len(_FIGURES), file.stem


def _caption(file: Path) -> str:
    """What a figure shows."""
    return _FIGURES.get(file.stem.split("_")[-1], _words(file.stem))


# Other runs ----------------------------------------------------------------------------------------------------


def _partners(site: Site, records: Records, run: Run) -> Iterator[Block]:
    """The barriers on the straight paths from this run to others, and their figures."""
    rows, figures = [], {}
    for a, b, pair in records.paths(run):
        partner = b if a == run else a
        name = site.name(partner)
        compare = f"{ASSETS}/compare.html#{slug(run)},{slug(partner)}"
        rows.append(
            (
                Cell(name, target=site.path(site.store.run_folder(partner))),
                Cell("neurons aligned" if pair["aligned"] else "as trained"),
                *(number(pair[key]) for key in ("train_barrier", "test_barrier", "train_excess", "test_excess")),
                number(pair["distance"]),
                Cell("side by side", target=compare),
            )
        )
        for file in sorted(site.store.pair_figures(a, b, "linear_connectivity").glob("*.png"), key=_place):
            label = f"{slug(partner)}-{file.stem}"
            link = Link(name, site.path(site.store.run_folder(partner)))
            figures[label] = Figure(label, (f"{_caption(file)} on the path to ", link), site.path(file))
    if rows:
        headings = ("To", "Path", "Train barrier", "Test barrier", "Train excess", "Test excess", "Distance", "Compare")
        numeric = (False, False, True, True, True, True, True, False)
        yield Table("partners-table", (), headings, numeric, tuple(rows))
    if figures:
        yield FigureRow(tuple(figures.values()))


# Files ---------------------------------------------------------------------------------------------------------


def _files(site: Site, run: Run) -> Iterator[Block]:
    folder = site.store.run_folder(run)
    kept = [file for file in site.store.checkpoint_files(run) if file.is_file()]
    rest = [file for file in sorted(folder.rglob("*")) if file.suffix in (".json", ".csv", ".nc")]
    items = []
    for words, files in (
        ("Records", [file for file in rest if file.parent == folder]),
        ("Checkpoints", kept),
        ("Measurements", [file for file in rest if file.parent != folder]),
    ):
        links = [Link(file.relative_to(folder).as_posix(), site.path(file)) for file in files]
        if links:
            text = [part for link in links for part in (", ", link)][1:]
            items.append((Strong(f"{words}: "), *text))
    if items:
        yield Paragraph(("Weights are safetensors, measurements netCDF or JSON.",))
        yield Items(tuple(items))
