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
    """Four decimals: one example of 512 is 0.002."""
    return format(value, ".4f")


def metric_form(name: str) -> Form:
    """How a training's metric is written, by the name of its column."""
    return accuracy_text if "accuracy" in name else loss_text


def measure_text(value: float) -> str:
    """Four significant digits, for one value that stands alone.

    >>> [measure_text(value) for value in (0.00123456, 1.0, 0.0)]
    ['0.001235', '1.000', '0']
    """
    return format(value, "#.4g").rstrip(".") if value else "0"


def general_text(value: object) -> str:
    """A setting as it was given: a number without digits that say nothing, anything else as it is.

    >>> general_text(0.0001), general_text(2.0), general_text(3), general_text("relu")
    ('0.0001', '2', '3', 'relu')
    """
    return format(value, "g") if isinstance(value, float) else str(value)


def step_text(value: float) -> str:
    """Two significant digits, for the smallest step that a value can make."""
    return format(value, ".2g")


def yes_or_no(value: object) -> str:
    """
    >>> yes_or_no(True), yes_or_no(False), yes_or_no(None)
    ('yes', 'no', '–')
    """
    return {"True": "yes", "False": "no"}.get(str(value), MISSING)


def tau_text(value: float) -> str:
    """A rank correlation: two decimals and always a sign."""
    return format(value, "+.2f")


def signed_text(value: float) -> str:
    """Three significant digits and always a sign."""
    return format(value, "+#.3g").rstrip(".")


def percent_text(share: float) -> str:
    """A share that was measured, with one decimal."""
    return f"{100 * share:.1f} %"


def round_percent_text(share: float) -> str:
    """A share that was chosen, without digits that say nothing.

    >>> round_percent_text(0.05), percent_text(0.05)
    ('5 %', '5.0 %')
    """
    return f"{100 * share:g} %"


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


def number(value: float, digits: int = 3) -> str:
    """A number for a legend: `digits` significant ones, as a power of ten where it is very large or small.

    >>> number(0.04567), number(-1234.0, 2), number(2.5e-7)
    ('0.0457', '−1200', '2.50 × 10⁻⁷')
    """
    if not math.isfinite(value):
        return "not finite"
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    power = int(exponent)
    if -4 < power < 5:
        text = f"{float(f'{mantissa}e{power}'):.{max(digits - 1 - power, 0)}f}"
    else:
        text = f"{mantissa} × 10{superscript(power)}"
    return text.replace("-", "−")


def with_error(value: float, error: float) -> str:
    """A value and its standard error, both rounded to the second digit of the error.

    >>> with_error(12.3456, 0.4567), with_error(1234.5, 67.8)
    ('12.35 ± 0.46', '1234 ± 68')
    """
    if not (math.isfinite(value) and math.isfinite(error)) or error == 0:
        return f"{number(value)} ± {number(error, 2)}"
    decimals = max(1 - int(f"{error:e}".split("e")[1]), 0)
    if decimals > 5 or abs(value) >= 1e6:
        return f"{number(value)} ± {number(error, 2)}"
    return f"{value:.{decimals}f} ± {error:.{decimals}f}".replace("-", "−")


def superscript(power: int) -> str:
    """An exponent in raised digits: cheaper than mathtext, and searchable in vector output."""
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
