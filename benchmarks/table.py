"""What a table of the benchmark is, how a row of it is measured, and what is kept of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.setting import Setting
from benchmarks.timing import WARM_UP, Timed, Tool, in_turn

ROOT = Path(__file__).parent.parent
Values = dict[str, float | None]


@dataclass(frozen=True)
class Table:
    """One comparison over several cases. The first tool of every case is ours."""

    name: str
    title: str
    text: str  # what was done
    columns: Mapping[str, str]  # heading of every value that `judge` gives
    cases: Callable[[Setting], Sequence[str]]
    label: Callable[[str, Setting], str]
    tools: Callable[[str, Setting], dict[str, Tool]]
    judge: Callable[[str, Setting, Mapping[str, Timed]], dict[str, Values]]  # how good each tool's answer is
    warm: bool = True  # the first case is short, and has the tools of all


def measure(table: Table, case: str, setting: Setting) -> dict[str, Any]:
    """One case of a table: times in turn, how good the answers are, memory in a process for each tool."""
    tools = table.tools(case, setting)
    timed = in_turn(tools, setting.effort.repeats, warm_up=0 if setting.effort.quick else WARM_UP)
    values = table.judge(case, setting, timed)
    return {
        "table": table.name,
        "case": case,
        "label": table.label(case, setting),
        "rows": [
            {
                "tool": name,
                "seconds": timed[name].seconds,
                "count": timed[name].outcome.count,
                # A smoke test tries one: starting a process for each would take most of its time.
                "memory": None if setting.effort.quick and number else memory_of(table.name, case, name, setting),
                "values": values.get(name, {}),
                "note": tool.note,
                "rival": tool.rival and number > 0,
            }
            for number, (name, tool) in enumerate(tools.items())
        ],
    }


def memory_of(table: str, case: str, tool: str, setting: Setting) -> float | None:
    """MiB that one call takes over what its process held before, in a process of its own; None where it failed."""
    command = [sys.executable, "-m", "benchmarks.memory", table, case, tool, str(setting.folder), str(setting.networks)]
    if setting.effort.quick:
        command.append("--quick")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"  memory of {tool} on {case} was not measured: {done.stderr.strip().splitlines()[-1:]}", flush=True)
        return None
    return float(json.loads(done.stdout.splitlines()[-1]))
