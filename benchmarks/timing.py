"""Calls timed in turn, so that whatever else the machine does meets all of them, and what is kept of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

WARM_UP = 60.0  # seconds: a first round that took less is not counted


@dataclass(frozen=True)
class Outcome:
    """What a tool found. `seconds`: of the whole work, scaled up, where only a part of it was done."""

    value: Any = None
    count: int | None = None  # evaluations of the loss, or products with the Hessian
    seconds: float | None = None
    memory: int | None = None  # bytes of the largest process, where there are several


@dataclass(frozen=True)
class Tool:
    """One way to do a piece of work."""

    run: Callable[[], Outcome]
    note: str = ""
    rival: bool = True  # another tool than ours, whose answer is as good as was asked for
    once: bool = False  # long enough to be done a single time
    weigh: Callable[[], Outcome] | None = None  # a shorter call with the same peak memory


@dataclass
class Timed:
    outcome: Outcome = field(default_factory=Outcome)
    seconds: list[float] = field(default_factory=list)


def in_turn(tools: Mapping[str, Tool], repeats: int, *, warm_up: float = WARM_UP) -> dict[str, Timed]:
    """Every tool once, then every tool again, `repeats` times.

    The first round warms up and does not count where it took less than so many seconds. What is done once is timed in
    the first.
    """
    found = {name: Timed() for name in tools}
    start = time.perf_counter()
    _round(tools, found)
    several = {name: tool for name, tool in tools.items() if not tool.once}
    if time.perf_counter() - start < warm_up:
        for name in several:
            found[name].seconds.clear()
    else:
        repeats -= 1
    for _ in range(repeats):
        _round(several, found)
    return found


def _round(tools: Mapping[str, Tool], found: Mapping[str, Timed]) -> None:
    for name, tool in tools.items():
        start = time.perf_counter()
        outcome = tool.run()
        wall = time.perf_counter() - start
        found[name].outcome = outcome
        found[name].seconds.append(wall if outcome.seconds is None else outcome.seconds)


def ratios(others: list[float], ours: list[float]) -> tuple[float, float, float]:
    """How many times longer the others take, by round: median, smallest, largest.

    Rounds are paired as far as they go; what was timed once is compared with every round of ours.

    >>> ratios([2.0, 6.0, 4.0], [1.0, 2.0, 2.0]), ratios([6.0], [2.0, 3.0])
    ((2.0, 2.0, 3.0), (2.5, 2.0, 3.0))
    """
    pairs = np.array(others) / np.array(ours) if len(others) == len(ours) else np.divide.outer(others, ours).ravel()
    return float(np.median(pairs)), float(pairs.min()), float(pairs.max())


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def gemm_peak(count: int, *, size: int = 2048, repeats: int = 10) -> float:
    """GFLOP/s of the fastest of some float32 products of square matrices."""
    a, b = torch.rand(size, size), torch.rand(size, size)
    best = float("inf")
    with threads(count):
        for _ in range(repeats):
            start = time.perf_counter()
            torch.mm(a, b)
            best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9
