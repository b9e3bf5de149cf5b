"""Weights in whatever form as θ, and as a state dict of the module whose loss it is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lossatlas.errors import InputError
from lossatlas.loss.loss import Loss
from lossatlas.parameters.layout import Layout
from lossatlas.training.weight_files import load_weights, state_dicts

Weights = nn.Module | Mapping[str, Any] | Tensor | str | Path  # a state dict, θ, a file, or a checkpoint with one in it

COMPILED = "_orig_mod."  # what torch.compile puts before the names of the module it wraps
PARALLEL = "module."  # what DataParallel and DistributedDataParallel do
LISTED = 12  # names that a message lists at most


def theta_of(source: Weights, loss: Loss, what: str) -> Tensor:
    """θ `(P,)` of weights in whatever form, in the type and on the device of a loss.

    Args:
        source: a module, a flat vector `(P,)`, a state dict or a checkpoint of a training that holds one
            ("model_state_dict"), or the file of either (.safetensors, .pt, .pth). Names may stand behind what
            torch.compile and parallel wrappers put before them.
        loss: says which parameters make up θ.
        what: what the weights are called in messages.

    Raises:
        InputError: the file cannot be read, several state dicts in it fit, or the weights are of another architecture.
    """
    source, what = opened(source, what)
    try:
        if isinstance(source, Tensor):
            loss.layout.check(source)
            return source.detach().to(loss.theta)
        state = fitting_state(source, loss.layout)
        names = parameter_names(loss.layout, state.keys())
        return loss.layout.flatten({name: state[names[name]].detach() for name in loss.layout.names}).to(loss.theta)
    except (KeyError, ValueError, RuntimeError) as error:
        raise InputError(f"{what} does not fit the model: {error}") from error


def state_of(source: Weights, loss: Loss, what: str) -> dict[str, Tensor] | None:
    """The state dict that the loss's module has with these weights; None where they do not say its buffers.

    Args:
        source: as in `theta_of`. Frozen parameters that it does not have are the module's.
        loss: whose module is meant.
        what: what the weights are called in messages.

    Raises:
        InputError: as in `theta_of`.
    """
    source, what = opened(source, what)
    if isinstance(source, Tensor):
        return None
    own = {name: tensor for name, tensor in loss.module.state_dict().items() if isinstance(tensor, Tensor)}
    try:
        given = fitting_state(source, loss.layout)
        names = parameter_names(loss.layout, given.keys(), also=own)
    except ValueError as error:
        raise InputError(f"{what} does not fit the model: {error}") from error
    first = {id(parameter): name for name, parameter in reversed(list(_named(loss.module)))}
    tied = {
        name: first[id(parameter)] for name, parameter in _named(loss.module)
    }  # a file may have one name of several
    found = {name: given[file_name] for name, file_name in names.items()}
    found |= {name: found[first] for name, first in tied.items() if name not in found and first in found}
    if any(name not in found for name in own if name not in tied):
        return None
    return own | {name: found[name].detach() for name in own if name in found}


def opened(source: Weights, what: str) -> tuple[Tensor | nn.Module | Mapping[str, Any], str]:
    """What a file holds where the source is one, and what the weights are called then.

    Args:
        source: weights or a file of them.
        what: what they are called in messages.

    Raises:
        InputError: the file cannot be read, or holds no mapping.
    """
    if not isinstance(source, (str, Path)):
        return source, what
    what = f"{what}, {source},"
    try:
        loaded = load_weights(Path(source))
    except InputError as error:
        raise InputError(f"{what} {error}") from error
    if not isinstance(loaded, Mapping):
        raise InputError(f"{what} holds a {type(loaded).__name__}: wanted a state dict")
    return loaded, what


def fitting_state(source: nn.Module | Mapping[str, Any], layout: Layout) -> Mapping[str, Any]:
    """The state dict of a module, or the one in a mapping that has the parameters of the layout.

    Args:
        source: the module, the state dict, or a checkpoint of a training with one or several in it.
        layout: the parameters.

    Raises:
        ValueError: none fits, or several: the message says what there is.
    """
    if isinstance(source, nn.Module):
        return dict(_named(source)) | dict(source.named_buffers())
    there = state_dicts(source)
    fitting = {place: state for place, state in there.items() if _fits(layout, state)}
    if len(fitting) > 1:
        raise ValueError(
            f"it holds {len(fitting)} state dicts that fit, {', '.join(place or 'itself' for place in fitting)}: give "
            f"the one that is meant, such as torch.load(file, weights_only=True){next(iter(fitting))}"
        )
    if fitting:
        return next(iter(fitting.values()))
    if list(there) == [""]:
        return source  # it is a state dict, and what it lacks is said of it
    keys = [str(name) for state in (source, *there.values()) for name in state]
    raise ValueError(
        f"it holds no state dict with {layout.names[0]} and the other parameters: its keys are {_listed(keys)}"
    )


def parameter_names(layout: Layout, names: Collection[str], also: Collection[str] = ()) -> dict[str, str]:
    """The name in a file of every parameter of the layout.

    That is the name itself, less what a wrapper puts before it; else with the one prefix that fits all of them.

    Args:
        layout: the parameters that are wanted.
        names: what the file holds.
        also: other names of the module, which are there in the result where they are in the file.

    Raises:
        ValueError: a parameter is missing, or several prefixes fit.
    """
    wanted = {name: name.replace(COMPILED, "") for name in (*layout.names, *also)}
    needed = [wanted[name] for name in layout.names]
    there = {name.replace(COMPILED, ""): name for name in names}
    if all(name.startswith(PARALLEL) for name in needed) and not set(needed) <= set(there):
        wanted = {name: bare.removeprefix(PARALLEL) for name, bare in wanted.items()}
        needed = [wanted[name] for name in layout.names]
    prefixes = [name.removesuffix(needed[0]) for name in there if f".{name}".endswith(f".{needed[0]}")]
    fitting = [prefix for prefix in prefixes if all(f"{prefix}{name}" in there for name in needed)]
    if "" in fitting:
        fitting = [""]
    if not fitting:
        missing = [name for name in needed if name not in there]
        lacking = f"{', '.join(missing[:3])}{' and more' if len(missing) > 3 else ''}"
        raise ValueError(f"it lacks {lacking}; it holds {_listed(names) or 'nothing'}")
    if len(fitting) > 1:
        raise ValueError(f"it holds {len(fitting)} parts that fit, {', '.join(fitting)}: take the loss of the whole")
    found = {name: f"{fitting[0]}{bare}" for name, bare in wanted.items()}
    return {name: there[full] for name, full in found.items() if full in there}


def _fits(layout: Layout, state: Mapping[str, Any]) -> bool:
    """Whether a state dict has every parameter, of its shape."""
    try:
        names = parameter_names(layout, [name for name in state if isinstance(state[name], Tensor)])
    except ValueError:
        return False
    return all(
        tuple(state[names[name]].shape) == shape for name, shape in zip(layout.names, layout.shapes, strict=True)
    )


def _listed(names: Collection[str]) -> str:
    return f"{', '.join(list(names)[:LISTED])}{' and more' if len(names) > LISTED else ''}"


def _named(module: nn.Module) -> Any:
    return module.named_parameters(remove_duplicate=False)
