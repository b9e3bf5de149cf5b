"""Blocks of a document as HTML."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lossatlas.document.blocks import (
    Block,
    Cell,
    Code,
    Figure,
    FigureRow,
    Inline,
    Items,
    Link,
    Paragraph,
    Reference,
    Section,
    Strong,
    Table,
    Text,
    Wall,
    plain,
)

LONG = 40  # rows above which a table scrolls in a frame of its own, under its headings


@dataclass(frozen=True)
class Links:
    """Where the targets of a document lead on its pages. Here they lead to the files in `folder` that they name."""

    folder: Path

    def page(self, target: str) -> str:
        """The page or file to open for a target."""
        return target

    def of_row(self, cells: tuple[Cell, ...]) -> str | None:
        """The target that the numbers of a table's row lead to."""
        return None

    def source(self, figure: Figure) -> tuple[str, str] | None:
        """Name and target of what a figure was measured on, where its caption does not say so."""
        return None

    def surface(self, figure: Figure) -> tuple[str, str] | None:
        """Script and name of the surface that can take a figure's place."""
        return None


class Writer:
    """Writes blocks for a page from which `root` leads to the document's folder. `named`: the number of each label."""

    def __init__(self, links: Links, root: str = "", named: Mapping[str, str] | None = None) -> None:
        self.links = links
        self.root = root
        self.named = named or {}

    # Sections ----------------------------------------------------------------------------------------------------

    def section(self, section: Section, level: int = 2) -> Iterator[str]:
        label = escape(section.label)
        yield f'<section id="{label}">'
        yield f'<h{level}>{self.number(section)}<a href="#{label}">{escape(section.title)}</a></h{level}>'
        for block in section.blocks:
            yield self.block(block)
        for inner in section.sections:
            yield from self.section(inner, min(level + 1, 6))
        yield "</section>"

    def number(self, section: Section) -> str:
        """`3.2`, or `Appendix A` for what has a letter; nothing on a page without numbers."""
        if section.label not in self.named:
            return ""
        kind, number = self.named[section.label].split(" ")
        text = f"{kind} {number}" if kind == "Appendix" and "." not in number else number
        return f'<span class="number">{text}</span> '

    def contents(self, sections: tuple[Section, ...]) -> str:
        """Sections and what is in them as nested lists of links."""
        if not sections:
            return ""
        entries = (
            f'<li><a href="#{escape(section.label)}">{self.number(section)}{escape(section.title)}</a>'
            f"{self.contents(section.sections)}</li>"
            for section in sections
        )
        return f"<ol>{''.join(entries)}</ol>"

    # Blocks ------------------------------------------------------------------------------------------------------

    def block(self, block: Block) -> str:
        match block:
            case Paragraph(text):
                return f"<p>{self.text(text)}</p>"
            case Items(items):
                return f"<ul>{''.join(f'<li>{self.text(item)}</li>' for item in items)}</ul>"
            case Table():
                return self.table(block)
            case Figure():
                return self.figure(block)
            case Wall():
                return self.wall(block)
            case FigureRow(figures):
                return f'<div class="row">{"".join(map(self.figure, figures))}</div>'

    def table(self, table: Table) -> str:
        """A table in a frame that scrolls where the page is too narrow; `data-value` is what a column sorts by."""
        label = escape(table.label)
        heads = "".join(
            f'<th scope="col"{_numeric(numeric)}>{escape(heading)}</th>'
            for heading, numeric in zip(table.headings, table.numeric, strict=True)
        )
        rows = "".join(f"<tr>{''.join(self.row(row, table.numeric))}</tr>\n" for row in table.rows)
        frame = "frame long" if len(table.rows) > LONG else "frame"
        caption = self.caption(table.label, table.caption)
        named = f'aria-labelledby="{label}-caption"' if caption else 'aria-label="table"'
        return (
            f'<figure class="table" id="{label}">{caption}<div class="{frame}" role="region" tabindex="0" {named}>'
            f"<table><thead><tr>{heads}</tr></thead>\n<tbody>{rows}</tbody></table></div></figure>"
        )

    def row(self, cells: tuple[Cell, ...], numeric: tuple[bool, ...]) -> Iterator[str]:
        """Cells; numbers lead to where the whole row leads."""
        target = self.links.of_row(cells)
        for cell, is_number in zip(cells, numeric, strict=True):
            value = "" if cell.value is None or math.isnan(cell.value) else f' data-value="{cell.value!r}"'
            yield f"<td{_numeric(is_number)}{value}>{self.cell(cell, target if is_number else None)}</td>"

    def cell(self, cell: Cell, of_row: str | None = None) -> str:
        if cell.image:
            shown = self.image(cell.image, cell.text, "thumbnail")
            return f'<a href="{self.href(cell.target or cell.image)}">{shown}</a>'
        if cell.target:
            return f'<a href="{self.href(cell.target)}">{escape(cell.text)}</a>'
        if of_row and cell.value is not None:  # reached by keyboard through the cell that names it
            return f'<a href="{self.href(of_row)}" tabindex="-1">{escape(cell.text)}</a>'
        return escape(cell.text)

    def figure(self, figure: Figure) -> str:
        """A picture and its caption; `data-plane` says which surface can take its place."""
        surface, said = self.links.surface(figure), self.links.source(figure)
        turns = f' data-run="{escape(surface[0])}" data-plane="{escape(surface[1])}"' if surface else ""
        source = f' <a class="source" href="{self.href(said[1])}">{escape(said[0])}</a>' if said else ""
        href = self.href(figure.path)
        image = self.image(figure.path, plain(figure.caption))
        if figure.narrow:
            source_set = f'<source media="(max-width: 40rem)" srcset="{self.href(figure.narrow)}">'
            image = f"<picture>{source_set}{image}</picture>"
        return (
            f'<figure class="picture" id="{escape(figure.label)}"{turns}>'
            f'<div class="stage"><a href="{href}">{image}</a></div>'
            f"{self.caption(figure.label, figure.caption, source)}</figure>"
        )

    def wall(self, wall: Wall) -> str:
        """The image of the whole wall, and what a script needs to put the reader's own grid in its place."""
        tiles = []
        for tile in wall.tiles:
            surface = self.links.surface(Figure("", (), tile.picture, tile.run))
            tiles.append(
                {
                    "levels": tile.levels,
                    "image": self.href(tile.path),
                    "page": self.href(tile.run),
                    "surface": surface,
                    "numbers": tile.numbers,
                }
            )
        data = {
            "factors": wall.factors, "rows": wall.rows, "columns": wall.columns, "scale": self.href(wall.scale),
            "tiles": tiles,
        }  # fmt: skip
        image = self.image(wall.path, plain(wall.caption)).replace(' loading="lazy"', "")
        return (
            f'<figure class="wall" id="{escape(wall.label)}">'
            f'<div class="stage"><a href="{self.href(wall.path)}">{image}</a></div>'
            f'<script type="application/json">{script(data)}</script>'
            f"{self.caption(wall.label, wall.caption)}</figure>"
        )

    def image(self, path: str, text: str, style: str = "") -> str:
        width, height = _size(self.links.folder / path)
        size = f' width="{width}" height="{height}"' if width else ""
        kind = f' class="{style}"' if style else ""
        return f'<img{kind} src="{self.href(path)}" alt="{escape(text)}"{size} loading="lazy" decoding="async">'

    def caption(self, label: str, text: Text, more: str = "") -> str:
        if not text and not more:
            return ""
        number = f"<strong>{self.named[label]}.</strong> " if label in self.named else ""
        return f'<figcaption id="{escape(label)}-caption">{number}{self.text(text)}{more}</figcaption>'

    # Text --------------------------------------------------------------------------------------------------------

    def text(self, text: Text) -> str:
        return "".join(map(self.inline, text))

    def inline(self, part: Inline) -> str:
        match part:
            case str():
                return escape(part)
            case Strong(text):
                return f"<strong>{escape(text)}</strong>"
            case Code(text):
                return f"<code>{escape(text)}</code>"
            case Link(text, target):
                return f'<a href="{self.href(target)}">{escape(text)}</a>'
            case Reference(label):
                return f'<a class="reference" href="#{escape(label)}">{escape(self.named[label])}</a>'

    def href(self, target: str) -> str:
        return escape(address(self.links.page(target), self.root))


def script(value: Any) -> str:
    """A value as JavaScript, safe within a `<script>` too."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def address(target: str, root: str = "") -> str:
    """A target as the `href` of a page from which `root` leads to its folder; what is on the web stays as it is."""
    return target if "://" in target else quote(root + target, safe="/=#.,~-_")


def _numeric(numeric: bool) -> str:
    return ' class="n"' if numeric else ""


@cache
def _size(image: Path) -> tuple[int, int]:
    """Pixels of a PNG, so that the page does not move when it comes; zeros for what is no PNG."""
    if not image.is_file():
        return 0, 0
    with image.open("rb") as file:
        head = file.read(24)
    return struct.unpack(">II", head[16:24]) if head[1:4] == b"PNG" else (0, 0)
