"""Gathers the sources of the site in dist/: these pages, and what `PROBES` says of every probe.

`make docs` runs it and then builds the site from there. Nothing of a probe is typed twice: its place in the navigation,
its row in the overview, its settings, variables, columns and reference come from its declaration. What a person has to
say of it stands in docs/probes/<name>.md.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import get_type_hints

import torch
import xarray as xr
from torch import nn

from lossatlas import PROBES, Loss
from lossatlas.probes.probe import Family, Probe, Settings, Subject, Wanted
from lossatlas.study.config import Probes

DOCS = Path(__file__).parent
PLACE = '{ "Probes" = [] }'  # in docs/zensical.toml, where the probes go
ABOUT = {
    "model": "a model",
    "trajectory": "a path of training",
    "pair": "two solutions",
    "models": "several solutions",
    "family": "networks at several weight decays",
}
SMALL = {"steps": 5, "samples": 3, "draws": 2, "k": 3}  # settings of a result whose numbers nobody reads
BAR = "\\|"  # in a cell of a table
IMAGE = re.compile(r"!\[(?P<alt>[^\]]*)\]\((?P<path>[^)]+)\)")


def gather(dist: Path) -> None:
    """Write `dist/docs` and `dist/zensical.toml`."""
    docs = dist / "docs"
    shutil.rmtree(docs, ignore_errors=True)
    shutil.copytree(DOCS, docs, ignore=shutil.ignore_patterns("*.py", "*.toml", "__pycache__"))
    pages = {f"probes/{probe.name}.md": page(probe) for probe in PROBES}
    for place, text in {**pages, "probes/index.md": overview(), "reference/probes.md": reference()}.items():
        (docs / place).write_text(text)
    (dist / "zensical.toml").write_text(configuration())


def configuration() -> str:
    """docs/zensical.toml with every probe in its navigation."""
    text = (DOCS / "zensical.toml").read_text()
    assert text.count(PLACE) == 1, f"docs/zensical.toml has {text.count(PLACE)} times {PLACE}: wanted it once"
    places = {"All of them": "probes/index.md"} | {spoken(probe): f"probes/{probe.name}.md" for probe in PROBES}
    lines = [f'        {{ "{words}" = "{place}" }},\n' for words, place in places.items()]
    return text.replace(PLACE, f'{{ "Probes" = [\n{"".join(lines)}    ] }}')


def spoken(probe: Probe) -> str:
    """The name as a page's title."""
    return probe.name.replace("_", " ").capitalize()


# Pages ------------------------------------------------------------------------------------------------------------


def overview() -> str:
    rows = [
        (_picture(probe), f"[{spoken(probe)}]({probe.name}.md)", ABOUT[probe.of], _capital(probe.title), probe.meaning)
        for probe in PROBES
    ]
    words = (
        "A probe asks one question of a loss and answers with an `xarray.Dataset`. Its name is the same everywhere: "
        "the function in Python, the word of `lossatlas probe --probes`, the table of a study, the file of its result."
    )
    table = _table(("Picture", "Probe", "It is about", "In short", "What it measures"), rows)
    return f'# Probes\n\n{words}\n\n<div class="probes" markdown>\n\n{table}\n\n</div>\n'


def page(probe: Probe) -> str:
    """What a person wrote of the probe, or else what its declaration says, and then what can be read off the code."""
    file = DOCS / "probes" / f"{probe.name}.md"
    text = file.read_text() if file.is_file() else _page_by_itself(probe)
    return "\n".join([text.rstrip() + "\n", *_settings(probe), *_result(probe), *_columns(probe), *_reference(probe)])


def reference() -> str:
    rows = [
        (f"[`lossatlas.{probe.name}`](../probes/{probe.name}.md#lossatlas.{probe.name})", _first_line(probe.function))
        for probe in PROBES
    ]
    words = (
        "Every probe takes one `Loss`, or a mapping of them by split, and returns an `xarray.Dataset`. Its reference "
        "stands at the end of its page."
    )
    parts = ("Probe", "Settings", "Subject", "Family", "Cost", "Told", "Rows", "Column")
    declaration = "\n".join(f"::: lossatlas.probes.probe.{part}" for part in parts)
    table = _table(("Function", "What it gives"), rows)
    return (
        f"# Probes\n\n{words}\n\n{table}\n\n## The list\n\n::: lossatlas.PROBES\n\n"
        f"## How a probe declares itself\n\n{declaration}\n"
    )


def _page_by_itself(probe: Probe) -> str:
    return f"# {spoken(probe)}\n\n{_capital(probe.title)}. {probe.meaning}\n\n## How it misleads\n\n{probe.misleads}\n"


def _settings(probe: Probe) -> list[str]:
    fields = dataclasses.fields(probe.settings)
    if not fields:
        return []
    hints, words = get_type_hints(probe.settings, include_extras=True), documented(probe.settings)
    of_study = vars(Probes().settings(probe.name))
    rows = [
        (
            f"`{field.name}`",
            f"`{field.default}`" + ("" if (own := of_study[field.name]) == field.default else f" (in a study `{own}`)"),
            words[field.name],
            _wanted(hints[field.name]),
        )
        for field in fields
    ]
    first = fields[0]
    flag = f"`--{probe.name.replace('_', '-')}.{first.name.replace('_', '-')} {first.default}`"
    line = "" if probe.of == "family" else f"`lossatlas probe` takes each as a flag, such as {flag}. "
    said = (
        f"{line}A study takes them from its table `[probes.{probe.name}]`. In Python they are keywords of the "
        "function, whose own defaults are in the reference below."
    )
    return ["## Settings\n", f"{said}\n", f"{_table(('Setting', 'Default', 'What it is', 'Wanted'), rows)}\n"]


def _result(probe: Probe) -> list[str]:
    variables = {str(name): one for name, one in small_result(probe).variables.items() if name != "split"}
    known = {name: variable for name, variable in variables.items() if "units" in variable.attrs}
    rows = [
        (
            f"`{name}`",
            ", ".join(f"`{dim}`" for dim in variable.dims if dim != "split"),
            variable.attrs["units"].replace("criterion", "loss"),
            variable.attrs["long_name"],
        )
        for name, variable in known.items()
    ]
    words = (
        f"A study keeps it as `{probe.place}/{probe.file}`. Of several losses everything that depends on the data has "
        "a leading dimension `split`."
    )
    if "loss" in known:
        words = f"A metric has the same variables as the loss. {words}"
    if others := [f"`{name}`" for name in variables if name not in known]:
        words = f"{words} Counts, marks and names have no unit: {', '.join(others)}."
    return ["## The result\n", f"{words}\n", f"{_table(('Variable', 'Dimensions', 'Unit', 'Meaning'), rows)}\n"]


def _columns(probe: Probe) -> list[str]:
    if not probe.columns:
        return []
    rows = [(f"`{probe.column(name)}`", column.words) for name, column in probe.columns.items()]
    words = "Of the training data where nothing else is said, in `tables/runs.csv` of a study."
    return ["## Columns of tables\n", f"{words}\n", f"{_table(('Column', 'What it is'), rows)}\n"]


def _reference(probe: Probe) -> list[str]:
    return ["## Reference\n", f"::: lossatlas.{probe.name}\n    options:\n      heading_level: 3\n"]


def _picture(probe: Probe) -> str:
    """The first of its page."""
    file = DOCS / "probes" / f"{probe.name}.md"
    found = IMAGE.search(file.read_text()) if file.is_file() else None
    return found.group() if found else ""


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', BAR) for cell in line)} |" for line in lines)


def _first_line(function: object) -> str:
    return (inspect.getdoc(function) or "").partition("\n\n")[0].replace("\n", " ")


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


# What is read off the code ----------------------------------------------------------------------------------------


def documented(kind: type[Settings]) -> dict[str, str]:
    """What the string below each field says of it, by field."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            found[field.target.id] = " ".join(ast.literal_eval(below.value).split())
    return found


def _wanted(hint: object) -> str:
    return "; ".join(mark.words for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, Wanted))


def small_result(probe: Probe) -> xr.Dataset:
    """Of a network of 17 parameters, coarsely: for the names, dimensions and units that a result has."""
    chance = torch.Generator().manual_seed(0)
    x = torch.randn(8, 2, generator=chance)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))
    loss = Loss.of(module, (x, (x[:, 0] > 0).long()), nn.CrossEntropyLoss())
    thetas = loss.theta + torch.randn(4, loss.layout.size, generator=chance)  # (4, P)
    subject = Subject(
        {"train": loss}, loss.theta, trajectory=torch.cat([thetas, loss.theta[None]]),
        others={"other": thetas[0], "third": thetas[1]}, family=Family((0.0, 0.1), thetas[:2], thetas[2:]),
    )  # fmt: skip
    coarse = {field.name: SMALL[field.name] for field in dataclasses.fields(probe.settings) if field.name in SMALL}
    return probe.measure(subject, probe.settings(**coarse), chance)


if __name__ == "__main__":
    gather(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS.parent / "dist")
