"""A document with everything that blocks can hold, and text that no format may read as markup."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from lossatlas.document.blocks import (
    Cell,
    Code,
    Document,
    Figure,
    FigureRow,
    Items,
    Link,
    Paragraph,
    Reference,
    Section,
    Strong,
    Table,
)

ODD = 'a #1 *b* _c_ $d$ @e <f> |g| `h` \\i "j" [k](l) ~m~ &amp; 1. n'


@pytest.fixture
def document(tmp_path: Path) -> Document:
    for name, size in (("narrow.png", (60, 50)), ("wide.png", (120, 50))):
        Image.new("RGBA", size, (255, 0, 0, 128)).save(tmp_path / name)
    numbers = Table(
        "t", ("A caption, see ", Reference("s")), ("Name", "Loss"), (False, True),
        ((Cell("run", target="folder/seed=0"), Cell("0.5 [0.25, 1.0]", value=0.5)), (Cell(ODD), Cell("2.00e-05"))),
    )  # fmt: skip
    pictures = FigureRow(tuple(Figure(f"f{i}", (f"Figure {i}",), "narrow.png") for i in range(3)))
    blocks = (
        Paragraph((ODD, Strong(ODD), Code(ODD), Link(ODD, "a b/(c).md"), Reference("t"), Reference("f2"))),
        Paragraph(("1. not a list",)),
        Items((("- not a list in a list",), (ODD,))),
        numbers,
        pictures,
        Figure("w", ("Wide",), "wide.png"),
    )
    wide = Table("wide", ("Many columns",), ("Heading",) * 20, (True,) * 20, ((Cell("0.123 [0.1]"),) * 20,) * 90)
    thumbnail = Table("small", ("Small",), ("Image",), (False,), ((Cell("a picture", image="wide.png"),),))
    return Document(
        ODD, "below", (Section("s", "First " + ODD, blocks), Section("z", "Last", (wide, thumbnail), appendix=True))
    )
