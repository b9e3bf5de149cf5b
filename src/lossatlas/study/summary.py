"""The Markdown pages of a study: they put tables into words and compute nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from lossatlas.study.config import Run, Study, parse_architecture
from lossatlas.study.statistics import unmatched
from lossatlas.study.store import Store, pair_name, write_text
from lossatlas.study.tables import CONFIGURATION, SPLITS, Tables, first_of_each_configuration, with_shape

Row = Mapping[str, Any]
Column = tuple[str, Callable[[Row], str]]  # heading, and the cell of a row

FACTORS = ("depth", "width", "activation", "optimizer")
PAGES = (*(f"{factor}_study" for factor in FACTORS), "connectivity_study")


def write_pages(store: Store, tables: Tables) -> list[Path]:
    """Write summary.md and one page per study at the root of the store, from the tables; returns their paths."""
    pages = {
        "summary": _summary(store, tables),
        **{f"{factor}_study": _factor_page(store, tables, factor) for factor in FACTORS},
        "connectivity_study": _connectivity_page(store, tables),
    }
    for name, text in pages.items():
        write_text(store.root / f"{name}.md", text)
    return [store.root / f"{name}.md" for name in pages]


# Numbers and tables as text ------------------------------------------------------------------------------------


def loss_text(value: float) -> str:
    """Three significant digits.

    >>> [loss_text(value) for value in (0.12, 123.4, 0.0)]
    ['0.120', '123', '0.00']
    """
    return format(value, "#.3g").rstrip(".")


def accuracy_text(value: float) -> str:
    return format(value, ".4f")


def interval_text(row: Row, name: str, form: Callable[[float], str]) -> str:
    """`mean [low, high]`; `mean [–]` where there is no interval, `–` where there is no mean."""
    mean, low, high = (row[name + part] for part in ("", "_low", "_high"))
    if math.isnan(mean):
        return "–"
    return f"{form(mean)} [–]" if math.isnan(low) else f"{form(mean)} [{form(low)}, {form(high)}]"


def markdown_table(columns: Sequence[Column], rows: Iterable[Row]) -> str:
    """A GitHub table with one line per row."""
    lines = [[heading for heading, _ in columns], ["---"] * len(columns)]
    lines += [[cell(row) for _, cell in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(heading: str, name: str) -> Column:
    return heading, lambda row: format(row[name], "g") if isinstance(row[name], float) else str(row[name])


def _loss(heading: str, name: str, *, interval: bool = False) -> Column:
    return heading, lambda row: interval_text(row, name, loss_text) if interval else loss_text(row[name])


_TEST_MEANS: list[Column] = [
    _plain("n", "n"),
    _plain("Diverged", "diverged"),
    _loss("Mean test loss", "mean_test_loss", interval=True),
    ("Mean test accuracy", lambda row: interval_text(row, "mean_test_accuracy", accuracy_text)),
]


def _configuration_columns(study: Study) -> list[Column]:
    names = [_plain(name.replace("_", " ").capitalize(), name) for name in CONFIGURATION]
    return names if len(study.training.weight_decays) > 1 else names[:-1]


def _configuration_name(study: Study, row: Row) -> str:
    return " · ".join(cell(row) for _, cell in _configuration_columns(study))


def _rows(table: pd.DataFrame) -> list[Row]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


# Pages ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Link:
    """A link, relative to the root of the store."""

    text: str
    target: str


_environment = Environment(
    loader=PackageLoader("lossatlas.study"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_environment.filters["loss"] = loss_text


def _render(template: str, store: Store, **values: Any) -> str:
    return _environment.get_template(f"{template}.md.jinja").render(study=store.study, **values).rstrip() + "\n"


def _summary(store: Store, tables: Tables) -> str:
    rows = _rows(tables["configurations"])
    ranked = _ranked(rows)
    shown = min(3, len(ranked) // 2)
    runs = list(store.study.runs())
    return _render(
        "summary",
        store,
        planned=len(runs),
        configurations=len(first_of_each_configuration(store)),
        untrained=[run for run in runs if not store.trained(run)],
        diverged=[run for run in runs if store.trained(run) and store.diverged(run)],
        failures=[
            (folder.relative_to(store.root).as_posix(), what, " ".join(message.replace("`", "'").split()))
            for folder, failed in store.all_failures().items()
            for what, message in failed.items()
        ],
        table=markdown_table([*_configuration_columns(store.study), *_TEST_MEANS], rows),
        extremes={"Lowest": ranked[:shown], "Highest": ranked[len(ranked) - shown :][::-1]},
        name=lambda row: _configuration_name(store.study, row),
        loss=lambda row: interval_text(row, "mean_test_loss", loss_text),
        accuracy=lambda row: interval_text(row, "mean_test_accuracy", accuracy_text),
        **_spread(rows, rows),
        pages=[Link(f"{page.split('_')[0].capitalize()} study", f"{page}.md") for page in PAGES],
        csv=[Link(f"{name}.csv", f"tables/{name}.csv") for name in tables],
        figures=[
            Link(_configuration_name(store.study, run.model_dump()), folder.relative_to(store.root).as_posix() + "/")
            for run in first_of_each_configuration(store)
            if (folder := store.configuration_figure_folder(run)).is_dir()
        ],
    )


def _factor_page(store: Store, tables: Tables, factor: str) -> str:
    rows = _rows(tables[factor])
    runs = with_shape(tables["runs"])
    others = [name for name in ("dataset", *FACTORS, "weight_decay") if name != factor]
    mixed = {
        other: [(level, _counted(counts.loc[level])) for level in counts.index]
        for other, counts in unmatched(runs, factor, others).items()
    }
    names = [_plain(heading, heading.lower()) for heading in (factor.capitalize(), "Datasets")]
    names += [_plain(name.capitalize(), name) for name in ("activations", "optimizers") if name != f"{factor}s"]
    by_architecture = [_plain("Architecture", "architecture"), *names[1:], *_TEST_MEANS]
    return _render(
        "factor",
        store,
        factor=factor,
        table=markdown_table([*names, *_TEST_MEANS], rows),
        rows=rows,
        ranked=_ranked(rows),
        mixed=mixed,
        architectures=markdown_table(by_architecture, _rows(tables["architecture"])),
        diverged=sum(row["diverged"] for row in rows),
        **_spread(rows, _rows(tables["configurations"])),
        examples=_examples(store, factor),
    )


def _connectivity_page(store: Store, tables: Tables) -> str:
    names = _configuration_columns(store.study)
    connectivity, paired = _rows(tables["connectivity"]), _rows(tables["alignment"])
    pairs = _plain("Pairs", "num_pairs")
    columns: list[Column] = [*names, ("Aligned", lambda row: "yes" if row["aligned"] else "no"), pairs]
    for what in ("mean train barrier", "mean test barrier", "max train barrier", "max test barrier"):
        columns.append(_loss(what.capitalize(), what.replace(" ", "_"), interval=what.startswith("mean")))
    columns += [_loss(f"Mean {split} excess", f"mean_{split}_excess") for split in SPLITS]
    changes: list[Column] = [*names, pairs]
    for split in SPLITS:
        changes += [
            _loss(f"{split.capitalize()} barrier as trained", f"mean_{split}_barrier"),
            _loss("aligned", f"mean_{split}_barrier_aligned"),
            _loss("change", f"mean_{split}_change", interval=True),
            _plain("lowered", f"{split}_lowered"),
        ]
    return _render(
        "connectivity",
        store,
        rows=connectivity,
        table=markdown_table(columns, connectivity),
        paired=paired,
        changes=markdown_table(changes, paired),
        total={name: sum(row[name] for row in paired) for name in ("num_pairs", "train_lowered", "test_lowered")},
        no_interval=any(math.isnan(row["mean_train_barrier_low"]) for row in connectivity),
        examples=_connectivity_examples(store),
    )


def _ranked(rows: Sequence[Row]) -> list[Row]:
    """Rows with a mean, from the lowest test loss to the highest."""
    return sorted((row for row in rows if row["n"]), key=lambda row: row["mean_test_loss"])


def _spread(rows: Sequence[Row], configurations: Sequence[Row]) -> dict[str, Any]:
    """The largest number of seeds in a configuration, and whether a mean has no interval."""
    no_spread = any(row["n"] and math.isnan(row["mean_test_loss_low"]) for row in rows)
    return {"most": max((row["n"] for row in configurations), default=0), "no_spread": no_spread}


def _counted(counts: pd.Series) -> str:
    return ", ".join(f"{value} ({count} runs)" for value, count in counts.items() if count)


# Figures to look at --------------------------------------------------------------------------------------------


def _examples(store: Store, factor: str) -> list[tuple[Any, str, list[Link]]]:
    """For each level of a factor its first run that has figures, as (level, name of the run, links)."""
    found: dict[Any, tuple[str, list[Link]]] = {}
    for run in store.study.runs():
        depth, width = parse_architecture(run.architecture)
        level = {"depth": depth, "width": width, **run.model_dump()}[factor]
        if level not in found and (links := _links(store, store.figure_folder(run))):
            found[level] = (str(run), links)
    return [(level, *found[level]) for level in sorted(found)]


def _links(store: Store, folder: Path) -> list[Link]:
    files = sorted(folder.glob("*/*.png"))
    return [Link(file.stem.replace("_", " "), file.relative_to(store.root).as_posix()) for file in files]


def _connectivity_examples(store: Store) -> list[Link]:
    """For each configuration the first pair of seeds with a figure."""
    links = []
    for first in first_of_each_configuration(store):
        seeds: list[Run] = [first.model_copy(update={"seed": seed}) for seed in store.study.training.seeds]
        for a, b in itertools.combinations(seeds, 2):
            file = store.configuration_figure_folder(a) / "connectivity" / pair_name(a, b) / "connectivity_loss.png"
            if file.is_file():
                text = f"{_configuration_name(store.study, a.model_dump())}, seeds {a.seed} and {b.seed}"
                links.append(Link(text, file.relative_to(store.root).as_posix()))
                break
    return links
