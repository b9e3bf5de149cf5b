"""A document as PDF, typeset by typst with the fonts that it brings: no fonts of the machine, no date, no network."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources, util
from pathlib import Path

from lossatlas.document.blocks import (
    Block,
    Cell,
    Code,
    Document,
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
    names,
    plain,
)
from lossatlas.errors import InputError

PORTRAIT, LANDSCAPE = 470, 725  # points between the margins of document.typ
SIZES = (9.0, 8.0, 7.2)  # points of the letters in a table, from the wished one to the smallest legible one
LETTER = 0.48  # width of a letter of Libertinus, in its size
PADDING = 7.5  # points of a cell beside its text
LONGEST = 30  # letters: a column with more is text that is broken into lines
NARROW = 12  # letters: columns of short names are broken into lines beside two of such text
WIDE = 1.7  # width over height of a figure that has two panels
THUMBNAIL = 76  # points
PIXELS_PER_POINT = 4.0  # of thumbnails: 288 dots per inch
NEEDED = {"typst": "typst", "PIL": "Pillow"}  # modules that only this file needs, and the packages they come in


def write_pdf(document: Document, root: Path) -> bytes:
    """The document typeset with all its images. The same document gives the same bytes.

    Args:
        document: what is written.
        root: the folder that paths of images are relative to.

    Raises InputError, one line, where typst or Pillow is not installed.
    """
    if lacking := missing_packages():
        raise InputError(f"a PDF needs {' and '.join(lacking)}: pip install 'lossatlas[study]'")
    import typst  # here and not above, since the library does without

    with tempfile.TemporaryDirectory() as folder:
        images = Images(root, Path(folder))
        (Path(folder) / "document.typ").write_text(_template(), encoding="utf-8")
        source = Path(folder) / "main.typ"
        source.write_text(write_typst(document, images), encoding="utf-8")
        return typst.compile(source, root=Path(folder), ignore_system_fonts=True)


def missing_packages() -> list[str]:
    """What a PDF needs and this installation lacks."""
    return [package for module, package in NEEDED.items() if util.find_spec(module) is None]


def write_typst(document: Document, images: Images) -> str:
    """The source of the PDF: calls of the functions of document.typ, all text in strings."""
    return "\n\n".join(_Writer(document, images).document()) + "\n"


def _template() -> str:
    return (resources.files("lossatlas.document") / "document.typ").read_text(encoding="utf-8")


class Images:
    """Images as typst is to find them: each once, without transparency, thumbnails small.

    Args:
        root: the folder that paths of images are relative to.
        folder: where the images are written for typst.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root
        self.folder = folder
        self.known: dict[tuple[str, bool], tuple[str, float]] = {}

    def file(self, path: str, *, small: bool = False) -> tuple[str, float]:
        """The name of the image for typst, and its width over its height."""
        if (path, small) not in self.known:
            self.known[path, small] = self._convert(path, f"{len(self.known)}", small)
        return self.known[path, small]

    def _convert(self, path: str, name: str, small: bool) -> tuple[str, float]:
        from PIL import Image  # here and not above, since the library does without

        with Image.open(self.root / path) as image:
            ratio = image.width / image.height
            opaque = Image.new("RGB", image.size, "white")
            opaque.paste(image, mask=image.getchannel("A") if "A" in image.getbands() else None)
        if small:
            width = round(THUMBNAIL * PIXELS_PER_POINT)
            name = f"{name}.jpg"
            opaque.resize((width, round(width / ratio)), Image.Resampling.LANCZOS).save(self.folder / name, quality=85)
        else:
            name = f"{name}.png"
            opaque.save(self.folder / name)
        return name, ratio


class _Writer:
    def __init__(self, document: Document, images: Images) -> None:
        self.named = names(document)
        self.whole = document
        self.images = images

    def document(self) -> Iterator[str]:
        title, subtitle = _string(self.whole.title), _string(self.whole.subtitle)
        yield '#import "document.typ": appendices, contents, data-table, landscape, lead, report'
        yield f"#show: report.with(title: {title}, subtitle: {subtitle})"
        for index, section in enumerate(self.whole.sections):
            if not section.appendix:
                yield from self.section(section, 1)
            if not index:
                yield "#contents"
        if any(section.appendix for section in self.whole.sections):
            yield "#show: appendices"
        for section in self.whole.sections:
            if section.appendix:
                yield from self.section(section, 1)

    def section(self, section: Section, level: int) -> Iterator[str]:
        yield f"#heading(level: {level}, {_string(section.title)}) <{section.label}>"
        for block, following in zip(section.blocks, (*section.blocks[1:], None), strict=False):
            if isinstance(block, Paragraph) and isinstance(following, Items):
                yield f"#lead[{self.text(block.text)}]"
            else:
                yield self.block(block)
        for inner in section.sections:
            yield from self.section(inner, level + 1)

    def block(self, block: Block) -> str:
        match block:
            case Paragraph(text):
                return f"#par[{self.text(text)}]"
            case Items(items):
                return f"#list({', '.join(f'[{self.text(item)}]' for item in items)})"
            case Table():
                return self.table(block)
            case Figure():
                _, ratio = self.images.file(block.path)
                return self.figure(block, "100%" if ratio > WIDE else "62%")
            case Wall():
                return self.block(block.figure)
            case FigureRow(figures):
                return self.row(figures)

    def row(self, figures: tuple[Figure, ...]) -> str:
        """Two beside each other; those with two panels one below the other."""
        parts = []
        for wide, some in itertools.groupby(figures, key=lambda figure: self.images.file(figure.path)[1] > WIDE):
            neighbours = list(some)
            parts += map(self.block, neighbours) if wide or len(neighbours) == 1 else [self.grid(neighbours)]
        return "\n\n".join(parts)

    def grid(self, figures: list[Figure]) -> str:
        cells = [f"[{self.figure(figure, '100%')}]" for figure in figures]
        if len(cells) % 2:
            cells[-1] = f"grid.cell(colspan: 2, align(center, block(width: 50%){cells[-1]}))"
        drawn = ",\n".join(cells)
        return f"#grid(columns: (1fr, 1fr), column-gutter: 10pt,\n{drawn})"

    def figure(self, figure: Figure, width: str) -> str:
        file, _ = self.images.file(figure.path)
        image = f"image({_string(file)}, width: {width}, alt: {_string(plain(figure.caption))})"
        return f"#figure({image}, caption: [{self.text(figure.caption)}]) <{figure.label}>"

    def table(self, table: Table) -> str:
        layout = _Layout.of(table)
        columns = ", ".join(layout.columns)
        align = ", ".join("right" if numeric else "left" for numeric in table.numeric)
        head = ", ".join(map(_string, table.headings))
        rows = "\n".join(f"{', '.join(map(self.cell, row))}," for row in table.rows)
        drawn = (
            f"data-table(columns: ({columns},), align: ({align},), size: {layout.size}pt, head: ({head},),\n{rows}\n)"
        )
        if table.caption:
            drawn = f"figure(kind: table, caption: [{self.text(table.caption)}],\n{drawn})"
        labelled = f"#{drawn} <{table.label}>" if table.caption else f"#{drawn}"
        return f"#landscape[{labelled}]" if layout.landscape else labelled

    def cell(self, cell: Cell) -> str:
        if cell.image:
            file, _ = self.images.file(cell.image, small=True)
            return f"link({_string(cell.image)}, image({_string(file)}, width: 100%, alt: {_string(cell.text)}))"
        return f"link({_string(cell.target)}, {_string(cell.text)})" if cell.target else _string(cell.text)

    def text(self, text: Text) -> str:
        return "".join(map(self.inline, text))

    def inline(self, part: Inline) -> str:
        match part:
            case str():
                return f"#{_string(part)};"
            case Strong(text):
                return f"#strong({_string(text)});"
            case Code(text):
                return f"#raw({_string(text)});"
            case Link(text, target):
                return f"#link({_string(target)}, {_string(text)});"
            case Reference(label):
                return f"#link(<{label}>, {_string(self.named[label])});"


@dataclass(frozen=True)
class _Layout:
    """How a table gets on the page: the size of its letters, the widths of its columns, and which way it lies."""

    size: float
    columns: tuple[str, ...]
    landscape: bool

    @classmethod
    def of(cls, table: Table) -> _Layout:
        columns = range(len(table.headings))
        letters = [_letters(table, column) for column in columns]
        pictures = [any(row[column].image for row in table.rows) for column in columns]
        long = [count > LONGEST and not numeric for count, numeric in zip(letters, table.numeric, strict=True)]
        if sum(long) > 1:
            letters = [
                count
                if table.numeric[column] or long[column]
                else min(count, max(NARROW, _longest_word(table, column)))
                for column, count in enumerate(letters)
            ]
        wanted = [min(count, LONGEST) if text else count for count, text in zip(letters, long, strict=True)]
        for landscape, room in ((False, PORTRAIT), (True, LANDSCAPE)):
            for size in SIZES:
                points = [
                    THUMBNAIL + PADDING if picture else LETTER * size * count + PADDING
                    for count, picture in zip(wanted, pictures, strict=True)
                ]
                if sum(points) <= room:
                    widths = [
                        f"{letters[column] ** 0.5:.1f}fr" if long[column] else f"{points[column]:.1f}pt"
                        for column in columns
                    ]
                    return cls(size, tuple(widths), landscape)
        return cls(SIZES[-1], tuple(f"{count}fr" for count in letters), True)


def _letters(table: Table, column: int) -> int:
    """Letters of the longest cell, or of the longest word of the heading, which is bold."""
    heading = max(map(len, table.headings[column].split()), default=1) * 1.1
    return max(2, round(heading), *(len(row[column].text) for row in table.rows if not row[column].image))


def _longest_word(table: Table, column: int) -> int:
    texts = [table.headings[column], *(row[column].text for row in table.rows)]
    return max((len(word) for text in texts for word in text.split()), default=0)


def _string(text: str) -> str:
    """A string of typst, in which nothing is markup.

    >>> print(_string('#a "b" $c$'))
    "#a \\"b\\" $c$"
    """
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + " ".join(quoted.split("\n")) + '"'
