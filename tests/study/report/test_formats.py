"""The report as Markdown and PDF: numbers, links and special characters survive, and bytes repeat."""

from __future__ import annotations

import re
import shutil
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
from lossatlas.document.markdown import escape, write_markdown
from lossatlas.document.pdf import Images, write_pdf, write_typst
from lossatlas.study.analysis.tables import write_tables
from lossatlas.study.report.content import build_report
from lossatlas.study.report.material import Material
from lossatlas.study.report.write import write_report
from lossatlas.study.store import Store
from tests.study.analysis.test_tables import make_store, train_all

from .test_summary import numbers, tables_in

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


# Markdown --------------------------------------------------------------------------------------------------------


def test_markdown_numbers_and_links_everything(document):
    text = write_markdown(document)
    assert "- [Appendix A: Last](#z)" in text
    assert '<a id="z"></a>\n\n## Appendix A: Last' in text
    assert '<a id="t"></a>**Table 1.** A caption, see [Section 1](#s)' in text
    assert "[Table 1](#t)[Figure 3](#f2)" in text
    assert "| [run](folder/seed=0) | 0.5 [0.25, 1.0] |" in text
    assert "](a%20b/%28c%29.md)" in text
    assert "\n1\\. not a list\n" in text
    assert "\n- \\- not a list in a list\n" in text
    assert "![a picture](wide.png)" in text


def test_markdown_escapes_what_it_would_read_as_markup():
    text = escape(ODD)
    assert re.sub(r"\\(.)", r"\1", text) == ODD
    for mark in "*_$<>|`#~&":
        assert not re.search(rf"(?<!\\){re.escape(mark)}", text)
    assert escape("a\nb") == "a b"


def test_code_survives_backticks():
    page = Document("", "", (Section("s", "S", (Paragraph((Code("a `` b"), " ", Code("`"))),)),))
    assert "```a `` b``` `` ` ``" in write_markdown(page)


def test_markdown_tables_parse_back_to_the_numbers(finished, tmp_path):
    copied = Store(shutil.copytree(finished.root, tmp_path / "store"), finished.study)
    tables = write_tables(copied)
    page = write_markdown(build_report(Material(copied, tables)))
    (runs,) = [table for table in tables_in(page) if "Train loss" in table[0] and "Penalty" not in table[0]]
    for cells, row in zip(runs, tables["runs"].to_dict("records"), strict=True):
        assert cells["Architecture"] == row["architecture"]
        assert numbers(cells["Test loss"]) == pytest.approx([row["test_loss"]], rel=5e-3)
        assert numbers(cells["Test accuracy"]) == pytest.approx([row["test_accuracy"]], abs=5e-5)
    anchors = set(re.findall(r'<a id="([^"]+)"></a>', page))
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= anchors


# PDF ---------------------------------------------------------------------------------------------------------------


def typst_source(document: Document, root: Path, folder: Path) -> str:
    folder.mkdir()
    return write_typst(document, Images(root, folder))


def test_pdf_compiles_with_special_characters_and_is_the_same_twice(document, tmp_path):
    first = write_pdf(document, tmp_path)
    assert first.startswith(b"%PDF-")
    assert b"/CreationDate" not in first
    assert write_pdf(document, tmp_path) == first


def test_typst_has_every_heading_label_and_text_as_a_string(document, tmp_path):
    source = typst_source(document, tmp_path, tmp_path / "images")
    for label in ("s", "z", "t", "f0", "w", "wide", "small"):
        assert f"<{label}>" in source
    strings = re.findall(r'"((?:[^"\\]|\\.)*)"', source)
    assert ODD in [re.sub(r"\\(.)", r"\1", string) for string in strings]
    assert source.index("#show: appendices") < source.index("<z>")
    outside = re.sub(r'"(?:[^"\\]|\\.)*"', "", source)
    assert not set("$@~`|") & set(outside)


def test_wide_tables_lie_on_their_side_and_long_ones_may_break(document, tmp_path):
    source = typst_source(document, tmp_path, tmp_path / "images")
    assert source.count("#landscape[") == 1
    assert source[source.index("#landscape[") :].startswith('#landscape[#figure(kind: table, caption: [#"Many columns"')


def test_an_image_is_embedded_once_without_transparency(document, tmp_path):
    typst_source(document, tmp_path, tmp_path / "images")
    files = sorted((tmp_path / "images").iterdir())
    assert [file.suffix for file in files] == [".png", ".png", ".jpg"]
    for file in files:
        with Image.open(file) as image:
            assert image.mode == "RGB"


def test_a_study_with_an_odd_name_is_written_in_every_format(tmp_path):
    store = make_store(tmp_path, name=ODD, training={"optimizers": ["sgd", "adam"], "seeds": [0, 1, 2]})
    train_all(store)
    tables = write_tables(store)
    written = write_report(store, tables)
    assert [path.name for path in written][:3] == ["report.md", "report.pdf", "report.html"]
    first = [path.read_bytes() for path in written]
    assert f"# Loss landscapes: the {escape(ODD)} study\n" in first[0].decode()
    write_report(store, tables)
    assert [path.read_bytes() for path in written] == first
