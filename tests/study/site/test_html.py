from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

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
from lossatlas.figures import interactive
from lossatlas.results.storage import read_result, write_result
from lossatlas.study.analysis.tables import write_tables
from lossatlas.study.records import Records
from lossatlas.study.report.content import build_report
from lossatlas.study.report.material import Material
from lossatlas.study.site import write as html
from lossatlas.study.site.site import Site, slug
from lossatlas.study.store import Store, open_store
from tests.study.tiny import contents

NASTY = "a <b> & \"c\" 'd'"


class Page(HTMLParser):
    """Ids, links and headings of a page; fails on tags that do not nest."""

    VOID = frozenset({"meta", "link", "img", "input", "br", "line", "source"})

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.headings: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.said = ""
        self.feed(file.read_text())
        assert not self.tags, self.tags

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.attributes.append((tag, found))
        if "id" in found:
            self.ids.append(found["id"])
        self.links += [found[name] for name in ("href", "src") if name in found]
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append("")
        if tag not in self.VOID:
            self.tags.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.tags.pop()

    def handle_endtag(self, tag):
        assert self.tags.pop() == tag

    def handle_data(self, data):
        self.said += data
        if any(tag in ("h1", "h2", "h3", "h4") for tag in self.tags):
            self.headings[-1] += data


def every_block(store: Store) -> Document:
    """A document with all that blocks can hold, and text that is no markup."""
    run = next(iter(store.study.runs()))
    folder = store.run_folder(run).relative_to(store.root).as_posix()
    figures = store.figure_folder(run).relative_to(store.root).as_posix()
    surface = f"{figures}/pca/trajectory_plane_surface.png"
    table = Table(
        "table-one", (NASTY,), ("Name", "Number <n>", "Picture"), (False, True, False),
        (
            (Cell("run", target=folder), Cell("1.5", 1.5), Cell("small", image=surface)),
            (Cell(NASTY), Cell("–", float("nan")), Cell("none")),
        ),
    )  # fmt: skip
    turning = Figure("figure-one", (NASTY,), surface, folder)
    flat = Figure("figure-two", ("flat",), f"{figures}/interpolation/interpolate_loss.png", folder)
    text = (
        NASTY,
        Strong(NASTY),
        Code(NASTY),
        Link(NASTY, "tables/runs.csv"),
        Link("web", "https://example.org/?a=1&b"),
    )
    inner = Section("inner", "Inner", (FigureRow((turning, flat)),))
    return Document(
        NASTY,
        "subtitle",
        (
            Section("first", NASTY, (Paragraph(text), Items((text, (Reference("table-one"),)))), (inner,)),
            Section("rest", "Rest", (table, Paragraph((Reference("figure-two"), Reference("rest")))), appendix=True),
        ),
    )


@pytest.fixture(scope="module")
def store(finished, tmp_path_factory) -> Store:
    root = tmp_path_factory.mktemp("html") / "store"
    shutil.copytree(finished.root, root)
    return open_store(root)


@pytest.fixture(scope="module")
def pages(store) -> dict[str, Page]:
    written = html.write_html(every_block(store), Records(store), write_tables(store))
    assert all(file.is_file() for file in written)
    return {file.relative_to(store.root).as_posix(): Page(file) for file in written if file.suffix == ".html"}


def check_links(root: Path, pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        for link in page.links:
            if link.startswith("https://"):
                continue
            path, _, fragment = unquote(link).partition("#")
            file = (root / name).parent / path if path else root / name
            assert file.exists(), (name, link)
            target = file.resolve().relative_to(root.resolve()).as_posix()
            if fragment and target in pages and not target.endswith("compare.html"):
                assert fragment in pages[target].ids, (name, link)


def test_every_link_leads_somewhere_and_every_id_is_there_once(store, pages):
    check_links(store.root, pages)
    for page in pages.values():
        assert len(page.ids) == len(set(page.ids))


def test_the_whole_report_of_a_study(finished, tmp_path):
    shutil.copytree(finished.root, tmp_path / "store")
    store = open_store(tmp_path / "store")
    tables = write_tables(store)
    document = build_report(Material(store, tables))
    written = html.write_html(document, Records(store), tables)
    check_links(
        store.root,
        {file.relative_to(store.root).as_posix(): Page(file) for file in written if file.suffix == ".html"},
    )


def test_headings_are_numbered_and_appendices_lettered(pages):
    assert pages["report.html"].headings == [NASTY, f"1 {NASTY}", "1.1 Inner", "Appendix A Rest"]
    assert "Table 1." in pages["report.html"].said
    assert "Figure 2." in pages["report.html"].said


def test_text_is_never_markup(pages):
    page = pages["report.html"]
    assert page.said.count(NASTY) >= 11  # title twice, contents, heading, four inlines twice but for the link, captions
    assert not any(tag == "b" for tag, _ in page.attributes)
    assert any(found.get("alt") == NASTY for tag, found in page.attributes if tag == "img")


def test_every_run_has_a_page_that_knows_its_neighbors(store, pages):
    runs = store.study.all_runs()
    names = [f"assets/runs/{slug(run)}.html" for run in runs]
    assert sorted(name for name in pages if "/runs/" in name) == sorted(names)
    assert len(set(names)) == len(runs)
    for run, name, after in zip(runs, names, names[1:], strict=False):
        assert pages[name].headings[0] == str(run)
        assert after.split("/")[-1] in pages[name].links
    first = pages[names[0]]
    assert {"Settings", "Numbers", "Training", "Surfaces", "Paths to other runs", "Files"} <= set(first.headings)
    assert any(link.endswith("checkpoints/final.safetensors") for link in first.links)
    partners = [link for link in first.links if f"compare.html#{slug(runs[0])}," in link]
    assert len(set(partners)) == 2  # the other seed, the other optimizer


def test_numbers_of_a_row_lead_to_its_run_and_sort_by_their_value(store, pages):
    run = next(iter(store.study.runs()))
    report = pages["report.html"]
    cells = [found for tag, found in report.attributes if tag == "td"]
    assert [found.get("data-value") for found in cells] == [None, "1.5", None, None, None, None]
    leads = [
        found for tag, found in report.attributes if tag == "a" and found["href"] == f"assets/runs/{slug(run)}.html"
    ]
    assert len([found for found in leads if found.get("tabindex") == "-1"]) == 1


def test_only_pictures_of_surfaces_turn(store, pages):
    run = next(iter(store.study.runs()))
    figures = [found for tag, found in pages["report.html"].attributes if tag == "figure" and "data-plane" in found]
    assert [(found["id"], found["data-run"], found["data-plane"]) for found in figures] == [
        ("figure-one", slug(run), "trajectory_plane")
    ]


def test_surfaces_say_what_the_results_say_and_gaps_stay_gaps(store, tmp_path):
    run = next(iter(store.study.runs()))
    lonely = Store(tmp_path, store.study)
    shutil.copytree(store.run_folder(run), lonely.run_folder(run))
    shutil.copytree(store.figure_folder(run), lonely.figure_folder(run))
    file = lonely.result_file(run, "random_plane")
    result = read_result(file)
    result.loss.values[0, 1, 2] = np.nan
    result.loss.values[0, 3, 0] = np.inf
    write_result(file, result)
    html.write_html(Document("t", ""), Records(lonely), {})
    text = (tmp_path / "assets" / "planes" / f"{slug(run)}.js").read_text()
    assert text.startswith(f'lossatlas.receive("{slug(run)}", ')
    data = json.loads(text[text.index("{") : text.rindex("}") + 1])
    train = np.array(data["random_plane"]["values"]["train"], dtype=float)  # (beta, alpha)
    wanted = result.loss.sel(split="train").values.T
    assert data["random_plane"]["values"]["train"][2][1] is None
    assert data["random_plane"]["values"]["train"][0][3] is None
    np.testing.assert_allclose(train[np.isfinite(wanted)], wanted[np.isfinite(wanted)], rtol=5e-5)
    assert np.isnan(train).sum() == 2


def test_a_run_that_is_not_trained_or_diverged_says_so(store, tmp_path):
    fresh = Store(tmp_path, store.study)
    runs = fresh.study.all_runs()
    shutil.copytree(store.run_folder(runs[0]), fresh.run_folder(runs[0]))
    metrics = fresh.run_folder(runs[0]) / "metrics.json"
    metrics.write_text(metrics.read_text().replace('"trained"', '"diverged"'))
    html.write_html(Document("t", ""), Records(fresh), {})
    pages = [Page(tmp_path / "assets" / "runs" / f"{slug(run)}.html") for run in runs[:2]]
    assert "diverged" in pages[0].said
    assert "has not been trained" in pages[1].said


def test_the_same_store_gives_the_same_bytes(finished, tmp_path):
    found = []
    for name in "ab":
        shutil.copytree(finished.root, tmp_path / name)
        store = open_store(tmp_path / name)
        html.write_html(every_block(store), Records(store), write_tables(store))
        found.append(contents(store.root))
    assert found[0] == found[1]


def test_runs_are_named_by_what_sets_them_apart(store):
    run = next(iter(store.study.runs()))
    assert Site(store).name(run) == "1x5 · sgd · weight decay 0.0001 · seed 0"


def test_a_notebook_shows_one_split_with_the_path_on_its_plane(store):
    run = next(iter(store.study.runs()))
    plane = read_result(store.result_file(run, "trajectory_plane"))
    drawn, path, start, end = interactive.surface(plane, split="test").data
    one = plane.sel(split="test")
    np.testing.assert_allclose(np.array(drawn.customdata, float), one.loss.values.T, rtol=1e-15)
    checkpoints = np.flatnonzero(path.marker.size)
    np.testing.assert_allclose(np.array(path.x)[checkpoints], plane.path_alpha, rtol=1e-15)
    assert (start.x[0], end.x[0]) == (path.x[0], path.x[-1])
    assert len(interactive.surface(one.drop_vars("split")).data) == 4  # a single loss has no splits
    assert interactive.surface(plane, variable="accuracy", split="train").layout.scene.zaxis.title.text == "accuracy"
    with pytest.raises(ValueError, match="split is 'valid': one surface shows one split, choose from train, test"):
        interactive.surface(plane, split="valid")
