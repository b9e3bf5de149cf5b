"""Numbers as a report writes them: with the digits that they deserve, and with their interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

Row = Mapping[str, Any]
Form = Callable[[float], str]

MISSING = "–"


def loss_text(value: float) -> str:
    """Three significant digits.

    >>> [loss_text(value) for value in (0.12, 123.4, 0.0)]
    ['0.120', '123', '0.00']
    """
    return format(value, "#.3g").rstrip(".")


def accuracy_text(value: float) -> str:
    return format(value, ".4f")


def tau_text(value: float) -> str:
    return format(value, "+.2f")


def signed_text(value: float) -> str:
    """Three significant digits and always a sign."""
    return format(value, "+#.3g").rstrip(".")


def percent_text(share: float) -> str:
    return f"{100 * share:.1f} %"


def ratio_text(exponent: float) -> str:
    """How many times as large, from the decimal logarithm of the ratio.

    >>> [ratio_text(value) for value in (0.0, 1.0, -0.3, 40.0)]
    ['1.00', '10.0', '0.501', '1.00e+40']
    """
    return loss_text(10.0 ** max(min(exponent, 300.0), -300.0))


def between(estimate: float, low: float, high: float, form: Form) -> str:
    """`mean [low, high]`; `mean [–]` where there is no interval, `–` where there is no mean.

    >>> between(0.5, 0.25, 1.0, loss_text), between(0.5, math.nan, math.nan, loss_text)
    ('0.500 [0.250, 1.00]', '0.500 [–]')
    """
    if math.isnan(estimate):
        return MISSING
    return f"{form(estimate)} [{MISSING}]" if math.isnan(low) else f"{form(estimate)} [{form(low)}, {form(high)}]"


def interval_text(row: Row, name: str, form: Form) -> str:
    """The mean in column `name` with the interval beside it."""
    return between(row[name], row[f"{name}_low"], row[f"{name}_high"], form)


def counted(count: int, noun: str, plural: str = "") -> str:
    """
    >>> counted(1, "run"), counted(2, "run"), counted(0, "study", "studies")
    ('1 run', '2 runs', '0 studies')
    """
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def listed(parts: list[str]) -> str:
    """
    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)
