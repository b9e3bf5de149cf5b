"""Independent random streams, each keyed by what it is for: a run's result depends on nothing trained beside it."""

from __future__ import annotations

import hashlib

import torch


def key(*parts: object) -> int:
    """A 63-bit integer that depends on every part, and on nothing else."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def stream(*parts: object) -> torch.Generator:
    """A CPU generator for one purpose, such as `stream(seed, "initialization")`."""
    return torch.Generator().manual_seed(key(*parts))
