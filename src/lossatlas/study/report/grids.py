"""Tables of a document from rows: a column is a heading and what stands in the cell of a row."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from lossatlas.document.blocks import Cell, Table, Text
from lossatlas.numbers import (
    MISSING,
    Form,
    Row,
    accuracy_text,
    between,
    general_text,
    interval_text,
    loss_text,
    metric_form,
)
from lossatlas.study.analysis.runs import CONFIGURATION
from lossatlas.study.config import Study


@dataclass(frozen=True)
class Column:
    heading: str
    cell: Callable[[Row], Cell]
    numeric: bool = False


def table(label: str, caption: Text, columns: Sequence[Column], rows: Iterable[Row]) -> Table:
    return Table(
        label=label,
        caption=caption,
        headings=tuple(column.heading for column in columns),
        numeric=tuple(column.numeric for column in columns),
        rows=tuple(tuple(column.cell(row) for column in columns) for row in rows),
    )


def plain(heading: str, name: str) -> Column:
    """A name, or a number as it is; what is missing is a dash."""

    def cell(row: Row) -> Cell:
        return Cell(general_text(row[name]))

    return Column(heading, cell)


def count(heading: str, name: str) -> Column:
    return Column(heading, lambda row: Cell(str(row[name]), value=float(row[name])), numeric=True)


def number(heading: str, name: str, form: Form = loss_text) -> Column:
    def cell(row: Row) -> Cell:
        value = row.get(name)
        if not isinstance(value, int | float) or math.isnan(value):
            return Cell(MISSING)
        return Cell(form(value), value=float(value))

    return Column(heading, cell, numeric=True)


def metric(name: str) -> Column:
    """A loss or an accuracy under its own name."""
    return number(heading(name), name, metric_form(name))


def mean(heading: str, name: str, form: Form = loss_text) -> Column:
    """A mean and its interval."""
    return Column(heading, lambda row: Cell(interval_text(row, name, form), value=_value(row[name])), numeric=True)


def estimate(heading: str, name: str, form: Form = loss_text) -> Column:
    """An estimate `name` whose interval stands in `low` and `high`."""

    def cell(row: Row) -> Cell:
        return Cell(between(row[name], row["low"], row["high"], form), value=_value(row[name]))

    return Column(heading, cell, numeric=True)


def heading(name: str) -> str:
    """
    >>> heading("weight_decay")
    'Weight decay'
    """
    return name.replace("_", " ").capitalize()


def text(heading: str, words: Callable[[Row], str]) -> Column:
    return Column(heading, lambda row: Cell(words(row)))


def _value(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


# Columns that many tables have ---------------------------------------------------------------------------------

TEST_MEANS: tuple[Column, ...] = (
    count("n", "n"),
    count("Diverged", "diverged"),
    mean("Mean test loss", "mean_test_loss"),
    mean("Mean test accuracy", "mean_test_accuracy", accuracy_text),
)


def configuration_columns(study: Study) -> list[Column]:
    """The name of a configuration; its weight decay where the study has several."""
    columns = [plain(heading(name), name) for name in CONFIGURATION]
    return columns if len(study.training.weight_decays) > 1 else columns[:-1]


def configuration_name(study: Study, row: Row) -> str:
    return " · ".join(column.cell(row).text for column in configuration_columns(study))
