"""A document as GitHub flavored Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

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
    walk,
)

_MARKUP = re.compile(r"[\\`*_<>|#$~&]")
_BEFORE_A_BULLET = re.compile(r"^\s*(?:\d+(?=[.)])|(?=[-+=]))")


def write_markdown(document: Document, *, contents: bool = True) -> str:
    """The document as text. `contents`: number its sections and list them first; a page of a few can do without."""
    titles = {} if contents else {part.label: part.title for part in walk(document) if isinstance(part, Section)}
    return _Writer(names(document) | titles, contents).document(document)


class _Writer:
    def __init__(self, named: dict[str, str], contents: bool) -> None:
        self.named = named  # what references are called, by label
        self.contents = contents

    def document(self, document: Document) -> str:
        parts = [f"# {escape(document.title)}"]
        if document.subtitle:
            parts.append(escape(document.subtitle))
        if self.contents:
            parts.append("## Contents\n\n" + "\n".join(self.entries(document.sections, 0)))
        for section in document.sections:
            parts += self.section(section, 2)
        return "\n\n".join(parts) + "\n"

    def entries(self, sections: Iterable[Section], level: int) -> Iterator[str]:
        for section in sections:
            yield f"{'  ' * level}- [{self.number(section)}{_label(section.title)}](#{section.label})"
            yield from self.entries(section.sections, level + 1)

    def number(self, section: Section) -> str:
        """`3.2 `, or `Appendix A: ` for what has a letter."""
        kind, number = self.named[section.label].split(" ")
        return f"{kind} {number}: " if kind == "Appendix" and "." not in number else f"{number} "

    def section(self, section: Section, level: int) -> Iterator[str]:
        number = self.number(section) if self.contents else ""
        yield f"{_anchor(section.label)}\n\n{'#' * level} {number}{escape(section.title)}"
        for block in section.blocks:
            yield self.block(block)
        for inner in section.sections:
            yield from self.section(inner, min(level + 1, 6))

    def block(self, block: Block) -> str:
        match block:
            case Paragraph(text):
                return self.line(text)
            case Items(items):
                return "\n".join(f"- {self.line(item)}" for item in items)
            case Table():
                return self.table(block)
            case Figure():
                return self.figure(block)
            case Wall():
                return self.figure(block.figure)
            case FigureRow(figures):
                return "\n\n".join(map(self.figure, figures))

    def table(self, table: Table) -> str:
        lines = [
            [escape(heading) for heading in table.headings],
            ["---:" if numeric else "---" for numeric in table.numeric],
            *([self.cell(cell) for cell in row] for row in table.rows),
        ]
        drawn = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        if not table.caption:
            return drawn
        return f"{_anchor(table.label)}**{self.named[table.label]}.** {self.text(table.caption)}\n\n{drawn}"

    def cell(self, cell: Cell) -> str:
        if cell.image:
            return f"![{_label(cell.text)}]({_address(cell.image)})"
        return f"[{_label(cell.text)}]({_address(cell.target)})" if cell.target else escape(cell.text)

    def figure(self, figure: Figure) -> str:
        caption = self.text(figure.caption)
        image = f"![{_label(plain(figure.caption))}]({_address(figure.path)})"
        return f"{_anchor(figure.label)}{image}\n\n**{self.named[figure.label]}.** {caption}"

    def line(self, text: Text) -> str:
        return _BEFORE_A_BULLET.sub(r"\g<0>\\", self.text(text))

    def text(self, text: Text) -> str:
        return "".join(map(self.inline, text))

    def inline(self, part: Inline) -> str:
        match part:
            case str():
                return escape(part)
            case Strong(text):
                return f"**{escape(text)}**"
            case Code(text):
                return _code(text)
            case Link(text, target):
                return f"[{_label(text)}]({_address(target)})"
            case Reference(label):
                return f"[{self.named[label]}](#{label})"


def escape(text: str) -> str:
    """Text with a backslash before whatever Markdown would read as markup, on one line.

    Brackets stay as they are unless a link could be read: `[0.1, 0.2]` is an interval.

    >>> print(escape("a_b *c* [0.1, 0.2] [x](y)"))
    a\\_b \\*c\\* [0.1, 0.2] [x]\\(y)
    """
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split("\n"))).replace("](", "]\\(")


def _label(text: str) -> str:
    return re.sub(r"[\[\]]", r"\\\g<0>", _MARKUP.sub(r"\\\g<0>", " ".join(text.split("\n"))))


def _code(text: str) -> str:
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"


def _address(target: str) -> str:
    return target if "://" in target else quote(target, safe="/=#.,~-_")


def _anchor(label: str) -> str:
    return f'<a id="{label}"></a>'
