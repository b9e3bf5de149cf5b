"""A first look at what `Loss.of` is given: what kind of thing it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

# Names in results that no metric may have.
TAKEN = ("loss", "penalty", "objective", "split", "alpha", "beta", "draw", "weight_decay", "measured")

NAME = re.compile(r"\w([ -.0-~]*[!-.0-~])?", re.ASCII)  # of a netCDF variable


def check_kinds(module: Any, criterion: Any, metrics: Any) -> None:
    """Say what is no module, no criterion or no metrics, which would fail later and less clearly."""
    check_recording()
    if not isinstance(module, nn.Module):
        kind = f"the class {module.__name__}" if isinstance(module, type) else f"a {type(module).__name__}"
        raise ValueError(f"the module is {kind}: wanted an nn.Module, with its weights loaded")
    for name, function in {"the criterion": criterion, **(metrics if isinstance(metrics, Mapping) else {})}.items():
        if isinstance(function, type):
            raise ValueError(f"{name} is the class {function.__name__}: wanted an instance, {function.__name__}()")
        if function is not None and not callable(function):
            raise ValueError(f"{name} is a {type(function).__name__}: wanted a function of output and target")
    if metrics is not None and not isinstance(metrics, Mapping):
        raise ValueError(
            f'metrics is a {type(metrics).__name__}: wanted functions by name, {{"accuracy": lossatlas.accuracy}}'
        )
    errors = {f"{name}_error" for name in (*TAKEN, *(metrics or ()))}  # beside a quantity that splines fill
    taken = [name for name in metrics or () if name in TAKEN or name in errors]
    if taken:
        raise ValueError(
            f"a metric is called {taken[0]!r}: wanted another name than {', '.join(TAKEN)}, and none that is another's "
            'with "_error" added'
        )
    odd = [name for name in metrics or () if not (isinstance(name, str) and NAME.fullmatch(name))]
    if odd:
        raise ValueError(
            f"a metric is called {odd[0]!r}: wanted ASCII letters, digits and signs but no slash, a letter, a digit or "
            "an underscore first, as files of results take them"
        )


def check_recording() -> None:
    """Say so where torch records nothing, whatever is asked for."""
    if torch.is_inference_mode_enabled():
        raise ValueError(
            "inside torch.inference_mode() nothing can be differentiated: leave it, or use torch.no_grad()"
        )
