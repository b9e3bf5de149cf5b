"""What a report is made of, whatever it is written as: sections of paragraphs, lists, tables and figures.

Targets and paths are relative to the folder that the document is written to, with forward slashes. Text is plain:
every format escapes it in its own way; `Link`, `Strong`, `Code` and `Reference` are the only markup.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Link:
    """Text that leads to a file or folder below the document's own, or to the web."""

    text: str
    target: str


@dataclass(frozen=True)
class Strong:
    text: str


@dataclass(frozen=True)
class Code:
    text: str


@dataclass(frozen=True)
class Reference:
    """A mention of a table, figure or section by its label: formats that number put the number there."""

    label: str


Inline = str | Link | Strong | Code | Reference
Text = tuple[Inline, ...]


@dataclass(frozen=True)
class Paragraph:
    text: Text


@dataclass(frozen=True)
class Items:
    """A list with bullets."""

    items: tuple[Text, ...]


@dataclass(frozen=True)
class Cell:
    """What stands in a table: its text, the number to sort by if it is one, and where it leads; or a small image."""

    text: str
    value: float | None = None
    target: str | None = None
    image: str | None = None  # an image file, shown small; `text` stands for it where it cannot be


@dataclass(frozen=True)
class Table:
    """Columns by heading; every row has a cell for each. `numeric` columns are aligned to the right."""

    label: str
    caption: Text
    headings: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        for row in (self.numeric, *self.rows):
            if len(row) != len(self.headings):
                raise ValueError(f"table {self.label}: a row has {len(row)} cells for {len(self.headings)} headings")


@dataclass(frozen=True)
class Figure:
    """An image file. `run` names the folder of what it came from, for the link from the caption."""

    label: str
    caption: Text
    path: str
    run: str | None = None
    narrow: str | None = None  # the same for a narrow screen


@dataclass(frozen=True)
class Tile:
    """A small picture of a wall: the level of what it shows for every factor, where it leads, and its numbers."""

    path: str
    levels: tuple[str, ...]
    run: str  # the folder of what it came from
    picture: str  # the same in large, whose surface can be turned
    numbers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Wall:
    """Small pictures on one scale in a grid of two factors; where a page can do no more, one image of them all.

    Args:
        label, caption: as of a figure.
        path: the image of the wall.
        scale: the image of the scale alone.
        factors: names, in the order of every tile's levels.
        rows, columns: the factors of the grid at first; " · " joins two that stand together.
        tiles: the pictures.
    """

    label: str
    caption: Text
    path: str
    scale: str
    factors: tuple[str, ...]
    rows: str
    columns: str
    tiles: tuple[Tile, ...]

    @property
    def figure(self) -> Figure:
        return Figure(self.label, self.caption, self.path)


@dataclass(frozen=True)
class FigureRow:
    """Figures to be looked at together, side by side where there is room; drawn on one scale."""

    figures: tuple[Figure, ...]


Block = Paragraph | Items | Table | Figure | FigureRow | Wall


@dataclass(frozen=True)
class Section:
    label: str
    title: str
    blocks: tuple[Block, ...] = ()
    sections: tuple[Section, ...] = ()
    appendix: bool = False  # lettered, not numbered; top level only


@dataclass(frozen=True)
class Document:
    title: str
    subtitle: str
    sections: tuple[Section, ...] = field(default=())


def plain(text: Text) -> str:
    """Text without markup; references are left out."""
    return "".join(part if isinstance(part, str) else getattr(part, "text", "") for part in text)


# Going through a document --------------------------------------------------------------------------------------


def walk(document: Document) -> Iterator[Section | Block]:
    """Every section, and every block after the heading of its section, in the order in which they are read."""
    pending: list[Section | Block] = list(reversed(document.sections))
    while pending:
        item = pending.pop()
        yield item
        if isinstance(item, Section):
            pending += reversed((*item.blocks, *item.sections))
        elif isinstance(item, FigureRow):
            pending += reversed(item.figures)


def names(document: Document) -> dict[str, str]:
    """What each label is called: "Section 3.2", "Appendix A", "Table 4", "Figure 7".

    >>> names(Document("", "", (Section("a", "A"), Section("b", "B", (), (Section("c", "C"),), appendix=True))))
    {'a': 'Section 1', 'b': 'Appendix A', 'c': 'Appendix A.1'}

    Raises ValueError for a label that stands for two things.
    """
    named: dict[str, str] = {}
    for label, name in (*_sections(document), *_floats(document)):
        if label in named:
            raise ValueError(f"label {label!r} stands for {named[label]} and for {name} too: wanted one label for each")
        named[label] = name
    return named


def _floats(document: Document) -> Iterator[tuple[str, str]]:
    count: Counter[str] = Counter()
    for item in walk(document):
        if isinstance(item, Table | Figure | Wall):
            kind = "Table" if isinstance(item, Table) else "Figure"
            count[kind] += 1
            yield item.label, f"{kind} {count[kind]}"


def _sections(document: Document) -> Iterator[tuple[str, str]]:
    body = [section for section in document.sections if not section.appendix]
    appendices = [section for section in document.sections if section.appendix]
    for index, section in enumerate(body, start=1):
        yield from _numbered(section, "Section", str(index))
    for index, section in enumerate(appendices):
        yield from _numbered(section, "Appendix", chr(ord("A") + index))


def _numbered(section: Section, kind: str, number: str) -> Iterator[tuple[str, str]]:
    yield section.label, f"{kind} {number}"
    for index, inner in enumerate(section.sections, start=1):
        yield from _numbered(inner, kind, f"{number}.{index}")
