"""Every network of a study at a glance, for each quantity that a section is about: drawn from the tables, once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lossatlas.document.blocks import Figure
from lossatlas.execution.drawing import save
from lossatlas.figures.strips import strips
from lossatlas.study.analysis.runs import RECENT
from lossatlas.study.report.material import Material

DPI = 150


@dataclass(frozen=True)
class Quantity:
    """A column of runs.csv (of pairs where it is a barrier), and how it is shown."""

    words: str
    log: bool | None = None
    shown: Callable[[float], float] = float  # of the column's value


QUANTITIES: Mapping[str, Quantity] = {
    "test_loss": Quantity("test loss"),
    "test_accuracy": Quantity("test accuracy", log=False),
    "gradient_norm": Quantity("norm of the gradient of the training loss"),
    "recent_decrease": Quantity(
        f"training loss at the end over that {RECENT} epochs before", log=True, shown=lambda fall: 1 - fall
    ),
    "spectrum_top_eigenvalue": Quantity("largest eigenvalue of the Hessian", log=True),
    "epsilon_sharpness_mean": Quantity("average sharpness: mean increase nearby, even part", log=True),
    "linear_connectivity_barrier": Quantity("barrier of the training loss between seeds", log=False),
}
ROWS, SERIES = "architecture", "optimizer"


def strip_figure(material: Material, name: str) -> Figure | None:
    """The strip chart of a quantity, if it was drawn."""
    words = QUANTITIES[name].words
    caption = (f"{words[0].upper()}{words[1:]}: a dot for every network, by {ROWS} and {SERIES}.",)
    return material.figure(f"strip-{name.replace('_', '-')}", _file(material, name), caption)


def draw_strips(material: Material) -> None:
    """Draw what the tables have."""
    for name, quantity in QUANTITIES.items():
        values: dict[str, dict[str, list[float]]] = {}
        for row in material.rows("measures" if name == "linear_connectivity_barrier" else "runs"):
            value = row.get(name)
            if isinstance(value, int | float) and value == value:
                values.setdefault(str(row[ROWS]), {}).setdefault(str(row[SERIES]), []).append(quantity.shown(value))
        if values:
            words = quantity.words
            figure = strips(values, f"{words[0].upper()}{words[1:]}", words, log=quantity.log)
            save(figure, _file(material, name), dpi=DPI)


def _file(material: Material, name: str) -> Path:
    return material.store.root / "figures" / f"networks_{name}.png"
