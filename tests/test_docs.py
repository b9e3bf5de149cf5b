"""What the pages say is so: their code runs, their commands can be given, their pictures and links are there."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import re
import shlex
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
import torch

import lossatlas
from lossatlas import PROBES, cli
from lossatlas.probes.probe import Probe
from lossatlas.study.config import Study

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
SHARED = ("index.md", "probes/trajectory_plane.md")  # the model and the checkpoints that all pages speak of
FENCE = re.compile(r"^```(?P<language>[^\n]*)\n(?P<text>.*?)^```$", re.M | re.S)
IMAGE = re.compile(r"!\[(?P<alt>[^\]]*)\]\((?P<path>[^)]+)\)")
INCLUDED = re.compile(r'--8<-- "(?P<path>[^"]+)"')
DOCUMENTED = re.compile(r"^::: (\S+)$", re.M)
SECTIONS = ("How to read it", "How it misleads", "What it costs")  # of a probe's page, below its picture


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
    lines = [line for page in [ROOT / "README.md", *PAGES] for block in blocks(page, "") for line in block.splitlines()]
    commands = [shlex.split(line.partition("#")[0]) for line in lines if line.startswith("lossatlas ")]
    assert {"check", "probe"} <= {command[1] for command in commands}
    for command in commands:
        if not any(word.endswith(".toml") for word in command):  # a file that the reader has
            cli.parse(command[1:])


def test_every_study_on_the_pages_can_be_read():
    texts = [text for page in [ROOT / "README.md", *PAGES] for text in blocks(page, "toml")]
    assert len(texts) >= 4
    for text in texts:
        Study.model_validate(tomllib.loads(text))


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
    assert max(sizes) < 700_000  # a map needs all of its colours
    assert sum(sizes) < 4_000_000


@pytest.fixture(scope="module")
def build() -> ModuleType:
    """docs/build.py, which is a script and in no package."""
    spec = importlib.util.spec_from_file_location("build", DOCS / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(build: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources of the site with what is generated."""
    dist = tmp_path_factory.mktemp("dist")
    build.gather(dist)
    return dist


@pytest.fixture(scope="module")
def reached(site: Path) -> list[str]:
    """Every page in the navigation."""
    return re.findall(r"[\w/-]+\.md", str(tomllib.loads((site / "zensical.toml").read_text())["project"]["nav"]))


def test_every_page_can_be_reached(site: Path, reached: list[str]):
    pages = site / "docs"
    assert sorted(reached) == sorted(str(page.relative_to(pages)) for page in pages.rglob("*.md"))


def test_every_public_name_is_in_the_reference(site: Path):
    documented = {name for page in (site / "docs").rglob("*.md") for name in DOCUMENTED.findall(page.read_text())}
    assert {f"lossatlas.{name}" for name in lossatlas.__all__} <= documented


def test_no_probe_is_listed_by_hand():
    text = (DOCS / "zensical.toml").read_text()
    assert "probes/" not in text
    assert not (DOCS / "reference" / "probes.md").exists()
    assert {page.stem for page in (DOCS / "probes").glob("*.md")} == {probe.name for probe in PROBES}


def test_the_architecture_names_every_room_on_two_pages():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    floors = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    text = (DOCS / "architecture.md").read_text()
    for height, floor in enumerate(reversed(floors), start=1):
        for room in floor.split(" | "):
            assert re.search(rf"^\| {height} \|[^|]*`{room}/?`", text, re.M), f"{room} is not on floor {height}"
    assert len(text.splitlines()) <= 150


EACH_PROBE = pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)


@EACH_PROBE
def test_every_probe_has_a_page_with_its_picture_first(probe: Probe):
    page = DOCS / "probes" / f"{probe.name}.md"
    text = page.read_text()
    title, picture = [line for line in text.splitlines() if line][:2]
    assert title == f"# {probe.name.replace('_', ' ').capitalize()}"
    assert IMAGE.match(picture)
    assert tuple(section for section in re.findall(r"^## (.+)$", text, re.M) if section in SECTIONS) == SECTIONS
    assert any(f"la.{probe.name}(" in block for block in blocks(page, "python"))
    if probe.of != "family":  # which one model is not
        assert any(
            f"lossatlas probe my_model.py:problem --probes {probe.name}\n" in block for block in blocks(page, "")
        )


@EACH_PROBE
def test_every_probe_is_in_the_navigation_and_the_reference(probe: Probe, site: Path, reached: list[str]):
    place = f"probes/{probe.name}.md"
    assert reached.count(place) == 1
    assert f"]({probe.name}.md)" in (site / "docs" / "probes" / "index.md").read_text()
    assert f"(../{place}#lossatlas.{probe.name})" in (site / "docs" / "reference" / "probes.md").read_text()
    text = (site / "docs" / place).read_text()
    assert DOCUMENTED.findall(text) == [f"lossatlas.{probe.name}"]
    names = [field.name for field in dataclasses.fields(probe.settings)]
    assert all(f"| `{name}` |" in text for name in [*names, *map(probe.column, probe.columns)])


@EACH_PROBE
def test_every_setting_of_a_probe_says_what_it_is(probe: Probe, build: ModuleType):
    said = build.documented(probe.settings)
    for field in dataclasses.fields(probe.settings):
        assert said.get(field.name), f"{field.name} has no string below it"


@EACH_PROBE
def test_every_variable_of_a_probe_has_a_unit_and_a_meaning(probe: Probe, build: ModuleType):
    for name, variable in build.small_result(probe).variables.items():
        if variable.dtype.kind == "f":  # the others count, mark or name something
            assert variable.attrs.get("units"), f"{name} has no unit"
            assert variable.attrs.get("long_name"), f"{name} has no meaning"


@EACH_PROBE
def test_every_probe_has_an_example_and_a_test(probe: Probe):
    assert any(f"la.{probe.name}(" in script.read_text() for script in (ROOT / "examples").glob("*.py"))
    assert (ROOT / "tests" / "probes" / f"test_{probe.name}.py").is_file()


@EACH_PROBE
def test_a_probe_without_a_page_gets_one_from_what_it_says(
    probe: Probe, build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(build, "DOCS", tmp_path)
    text = build.page(probe)
    assert text.startswith(f"# {build.spoken(probe)}\n")
    assert probe.meaning in text
    assert probe.misleads in text
    assert DOCUMENTED.findall(text) == [f"lossatlas.{probe.name}"]


def test_every_example_is_in_the_gallery():
    shown = INCLUDED.findall((DOCS / "gallery.md").read_text())
    assert sorted(shown) == sorted(f"examples/{script.name}" for script in (ROOT / "examples").glob("*.py"))


def test_every_test_that_the_pitfalls_name_is_there():
    text = (DOCS / "howto" / "pitfalls.md").read_text()
    cells = [line.rstrip(" |").rpartition(" | ")[2] for line in text.splitlines() if line.startswith("| ")][2:]
    assert len(cells) > 15
    for cell in cells:
        named_tests = re.findall(r"`(?:(tests/[\w/]+\.py)|(test_\w+))`", cell)
        assert named_tests
        assert named_tests[-1][0], f"{cell} names no file last"
        pending: list[str] = []
        for file, function in named_tests:
            if function:
                pending.append(function)
                continue
            assert pending, f"{cell} names no test of {file}"
            written = (ROOT / file).read_text()
            assert not [name for name in pending if f"def {name}(" not in written], f"{file} lacks one of {pending}"
            pending = []


def test_every_message_that_is_explained_is_one_of_the_library():
    text = (DOCS / "howto" / "right_number.md").read_text().partition("## What the messages mean")[2]
    messages = [found for line in text.splitlines() for found in re.findall(r"`([^`]+)`", line.split(" | ")[0])]
    assert len(messages) > 15
    known = "\n".join(map(spoken_in, (ROOT / "src").rglob("*.py")))
    assert not [message for message in messages if message not in known]


def spoken_in(file: Path) -> str:
    """Every string of a file, a line each, with "…" for what is filled in."""
    lines = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.JoinedStr):
            lines.append("".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            lines.append(node.value)
    return "\n".join(lines)
