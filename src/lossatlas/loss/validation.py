"""Is what `Loss.of` is given of use? Its kinds and names, and its numbers."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lossatlas.loss.accumulation import accumulates
from lossatlas.parameters.layout import Layout

# Names of variables and dimensions in results: no metric may have one of them.
RESERVED_NAMES = ("loss", "penalty", "objective", "split", "alpha", "beta", "draw", "weight_decay", "measured")

METRIC_NAME = re.compile(r"\w([ -.0-~]*[!-.0-~])?", re.ASCII)  # of a netCDF variable


def check_kinds(module: Any, criterion: Any, metrics: Any) -> None:
    """Say what is no module, no criterion or no metrics, which would fail later and less clearly.

    Args:
        module, criterion, metrics: what `Loss.of` was given.

    Raises:
        ValueError: what came, and what was wanted.
    """
    check_recording()
    if not isinstance(module, nn.Module):
        kind = f"the class {module.__name__}" if isinstance(module, type) else f"a {type(module).__name__}"
        raise ValueError(f"the module is {kind}: wanted an nn.Module, with its weights loaded")
    if any(isinstance(part, nn.CrossMapLRN2d) for part in module.modules()):
        warnings.warn(
            "torch's gradient of nn.CrossMapLRN2d is not that of its values: take nn.LocalResponseNorm", stacklevel=4
        )
    for name, function in {"the criterion": criterion, **(metrics if isinstance(metrics, Mapping) else {})}.items():
        if isinstance(function, type):
            raise ValueError(f"{name} is the class {function.__name__}: wanted an instance, {function.__name__}()")
        if function is not None and not callable(function) and not accumulates(function):
            raise ValueError(f"{name} is a {type(function).__name__}: wanted a function of output and target")
    if metrics is not None and not isinstance(metrics, Mapping):
        raise ValueError(
            f'metrics is a {type(metrics).__name__}: wanted functions by name, {{"accuracy": lossatlas.accuracy}}'
        )
    errors = {f"{name}_error" for name in (*RESERVED_NAMES, *(metrics or ()))}  # beside a quantity that splines fill
    unavailable = [name for name in metrics or () if name in RESERVED_NAMES or name in errors]
    if unavailable:
        raise ValueError(
            f"a metric is called {unavailable[0]!r}: wanted another name than {', '.join(RESERVED_NAMES)}, and none "
            'that is another\'s with "_error" added'
        )
    malformed = [name for name in metrics or () if not (isinstance(name, str) and METRIC_NAME.fullmatch(name))]
    if malformed:
        raise ValueError(
            f"a metric is called {malformed[0]!r}: wanted ASCII letters, digits and signs but no slash, a letter, a "
            "digit or an underscore first, as files of results take them"
        )


def check_recording() -> None:
    """Raise ValueError where torch records nothing, whatever is asked for."""
    if torch.is_inference_mode_enabled():
        raise ValueError(
            "inside torch.inference_mode() nothing can be differentiated: leave it, or use torch.no_grad()"
        )


def warn_of_numbers(layout: Layout, theta: Tensor, coarsest: torch.dtype) -> None:
    """Say so, to the caller of `Loss.of`, when the module's own numbers limit what can be measured.

    Args:
        layout: where the tensors lie in θ.
        theta: θ `(P,)`.
        coarsest: of the parameters' types.
    """
    broken = [name for name, tensor in layout.unflatten(theta).items() if not torch.isfinite(tensor).all()]
    if broken:
        warnings.warn(
            f"the module's weights {broken[:5]} are not finite: the loss is NaN wherever they are kept", stacklevel=4
        )
    precision = torch.finfo(coarsest)
    if precision.bits < 32:
        warnings.warn(
            f"there are parameters in {precision.dtype}: differences of the loss below about {precision.eps:.1g} of "
            "its value are noise; loss.to(torch.float32) resolves more",
            stacklevel=4,
        )
