"""What a function of the user's reaches without being handed it: closures, globals, defaults, bound objects."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from torch import nn

from lossatlas.loss.private_copy import is_plain_object, put_contents

DEEPEST = 4  # functions that call functions, each reached through the one before


def captured(function: Any, deepest: int = DEEPEST) -> Iterator[Any]:
    """Every object that a function, partial, method or callable object can reach by itself, functions included.

    Args:
        function: of the user's.
        deepest: how many functions within functions are followed.
    """
    if deepest == 0:
        return
    for value in _reached(function):
        yield value
        if isinstance(value, (FunctionType, MethodType, functools.partial)):
            yield from captured(value, deepest - 1)
        elif isinstance(value, (list, tuple)):
            yield from (one for one in value if not isinstance(one, (str, int, float)))
        elif is_plain_object(value):
            yield from vars(value).values()


def names_used(function: Any) -> set[str]:
    """Names of attributes and globals, and strings, in the code of a `function` and of those that it reaches."""
    found: set[str] = set()
    for one in (function, *captured(function)):
        for code in _codes(_code_of(one)):
            found.update(code.co_names)
            found.update(value for value in code.co_consts if isinstance(value, str))
    return found


def reads_of(module: nn.Module, attributes: Iterable[str], functions: Iterable[Any]) -> tuple[Any, str] | None:
    """A function that reaches `module`, or a part of it, and uses one of the names; with that name.

    Args:
        module: the user's own.
        attributes: full names, such as "encoder.last".
        functions: of the user's: criterion, metrics, forward, hooks.
    """
    attributes = list(attributes)
    if not attributes:
        return None
    parts = {id(part) for part in module.modules()}
    for function in functions:
        if any(id(value) in parts for value in captured(function)):
            used = names_used(function)
            for name in attributes:
                if name.rpartition(".")[2] in used:
                    return function, name
    return None


@contextmanager
def containers_unchanged(functions: Iterable[Callable[..., Any]]) -> Iterator[None]:
    """Lists, mappings, sets and plain objects that the `functions` reach have afterwards the contents that they had."""
    reached = [value for function in functions for value in captured(function)]
    containers = [value for value in reached if isinstance(value, (list, dict, set))]
    containers += [vars(value) for value in reached if is_plain_object(value)]
    held = [(container, container.copy()) for container in {id(one): one for one in containers}.values()]
    try:
        yield
    finally:
        for container, contents in held:
            put_contents(container, contents)


def _reached(function: Any) -> Iterator[Any]:
    if isinstance(function, functools.partial):
        yield function.func
        yield from function.args
        yield from function.keywords.values()
    elif isinstance(function, MethodType):
        yield function.__self__
        yield function.__func__
        yield from _methods_used(function.__func__, [function.__self__])
    elif isinstance(function, FunctionType):
        objects = [*_captured_by_code(function)]
        yield from objects
        yield from _methods_used(function, objects)
    elif not isinstance(function, (type, nn.Module)) and hasattr(function, "__dict__"):
        yield from vars(function).values()
        if isinstance(call := vars(type(function)).get("__call__"), FunctionType):
            yield MethodType(call, function)
    elif isinstance(function, nn.Module):
        yield from (value for key, value in vars(function).items() if not key.startswith("_"))
        if isinstance(forward := type(function).forward, FunctionType):
            yield MethodType(forward, function)


def _captured_by_code(function: FunctionType) -> Iterator[Any]:
    """What a function's closure, defaults and globals give the names in its code."""
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # a name that is not bound yet
            yield cell.cell_contents
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    names = {name for code in _codes(function.__code__) for name in code.co_names}
    yield from (function.__globals__[name] for name in names if name in function.__globals__)


def _methods_used(function: Any, objects: Iterable[Any]) -> Iterator[MethodType]:
    """Methods and properties of the `objects` that the code of a function names; torch's own are left out."""
    names = {name for code in _codes(_code_of(function)) for name in code.co_names}
    for one in objects:
        if isinstance(one, (type, ModuleType, FunctionType, MethodType)):
            continue
        for name in names:
            found = inspect.getattr_static(type(one), name, None)
            found = found.fget if isinstance(found, property) else found
            if isinstance(found, FunctionType) and not found.__module__.startswith("torch."):
                yield MethodType(found, one)


def _code_of(function: Any) -> CodeType | None:
    if isinstance(function, MethodType):
        function = function.__func__
    return function.__code__ if isinstance(function, FunctionType) else None


def _codes(code: CodeType | None) -> Iterator[CodeType]:
    """A code object and those of the functions that are defined in it."""
    if code is not None:
        yield code
        for value in code.co_consts:
            if isinstance(value, CodeType):
                yield from _codes(value)
