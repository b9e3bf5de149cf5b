"""Independent random streams, each keyed by what it is for: a run's result depends on nothing trained beside it."""

from __future__ import annotations

import hashlib
from typing import Any

import torch


def key(*parts: object) -> int:
    """A 63-bit integer that depends on every part, and on nothing else."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def stream(*parts: object) -> torch.Generator:
    """A CPU generator for one purpose, such as `stream(seed, "initialization")`."""
    return torch.Generator().manual_seed(key(*parts))


def check_generator(generator: Any) -> None:
    """Say so where a seed, or nothing, stands for a generator."""
    if not isinstance(generator, torch.Generator):
        raise ValueError(
            f"the generator is a {type(generator).__name__}: wanted a torch.Generator on the CPU, "
            "torch.Generator().manual_seed(0)"
        )
