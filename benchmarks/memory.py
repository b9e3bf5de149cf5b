"""Peak memory of one call, in a process that does nothing else: MiB over what it held before the call.

    python -m benchmarks.memory TABLE CASE TOOL FOLDER NETWORKS [--quick]

Before it, the same tool does the first case of its table, so that what is imported and set up once is not counted.
"""

from __future__ import annotations

import contextlib
import gc
import json
import resource
import sys
from pathlib import Path

from benchmarks.all_tables import TABLES
from benchmarks.setting import QUICK, Effort, Setting


def held() -> int:
    """Bytes that this process holds; where the system allows it, `peak` counts anew from here."""
    gc.collect()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """Bytes that this process held at most so far.

    Linux says so in /proc; its getrusage would count what the parent held before the process became this one.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(table: str, case: str, tool: str, folder: str, networks: str, *flags: str) -> None:
    setting = Setting(QUICK if "--quick" in flags else Effort(), Path(folder), Path(networks))
    first = TABLES[table].cases(setting)[0]
    chosen = TABLES[table].tools(case, setting)[tool]
    if TABLES[table].warm:
        TABLES[table].tools(first, setting)[tool].run()
    before = held()
    outcome = (chosen.weigh or chosen.run)()
    print(json.dumps(max(peak() - before, (outcome.memory or 0) - before, 0) / 2**20))


if __name__ == "__main__":
    main(*sys.argv[1:])
