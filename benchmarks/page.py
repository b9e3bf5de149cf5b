"""The pages and their picture, from what was kept: nothing here measures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.all_tables import TABLES, Key, Records, all_cases, measured, missing
from benchmarks.figure import rivals_of, save_figure
from benchmarks.setting import Setting
from benchmarks.table import Table
from benchmarks.timing import ratios
from lossatlas.files import read_json, write_text
from lossatlas.numbers import number

HEAD = """# Benchmarks

Written by `make bench`, which anyone can repeat: it installs the other tools beside lossatlas and measures all of them
on the same networks, in turn. Times are given as ratios, since seconds depend on the machine and on what else it does:
*times ours* is how many times longer a tool takes than lossatlas, the median over {repeats} rounds with the smallest
and the largest. Below 1 the other tool is faster. Everything from the trained `nn.Module` to the result is included,
none of the importing. What keeps the ratios from being larger is said in
[How near the limits](design/limits.md).
"""

COUNTS = {"surface": "evaluations", "eigenvalues": "products", "density": "products", "training": "networks"}


def write_pages(here: Setting, docs: Path) -> None:
    """benchmarks.md with its picture, from the results of every machine, and a page for each in benchmarks/.

    Nothing is written where there are no results at all.
    """
    found: dict[str, Records] = {}  # by machine
    links = {}
    for file in sorted(here.folder.parent.glob("*/machine/described.json")):
        setting = replace(here, folder=file.parent.parent)
        records, name = measured(setting), read_json(file)["name"]
        if records:
            found[name] = records
            links[name] = f"[{name}](benchmarks/{setting.folder.name}.md)"
            write_text(docs / "benchmarks" / f"{setting.folder.name}.md", _details(name, records, setting))
    found = dict(sorted(found.items(), key=lambda item: -len(item[1])))  # the one that measured most comes first
    if found:
        compared = [key for key in all_cases(here) if any(key in records for records in found.values())]
        save_figure(compared, found, docs / "images" / "benchmarks.png")
        text = _overview(compared, found, [links[name] for name in found], here.effort.repeats)
        write_text(docs / "benchmarks.md", text)


def _overview(compared: Sequence[Key], found: Mapping[str, Records], links: Sequence[str], repeats: int) -> str:
    """The fastest other tool at every work, on every machine."""
    rows = []
    for key in compared:
        rivals = rivals_of(key, found)
        tools = list(dict.fromkeys(rival["tool"] for rival in rivals.values()))
        cells = []
        for machine, records in found.items():
            if machine in rivals:
                ratio = _ratio(rivals[machine]["seconds"], records[key]["rows"][0]["seconds"])
                cells.append(ratio if len(tools) == 1 else f"{ratio}, {rivals[machine]['tool']}")
            else:
                cells.append("")
        if tools:
            rows.append([TABLES[key[0]].title, key[1], tools[0] if len(tools) == 1 else "", *cells])
    alt = "Bars: how many times longer the fastest other tool takes, by kind of work, network and machine"
    text = (
        "Times ours, on each machine; an empty place was not measured there, or no other tool was as good. Where the "
        "fastest tool is not the same on all, it stands beside its time. Errors, evaluations, memory and versions: "
        f"{', '.join(links)}."
    )
    table = _table(["work", "network", "fastest other tool", *found], rows)
    parts = [HEAD.format(repeats=repeats), f"![{alt}](images/benchmarks.png)\n", _wrapped(text) + "\n", f"{table}\n"]
    return "\n".join(parts)


def _details(machine: str, records: Records, setting: Setting) -> str:
    """Every tool at every work on one machine."""
    parts = [f"# Benchmarks: {machine}\n", _machine(setting)]
    left = missing(setting)
    if left:
        parts.append(_wrapped(f"Not measured here: {', '.join(left)}.") + "\n")
    for table in TABLES.values():
        rows = [record for (name, _), record in records.items() if name == table.name]
        if rows:
            parts.append(_section(table, rows, setting))
    growth = setting.kept("growth")
    if growth is not None:
        parts.append(_growth(growth))
    return "\n".join(parts)


def _section(table: Table, records: Sequence[dict[str, Any]], setting: Setting) -> str:
    count = COUNTS.get(table.name)
    head = [
        "network",
        "tool",
        "times ours",
        *table.columns.values(),
        *([count] if count else []),
        "memory (MiB)",
        "settings",
    ]
    rows = []
    for record in records:
        ours = record["rows"][0]["seconds"]
        for place, row in enumerate(record["rows"]):
            rows.append(
                [
                    record["label"] if place == 0 else "",
                    row["tool"],
                    "1" if place == 0 else _ratio(row["seconds"], ours),
                    *(_value(key, row["values"].get(key)) for key in table.columns),
                    *([f"{row['count']:,}"] if count else []),
                    "" if row["memory"] is None else f"{row['memory']:,.0f}",
                    row["note"],
                ]
            )
    text = table.text.format(**asdict(setting.effort))
    return f"## {table.title}\n\n{_wrapped(text)}\n\n{_table(head, rows)}\n"


def _growth(sweeps: Sequence[dict[str, Any]]) -> str:
    rows = []
    for sweep in sweeps:
        for place, work in enumerate(sweep["work"]):
            sizes = f"{sweep['unit']}: {sweep['sizes'][0]:,} to {sweep['sizes'][-1]:,}"
            upper = "" if work["upper"] is None else f"{work['upper']:.2f}"
            rows.append([sizes if place == 0 else "", work["name"], f"{work['slope']:.2f}", upper])
    text = (
        "The exponent p of a cost that grows as sizeᵖ, fitted to the fastest of three calls at each size, over all "
        "sizes and over the upper half of them. 1 is proportional; below 1 something that does not grow still counts."
    )
    table = _table(["what grows", "work of lossatlas", "exponent", "upper half"], rows)
    return f"## How the cost grows\n\n{_wrapped(text)}\n\n{table}\n"


def _machine(setting: Setting) -> str:
    machine, peaks = setting.kept("machine/described"), setting.kept("machine/gemm")
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    text = (
        f"{machine['memory']:.0f} GiB of memory; {machine['system']}; torch with {machine['threads']} threads; "
        f"{machine['date']}. "
    )
    if peaks:
        rates = f"{peaks['all']:.0f} GFLOP/s with all threads, {peaks['one']:.0f} with one"
        text += f"Float32 products of 2,048x2,048: {rates}. "
    words = (
        ". *Times ours* is what [the short page](../benchmarks.md) says. Memory is the peak over what a process of its "
        "own held before, with everything imported."
    )
    return f"{_wrapped(text + versions + words)}\n"


def _ratio(others: list[float], ours: list[float]) -> str:
    middle, low, high = ratios(others, ours)
    return f"{_short(middle)} ({_short(low)} to {_short(high)})"


def _short(value: float) -> str:
    """Two digits, three from 100 on.

    >>> _short(0.4567), _short(7.891), _short(9.96), _short(45.6), _short(123.4)
    ('0.46', '7.9', '10', '46', '123')
    """
    value = float(f"{value:.2g}") if value < 100 else value
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _value(key: str, value: Any) -> str:
    if value is None:
        return ""
    if key in ("rate", "share"):
        return _short(value) if key == "rate" else f"{100 * value:.0f} %"
    return number(float(value), 2)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _wrapped(text: str, width: int = 120) -> str:
    """Lines of at most `width` characters, with no `code` and no [link](there) broken."""
    lines, line = [], ""
    for word in re.findall(r"(?:`[^`]*`|\[[^]]*\]\([^)]*\)|\S)+", text):
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return "\n".join([*lines, line])
