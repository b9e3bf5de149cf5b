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
from lossatlas.hardware import available_cores


def describe() -> dict[str, Any]:
    return {
        "date": date.today().isoformat(),
        "name": name(),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {name: version(name) for name in ("lossatlas", "torch", "numpy", "scipy")} | peers.versions(),
    }


def name() -> str:
    """The processor as the system calls it, what it can do in matrix products, and how many cores there are."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in _lines(cpuinfo) if line.startswith("model name")]
    processor = names[0] if names else platform.processor() or platform.machine()
    matrices = ", AMX" if torch.cpu.get_capabilities().get("amx_bf16") else ""
    able = torch.backends.cpu.get_cpu_capability() + matrices
    return f"{plain(processor)} ({able}), {available_cores()} cores"


def plain(processor: str) -> str:
    """A processor's name without what says nothing.

    >>> plain("Intel(R) Xeon(R) Processor @ 2.10GHz"), plain("AMD EPYC")
    ('Intel Xeon', 'AMD EPYC')
    """
    return " ".join(re.sub(r"\((R|TM)\)|\b(Processor|CPU)\b|@.*", " ", processor).split())


def folder_name(machine: str) -> str:
    """Of the results of a machine.

    >>> folder_name("Intel Xeon (AVX512, AMX), 2 cores")
    'intel-xeon-avx512-amx-2-cores'
    """
    return re.sub(r"[^a-z0-9]+", "-", machine.lower()).strip("-")


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.is_file() else []


def peaks() -> dict[str, float]:
    """GFLOP/s of a large float32 product with all threads and with one."""
    return {"all": gemm_peak(torch.get_num_threads()), "one": gemm_peak(1)}
