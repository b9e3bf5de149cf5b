"""Where the numbers come from: processor, memory, versions."""

from __future__ import annotations

import os
import platform
import re
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks import peers
from benchmarks.timing import gemm_peak
from lossatlas.fidelity import has_bfloat16
from lossatlas.study.workers import available_cores


def describe() -> dict[str, Any]:
    return {
        "date": date.today().isoformat(),
        "processor": processor(),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {name: version(name) for name in ("lossatlas", "torch", "numpy", "scipy")} | peers.versions(),
    }


def processor() -> str:
    """The processor by its own name where the system tells, with what it can do in matrix products."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in _lines(cpuinfo) if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    matrices = ", AMX" if has_bfloat16() else ""
    return f"{plain(name)} ({torch.backends.cpu.get_cpu_capability()}{matrices})"


def plain(name: str) -> str:
    """A processor's name without what says nothing.

    >>> plain("Intel(R) Xeon(R) Processor @ 2.10GHz"), plain("AMD EPYC")
    ('Intel Xeon', 'AMD EPYC')
    """
    return " ".join(re.sub(r"\((R|TM)\)|\b(Processor|CPU)\b|@.*", " ", name).split())


def folder_name(processor: str) -> str:
    """Of the results of a machine with this processor.

    >>> folder_name("Intel Xeon (AVX512, AMX)")
    'intel-xeon-avx512-amx'
    """
    return re.sub(r"[^a-z0-9]+", "-", processor.lower()).strip("-")


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.is_file() else []


def peaks() -> dict[str, float]:
    """GFLOP/s of a large float32 product with all threads and with one."""
    return {"all": gemm_peak(torch.get_num_threads()), "one": gemm_peak(1)}
