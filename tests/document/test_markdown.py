"""A document as Markdown: numbers and links survive, special characters are no markup."""

from __future__ import annotations

import re

from lossatlas.document.blocks import Code, Document, Paragraph, Section
from lossatlas.document.markdown import escape, write_markdown
from tests.document.conftest import ODD


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
