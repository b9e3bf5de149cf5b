"""A job: a call, and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Job:
    """A call that a worker makes; it returns seconds by the name of what took them."""

    work: Callable[..., dict[str, float]]
    arguments: tuple[Any, ...]
    cost: float  # in any unit; the costliest start first, and progress is measured in it
