"""The forest plot of a study: whole axes to a figure, as far as they fit."""

from __future__ import annotations

import math

from lossatlas.figures.forest import ForestRow, fits
from lossatlas.study.report.verdicts import PAGE, _pages


def row(group: str, statement: str) -> ForestRow:
    bound = (0.0, math.inf)
    return ForestRow(
        statement=statement, group=group, estimate=1.0, low=0.5, high=1.5, configurations_low=0.2,
        configurations_high=1.8, bound=bound, verdict="supported", number="1 [0.5, 1.5]",
    )  # fmt: skip


def test_every_page_of_findings_is_one_figure_however_long_the_statements_are():
    long = "a statement of many words that takes line after line on a figure, " * 12
    rows = [row(group, f"{index} {long if group == 'b' else 'short'}") for group in "abc" for index in range(10)]
    pages = list(_pages(rows))
    assert [one for page in pages for one in page] == rows
    assert all(len(page) <= PAGE and fits(page) and fits(page, narrow=True) for page in pages)
    assert not (fits(rows) and fits(rows, narrow=True))


def test_axes_stay_whole_where_they_fit():
    rows = [row(group, f"{index} short") for group in "abc" for index in range(6)]
    assert [len(page) for page in _pages(rows)] == [12, 6]
