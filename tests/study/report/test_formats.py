"""The report of a study as Markdown and PDF: numbers survive, odd names too, and bytes repeat."""

from __future__ import annotations

import re
import shutil

import pytest

from lossatlas.document.markdown import escape, write_markdown
from lossatlas.study.analysis.tables import write_tables
from lossatlas.study.report.content import build_report
from lossatlas.study.report.material import Material
from lossatlas.study.report.write import write_report
from lossatlas.study.store import Store
from tests.document.conftest import ODD
from tests.study.analysis.test_tables import make_store, train_all

from .test_summary import numbers, tables_in


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
