"""Measure what is missing, then write the pages.

    python -m benchmarks.run                        everything, to docs/benchmarks.md and a page per machine
    python -m benchmarks.run --only surface study   these tables
    python -m benchmarks.run --quick                a smoke test in a minute, to dist/benchmarks

What was measured is kept case by case in benchmarks/results, in a folder for each kind of machine: a run that was
killed goes on. `--again` forgets the tables that are named with `--only`, or all, of this machine, and `--page` writes
the pages again without measuring anything.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from benchmarks import growth, machine
from benchmarks.all_tables import TABLES, missing
from benchmarks.page import write_pages
from benchmarks.setting import QUICK, Effort, Setting
from benchmarks.table import ROOT, measure
from lossatlas.files import write_json


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "benchmarks.run", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=[*TABLES, "growth"], default=[*TABLES, "growth"])
    parser.add_argument("--cases", nargs="+", help="of these tables, such as 4x250; all by itself")
    parser.add_argument("--quick", action="store_true", help="small, and apart from the real results")
    parser.add_argument("--whole", action="store_true", help="the plain pipeline on all 90 networks, not on a third")
    parser.add_argument("--again", action="store_true", help="forget the results of these tables first")
    parser.add_argument("--page", action="store_true", help="only write the pages, from what is there")
    chosen = parser.parse_args(arguments)
    out = ROOT / "dist" / "benchmarks" if chosen.quick else ROOT / "docs"
    results = out / "results" if chosen.quick else ROOT / "benchmarks" / "results"
    networks = ROOT / "dist" / "benchmarks" / ("networks of a quick run" if chosen.quick else "networks")
    effort = replace(QUICK if chosen.quick else Effort(), whole=chosen.whole)
    setting = Setting(effort, results / machine.folder_name(machine.name()), networks)
    if not chosen.page:
        run(setting, chosen.only, chosen.cases, again=chosen.again)
    write_pages(setting, out)
    left = missing(setting)
    page = out / "benchmarks" / f"{setting.folder.name}.md"
    print(f"the page is {page}" + (f"; not measured yet: {', '.join(left)}" if left else ""))
    if not chosen.quick and page.name not in (ROOT / "docs" / "zensical.toml").read_text():
        print("to have it on the site, add it to nav in docs/zensical.toml")


def run(setting: Setting, only: Sequence[str], cases: Sequence[str] | None, *, again: bool) -> None:
    """Measure every case of these tables of which there is no result."""
    for name in only:
        if again:
            shutil.rmtree(setting.folder / name, ignore_errors=True)
            for file in (setting.folder / f"{name}.json", *(setting.folder / "tuned").glob(f"{name} *.json")):
                file.unlink(missing_ok=True)
        if name == "growth":
            work = {"growth": partial(growth.measure, setting)}
        else:
            table = TABLES[name]
            work = {f"{name}/{case}": partial(measure, table, case, setting) for case in cases or table.cases(setting)}
        for key, call in work.items():
            if setting.kept(key) is not None:
                continue
            start = time.perf_counter()
            print(f"{key} ...", flush=True)
            setting.remembered(key, call)
            write_json(setting.folder / "machine" / "described.json", machine.describe())
            print(f"{key}: {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
