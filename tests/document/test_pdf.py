"""A document as PDF: special characters are no markup, bytes repeat, and what is lacking is said."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from lossatlas.document.blocks import Document
from lossatlas.document.pdf import Images, write_pdf, write_typst
from lossatlas.errors import InputError
from tests.document.conftest import ODD


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


@pytest.mark.parametrize(("module", "package"), [("typst", "typst"), ("PIL", "Pillow")])
def test_without_its_packages_the_call_says_what_to_install(document, tmp_path, monkeypatch, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"^a PDF needs {package}: pip install 'lossatlas\[study\]'$"):
        write_pdf(document, tmp_path)
