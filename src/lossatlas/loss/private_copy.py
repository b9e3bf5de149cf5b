"""The loss's own copy of a module, in eval mode, and what is kept on it besides its parameters and buffers."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from lossatlas.loss.watch import Watch, storage

OF_EVERY_MODULE = frozenset(vars(nn.Module()))  # attributes that torch itself keeps on a module

NO_PLAIN_OBJECTS = (nn.Module, Tensor, type, ModuleType)  # they have attributes, and ways of their own

HOOKS_BACKWARD = ("_backward_hooks", "_backward_pre_hooks")
HOOKS_FORWARD = (
    "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
)  # fmt: skip


def private_copy(
    module: nn.Module, device: torch.device | str | None, train_mode_modules: str | Sequence[str] = ()
) -> nn.Module:
    """A deep copy of `module` in eval mode on `device`, without gradients and backward hooks.

    Where its own `.eval()` changes weights or what is kept (adapters that are merged, layers that cache), the flags are
    set and `.eval()` is not called: the copy is then as the module is, with dropout off and stored statistics. What it
    has kept of an earlier pass is detached.

    Args:
        module: the user's, which stays as it is.
        device: where to; None: where the module is.
        train_mode_modules: patterns of the names of modules in it that stay in train mode.

    Raises:
        ValueError: it cannot be copied, has no values yet, lies on several devices, or a pattern matches nothing.
    """
    _check_tensors(module, device)
    copied = _copy_of(module)
    if _eval_changes(copied):
        copied = _copy_of(module)
        for part in copied.modules():
            part.training = False
    _set_train_mode(copied, train_mode_modules)
    for part in copied.modules():
        for name in HOOKS_BACKWARD:  # they change gradients, which are then not those of the values
            getattr(part, name, {}).clear()
    try:
        return copied if device is None else copied.to(device)
    except (AssertionError, RuntimeError) as error:  # torch's ways to say that there is no such device
        raise ValueError(
            f"device is {str(device)!r}, which cannot be had here: {str(error).splitlines()[0]}"
        ) from error


def _eval_changes(module: nn.Module) -> bool:
    """Call `.eval()`; whether that has written to tensors of the module, replaced some, or made or dropped any."""
    before = {name: (tensor, tensor.data_ptr()) for name, tensor in _tensors_by_name(module).items()}
    with torch.no_grad(), Watch() as watch:  # weight.data += ... leaves no other trace
        module.eval()
    after = _tensors_by_name(module)
    return after.keys() != before.keys() or any(
        after[name] is not tensor or tensor.data_ptr() != address or storage(tensor) in watch.written
        for name, (tensor, address) in before.items()
    )


def has_hooks(module: nn.Module) -> bool:
    """Whether there are forward hooks or pre-hooks anywhere in a `module`."""
    return any(getattr(part, name, None) for part in module.modules() for name in HOOKS_FORWARD)


def hook_functions(module: nn.Module) -> list[Any]:
    """Every forward hook and pre-hook of a `module` and its parts."""
    return [
        hook
        for part in module.modules()
        for name in ("_forward_hooks", "_forward_pre_hooks")
        for hook in getattr(part, name, {}).values()
    ]


def kept_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Tensors that parts of a `module` hold as plain attributes, with their names; also those in lists and mappings."""
    for owner, part in module.named_modules():
        for key, value in vars(part).items():
            if key not in OF_EVERY_MODULE:
                for tensor in _tensors_in(value):
                    yield f"{owner}.{key}".lstrip("."), tensor


class Attributes:
    """What every part of a `module` keeps on itself besides parameters, buffers and parts, at one moment.

    Lists, mappings and sets, and objects with attributes of their own, are remembered by their contents.
    """

    def __init__(self, module: nn.Module) -> None:
        self._names: dict[int, str] = {}
        self._held: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._contents: list[tuple[Any, Any]] = []
        for owner, part in module.named_modules():
            self._remember(vars(part), owner)

    def changed(self) -> tuple[str, ...]:
        """Names of the attributes that are others now, have other contents, are new or are gone."""
        names = []
        for owner, held in self._held:
            prefix = self._names[id(owner)]
            for key in held.keys() | owner.keys():
                if key not in OF_EVERY_MODULE and (key not in held or key not in owner or held[key] is not owner[key]):
                    names.append(f"{prefix}.{key}".lstrip("."))
        for container, contents in self._contents:
            if not _same_contents(container, contents):
                names.append(self._names[id(container)])
        return tuple(sorted(names))

    def put_back(self) -> None:
        """Every attribute is again what it was."""
        for owner, held in self._held:
            for key in [key for key in owner if key not in held and key not in OF_EVERY_MODULE]:
                del owner[key]
            for key, value in held.items():
                if owner.get(key) is not value:
                    owner[key] = value
        for container, contents in self._contents:
            if not _same_contents(container, contents):
                put_contents(container, contents)

    def _remember(self, owner: dict[str, Any], name: str) -> None:
        held = {key: value for key, value in owner.items() if key not in OF_EVERY_MODULE}
        self._held.append((owner, held))
        self._names[id(owner)] = name
        for key, value in held.items():
            inner = f"{name}.{key}".lstrip(".")
            if isinstance(value, (list, dict, set)):
                self._contents.append((value, value.copy()))
                self._names[id(value)] = inner
            elif is_plain_object(value) and id(vars(value)) not in self._names:
                self._remember(vars(value), inner)


def put_contents(container: Any, contents: Any) -> None:
    """Give a `container`, a list, a mapping or a set, the `contents` of another."""
    if isinstance(container, list):
        container[:] = contents
    else:
        container.clear()
        container.update(contents)


def _same_contents(container: Any, contents: Any) -> bool:
    if len(container) != len(contents):
        return False
    if isinstance(container, list):
        return all(a is b for a, b in zip(container, contents, strict=True))
    if isinstance(container, dict):
        return all(key in container and container[key] is value for key, value in contents.items())
    return container == contents


def is_plain_object(value: Any) -> bool:
    """Whether a `value` is something with attributes that may be state: no module, tensor, class or function."""
    return hasattr(value, "__dict__") and not isinstance(value, NO_PLAIN_OBJECTS) and not callable(value)


def _check_tensors(module: nn.Module, device: torch.device | str | None) -> None:
    tensors = [*module.named_parameters(), *module.named_buffers()]
    lazy = [name for name, tensor in tensors if nn.parameter.is_lazy(tensor)]
    if lazy:
        raise ValueError(f"{lazy} have no shape yet: run one batch through the module first")
    places = {tensor.device: name for name, tensor in tensors}
    if torch.device("meta") in places:
        name = places[torch.device("meta")]
        raise ValueError(f"{name} is on the meta device, without values: load the weights first")
    if device is None and len(places) > 1:
        listed = ", ".join(f"{name} on {place}" for place, name in places.items())
        raise ValueError(f"the module lies on several devices ({listed}): wanted one; say which by device=")


def _copy_of(module: nn.Module) -> nn.Module:
    """A deep copy; what was computed from other tensors and kept is a detached copy in it."""
    memo: dict[int, Any] = {
        id(tensor): tensor.detach().clone() for _, tensor in kept_tensors(module) if not tensor.is_leaf
    }
    # A hook that is a method of an object writes to that object, whoever reads it: in a copy that would not be seen.
    owners = [getattr(hook, "__self__", None) for hook in hook_functions(module)]
    memo |= {id(owner): owner for owner in owners if owner is not None and not isinstance(owner, nn.Module)}
    try:
        copied = copy.deepcopy(module, memo)
    except Exception as error:
        kind = type(module).__name__
        raise ValueError(f"{kind} cannot be copied ({error}): wanted one that copy.deepcopy takes") from error
    own = {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
    shared = [name for name, tensor in (*copied.named_parameters(), *copied.named_buffers()) if id(tensor) in own]
    if shared:
        raise ValueError(
            f"copy.deepcopy of {type(module).__name__} shares {shared[:3]} with the module itself (__deepcopy__?), "
            "which would be written to: wanted a copy with tensors of its own"
        )
    return copied


def _set_train_mode(module: nn.Module, patterns: str | Sequence[str]) -> None:
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        matched = [part for name, part in module.named_modules() if fnmatchcase(name, pattern)]
        if not matched:
            names = [name for name, _ in module.named_modules() if name]
            raise ValueError(f"train_mode_modules={pattern!r} matches no module; there are: {', '.join(names[:40])}")
        for part in matched:
            for inner in part.modules():
                inner.training = True


def _tensors_by_name(module: nn.Module) -> dict[str, Tensor]:
    return (
        dict(module.named_parameters())
        | dict(module.named_buffers())
        | {f"{name} [{number}]": tensor for number, (name, tensor) in enumerate(kept_tensors(module))}
    )


def _tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _tensors_in(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _tensors_in(one)
