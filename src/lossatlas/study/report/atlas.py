"""The first thing that a reader sees: the landscapes of a study, all at once."""

from __future__ import annotations

from lossatlas.document.blocks import Block, Figure, Paragraph, Section, Tile, Wall
from lossatlas.numbers import Row, accuracy_text, counted, general_text, loss_text, percent_text
from lossatlas.study.analysis.runs import RECENT
from lossatlas.study.atlas import COLUMNS, ROWS, SEPARATOR, Atlas
from lossatlas.study.config import Run
from lossatlas.study.report.material import Material

FACTORS = ("dataset", "architecture", "optimizer", "activation", "weight_decay", "seed")
# Of runs.csv: what stands beside the surface that a tap opens, where the study has it.
NUMBERS = {
    "train_loss": ("Training loss", loss_text),
    "test_loss": ("Test loss", loss_text),
    "test_accuracy": ("Test accuracy", accuracy_text),
    "gradient_norm": ("Gradient norm", loss_text),
    "recent_decrease": (f"Fall of the training loss over the last {RECENT} epochs", percent_text),
    "spectrum_top_eigenvalue": ("Largest eigenvalue", loss_text),
    "epsilon_sharpness_mean": ("Average sharpness", loss_text),
}


def atlas(material: Material) -> Section | None:
    """The wall; None for a study without planes, or before they were drawn."""
    shown = Atlas(material.store)
    planes = {run: file for run, file in shown.planes.items() if shown.tile(run).is_file()}
    if not planes or not shown.image(shown.datasets[0]).is_file():
        return None
    rows = {material.run_of(row): row for row in material.rows("runs")}
    tiles = tuple(_tile(material, shown, run, rows.get(run, {})) for run in planes)
    words = (
        f"The training loss of {counted(len(planes), 'network')}, each over the plane of its own training path. "
        "All maps have one height scale: blue is low, white is high. The path leads from the square, where training "
        "began, to the star, where it ended."
    )
    caption = ("The landscapes of the study. On a screen a tap on a map opens its surface, its numbers and its page.",)
    wall = Wall(
        label="atlas-wall",
        caption=caption,
        path=material.target(shown.image(shown.datasets[0])),
        scale=material.target(shown.scale),
        factors=tuple(name.replace("_", " ") for name in FACTORS),
        rows=SEPARATOR.join(ROWS),
        columns=SEPARATOR.join(COLUMNS),
        tiles=tiles,
    )
    others: list[Block] = [
        Figure(f"atlas-{dataset}", (f"The landscapes on {dataset}.",), material.target(shown.image(dataset)))
        for dataset in shown.datasets[1:]
        if shown.image(dataset).is_file()
    ]
    return Section("atlas", "The landscapes", (wall, Paragraph((words,)), *others))


def _tile(material: Material, shown: Atlas, run: Run, row: Row) -> Tile:
    numbers = tuple(
        (words, form(row[name])) for name, (words, form) in NUMBERS.items() if name in row and row[name] == row[name]
    )
    return Tile(
        path=material.target(shown.tile(run)),
        levels=tuple(general_text(getattr(run, name)) for name in FACTORS),
        run=material.target(material.store.run_folder(run)),
        picture=material.target(material.store.figure_file(run, shown.probe, "contour")),
        numbers=numbers,
    )
