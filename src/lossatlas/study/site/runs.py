"""The page of a run: what it is, what was measured of it, its figures, its files, and the paths to other runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lossatlas.document.blocks import Block, Cell, Figure, FigureRow, Items, Link, Paragraph, Section, Strong, Table
from lossatlas.files import read_json
from lossatlas.numbers import MISSING, Row
from lossatlas.study.config import Run
from lossatlas.study.site.site import ASSETS, Site, slug

# What the columns of `runs.csv` are called, in the order in which a page shows them.
NUMBERS = {
    "train_loss": "Training loss",
    "test_loss": "Test loss",
    "train_accuracy": "Training accuracy",
    "test_accuracy": "Test accuracy",
    "top_eigenvalue": "Largest eigenvalue of the Hessian",
    "smallest_eigenvalue": "Smallest eigenvalue of the Hessian",
    "trace": "Trace of the Hessian",
    "trace_error": "Standard error of the trace",
    "sharpness": "ε-sharpness: largest increase of the loss",
    "sharpness_mean": "Mean increase of the loss",
    "interpolation_bump": "Largest rise from initial to final weights",
    "interpolation_monotone": "Monotone from initial to final weights",
    "slice_width": "Width of the random slice",
    "explained_variance": "Share of the path in its plane",
    "off_plane": "Largest relative distance from that plane",
    "surface_error": "Largest error to expect of that surface, of its range",
}
# Figures by the end of their file's name, in the order in which they are shown.
_FIGURES = {
    "surface": "Loss as a surface",
    "contour": "Loss as contours",
    "loss": "Loss",
    "accuracy": "Accuracy",
    "spectrum": "Eigenvalues of the Hessian",
    "hist": "Increase of the loss under random perturbations",
}
_GROUPS = {
    "surfaces": ("Surfaces", ("random_slice/slice2d_surface.png", "pca/plane_surface.png")),
    "path": ("From initial to final weights", ("interpolation/*.png",)),
    "slices": ("Along random directions", ("random_slice/slice1d_*.png", "random_slice/slice2d_[!s]*.png")),
    "plane": ("On the plane of the training path", ("pca/plane_[!s]*.png",)),
    "curvature": ("Curvature and sharpness", ("hessian/*.png", "sharpness/*.png")),
}


def sections(site: Site, run: Run, row: Row) -> list[Section]:
    """Everything that a run's page says below its heading, but for the curves of its training. `row` is of runs.csv."""
    found = [
        Section("settings", "Settings", (_pairs("settings-table", _settings(site, run)),)),
        Section("numbers", "Numbers", (_pairs("numbers-table", numbers(row), numeric=True),)),
        *(Section(label, title, _figures(site, run, patterns)) for label, (title, patterns) in _GROUPS.items()),
        Section("decay", "At other weight decays", _over_weight_decay(site, run)),
        Section("partners", "Paths to other runs", tuple(_partners(site, run))),
        Section("files", "Files", tuple(_files(site, run))),
    ]
    return [section for section in found if section.blocks]


def state(site: Site, run: Run) -> list[str]:
    """What a reader must know before the numbers."""
    failed = site.store.failures(site.store.run_folder(run))
    said = [f"Failed: {what}. {message}" for what, message in failed.items()]
    if not site.store.trained(run):
        return ["This run has not been trained.", *said]
    if site.store.diverged(run):
        return ["The training of this run diverged: nothing was measured around it.", *said]
    return said


def numbers(row: Row) -> list[tuple[str, Cell]]:
    """The measures of a row of runs.csv, those it does not have as a dash."""
    return [(words, number(row[name])) for name, words in NUMBERS.items() if name in row]


def number(value: Any) -> Cell:
    """
    >>> number(0.00123456).text, number(True).text, number(float("nan")).text
    ('0.001235', 'yes', '–')
    """
    if value is None or value != value or str(value) == "<NA>":
        return Cell(MISSING)
    if isinstance(value, bool) or str(value) in ("True", "False"):
        return Cell("yes" if value else "no")
    return Cell(format(value, "#.4g").rstrip(".") if value else "0", value=float(value))


def _settings(site: Site, run: Run) -> Iterator[tuple[str, Cell]]:
    names = ("dataset", "architecture", "activation", "optimizer", "weight_decay", "seed")
    file = site.store.run_folder(run) / "config.json"
    config = read_json(file) if file.is_file() else run.model_dump()
    for name in names:
        yield _words(name), Cell(_text(config[name]))
    yield from ((_words(name), Cell(f"{value:,}")) for name, value in config.items() if name == "parameters")
    for group in ("data", "training"):
        for name, value in config.get(group, {}).items():
            yield f"{_words(group)}: {_words(name).lower()}", Cell(_text(value))


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _text(value: Any) -> str:
    return format(value, "g") if isinstance(value, float) else str(value)


def _pairs(label: str, pairs: Any, *, numeric: bool = False) -> Table:
    rows = tuple((Cell(name), cell) for name, cell in pairs)
    return Table(label, (), ("Setting" if not numeric else "Measure", "Value"), (False, numeric), rows)


# Figures -------------------------------------------------------------------------------------------------------


def _figures(site: Site, run: Run, patterns: tuple[str, ...]) -> tuple[Block, ...]:
    """The figures whose files match, side by side; those of surfaces turn."""
    folder = site.store.figure_folder(run)
    owner = site.path(site.store.run_folder(run))
    figures = tuple(
        Figure(file.stem, (_caption(file),), site.path(file), owner)
        for pattern in patterns
        for file in sorted(folder.glob(pattern), key=_place)
    )
    return (FigureRow(figures),) if figures else ()


def _over_weight_decay(site: Site, run: Run) -> tuple[Block, ...]:
    """The figures over weight decay of the run's configuration."""
    folder = site.store.regularization_figure_folder(run)
    figures = tuple(
        Figure(f"decay-{file.stem}", (_words(file.stem.replace("_wd=", " at weight decay ")),), site.path(file))
        for file in sorted(folder.glob("*.png"))
    )
    return (FigureRow(figures),) if figures else ()


def _place(file: Path) -> tuple[int, str]:
    kind = file.stem.split("_")[-1]
    return list(_FIGURES).index(kind) if kind in _FIGURES else len(_FIGURES), file.stem


def _caption(file: Path) -> str:
    """What a figure shows, and over what where the heading leaves that open."""
    words = _FIGURES.get(file.stem.split("_")[-1], _words(file.stem))
    over = {"slice1d": " along one direction", "slice2d": " along two directions", "plane": " over the path's plane"}
    return words + over.get(file.stem.split("_")[0], "")


# Other runs ----------------------------------------------------------------------------------------------------


def _partners(site: Site, run: Run) -> Iterator[Block]:
    """The barriers on the straight paths from this run to others, and their figures."""
    rows, figures = [], {}
    for a, b, pair in _paths(site, run):
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
        for file in sorted(site.store.pair_figure_folder(a, b).glob("*.png"), key=_place):
            label = f"{slug(partner)}-{file.stem}"
            link = Link(name, site.path(site.store.run_folder(partner)))
            figures[label] = Figure(label, (f"{_caption(file)} on the path to ", link), site.path(file))
    if rows:
        headings = ("To", "Path", "Train barrier", "Test barrier", "Train excess", "Test excess", "Distance", "Compare")
        numeric = (False, False, True, True, True, True, True, False)
        yield Table("partners-table", (), headings, numeric, tuple(rows))
    if figures:
        yield FigureRow(tuple(figures.values()))


def _paths(site: Site, run: Run) -> Iterator[tuple[Run, Run, dict[str, Any]]]:
    """Every measured path that starts or ends at a run: both its ends, and its row of `barriers.json`."""
    for field, key, file in (
        ("seed", "seeds", site.store.barriers_file(run)),
        ("optimizer", "optimizers", site.store.optimizer_barriers_file(run)),
    ):
        for pair in read_json(file)["pairs"] if file.is_file() else ():
            if getattr(run, field) in pair[key]:
                a, b = (run.model_copy(update={field: value}) for value in pair[key])
                yield a, b, pair


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
