"""The report of the tiny study in a browser that may read nothing but the disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

from lossatlas.study.analysis.tables import write_tables
from lossatlas.study.records import Records
from lossatlas.study.report.content import build_report
from lossatlas.study.report.material import Material
from lossatlas.study.site.write import write_html
from lossatlas.study.store import Store, open_store

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",  # WebGL without a graphics card
]  # fmt: skip


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def report(browser, finished, tmp_path_factory) -> Store:  # without a browser no study is made
    root = tmp_path_factory.mktemp("browser") / "a store"
    shutil.copytree(finished.root, root)
    store = open_store(root)
    tables = write_tables(store)
    write_html(build_report(Material(store, tables)), Records(store), tables)
    return store


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that must not log an error nor ask for anything that is not on the disk."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: _check(request.url, wrong))
    page.on("requestfailed", lambda request: _note_failure(request, wrong))
    yield page
    context.close()
    assert wrong == []


def _note_failure(request: Request, wrong: list[str]) -> None:
    if request.failure != "net::ERR_ABORTED":  # whoever leaves a page while a surface is on its way aborts that
        wrong.append(f"failed: {request.url}")


def _check(url: str, wrong: list[str]) -> None:
    if not url.startswith(("file:", "data:", "blob:")):
        wrong.append(url)


def address(store: Store, path: str, fragment: str = "") -> str:
    return Path(store.root, path).resolve().as_uri() + (f"#{fragment}" if fragment else "")
