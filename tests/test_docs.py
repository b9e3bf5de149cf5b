"""What the pages say is so: their code runs, their commands can be given, their pictures and links are there."""

from __future__ import annotations

import re
import shlex
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
import torch

import lossatlas
from lossatlas import cli

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
SHARED = ("index.md", "probes/trajectory_plane.md")  # the model and the checkpoints that all pages speak of
FENCE = re.compile(r"^```(?P<language>[^\n]*)\n(?P<text>.*?)^```$", re.M | re.S)
IMAGE = re.compile(r"!\[(?P<alt>[^\]]*)\]\((?P<path>[^)]+)\)")
INCLUDED = re.compile(r'--8<-- "(?P<path>[^"]+)"')


def blocks(page: Path, language: str) -> Iterator[str]:
    """The fenced blocks of a language, each moved down to where it stands, so that errors name the right line."""
    text = page.read_text()
    for found in FENCE.finditer(text):
        if found["language"] == language:
            yield "\n" * text.count("\n", 0, found.start("text")) + found["text"]


def run(page: Path, namespace: dict[str, Any]) -> None:
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), namespace)


def named(page: Path) -> str:
    return str(page.relative_to(DOCS))


@pytest.fixture(scope="module")
def shared() -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "docs"}
    backend = mpl.get_backend()
    mpl.use("Agg")
    with torch.random.fork_rng():
        for page in SHARED:
            run(DOCS / page, namespace)
    plt.close("all")
    mpl.use(backend)
    return namespace


WITH_CODE = [page for page in PAGES if named(page) not in SHARED and any(blocks(page, "python"))]


@pytest.mark.parametrize("page", WITH_CODE, ids=named)
def test_the_code_of_a_page_runs(page: Path, shared: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["docs"])
    backend = mpl.get_backend()
    mpl.use("Agg")
    with torch.random.fork_rng():
        run(page, dict(shared))
    plt.close("all")
    mpl.use(backend)


def test_there_is_code_on_the_pages():
    assert len(WITH_CODE) > 15


def test_every_command_on_the_pages_can_be_given():
    lines = [line for page in PAGES for block in blocks(page, "") for line in block.splitlines()]
    commands = [shlex.split(line.partition("#")[0]) for line in lines if line.startswith("lossatlas ")]
    assert {"check", "probe"} <= {command[1] for command in commands}
    for command in commands:
        cli.parse(command[1:])


def test_every_picture_is_there_described_and_small():
    used = set()
    for page in PAGES:
        for found in IMAGE.finditer(page.read_text()):
            path = (page.parent / found["path"]).resolve()
            assert path.is_file(), f"{named(page)} shows {found['path']}, which is not there"
            assert len(found["alt"]) > 10
            used.add(path)
    there = set((DOCS / "images").iterdir())
    assert used == there
    sizes = [path.stat().st_size for path in there]
    assert max(sizes) < 80_000
    assert sum(sizes) < 1_500_000


def test_every_page_can_be_reached():
    listed = re.findall(r"[\w/-]+\.md", str(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]))
    assert sorted(listed) == sorted(named(page) for page in PAGES)


def test_every_public_name_is_in_the_reference():
    documented = {
        name
        for page in (DOCS / "reference").glob("*.md")
        for name in re.findall(r"^::: (\S+)$", page.read_text(), re.M)
    }
    assert {f"lossatlas.{name}" for name in lossatlas.__all__} <= documented


def test_every_example_is_in_the_gallery():
    shown = INCLUDED.findall((DOCS / "gallery.md").read_text())
    assert sorted(shown) == sorted(f"examples/{script.name}" for script in (ROOT / "examples").glob("*.py"))
