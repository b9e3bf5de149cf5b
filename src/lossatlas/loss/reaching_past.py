"""Refusing code that reaches past the copy: to the user's own module, or to weights kept in a second place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np
import torch
from torch import nn

from lossatlas.loss.criteria import Measure
from lossatlas.loss.watch import Watch, storage


def refuse_reads(function: Callable[[], Any], user: nn.Module, names: Iterable[str], reader: str) -> None:
    """Call a function of the user's once; ValueError where it reads weights of the module that was handed in.

    Args:
        function: without arguments.
        user: the module.
        names: of the parameters that move.
        reader: what the function is called in the message.
    """
    watch = Watch()
    with torch.no_grad(), watch:
        function()
    refuse_read(watch, user, names, reader)


def refuse_read(watch: Watch, user: nn.Module, names: Iterable[str], reader: str) -> None:
    """ValueError where weights of the module that was handed in were read.

    Args:
        watch: of a pass.
        user: the module.
        names: of the parameters that move.
        reader: what read them, in the message.
    """
    parameters = dict(user.named_parameters())
    for name in names:
        if name in parameters and storage(parameters[name]) in watch.read:
            raise ValueError(reads_past(name, reader))


def refuse_shared_parts(user: nn.Module, names: Collection[str], measure: Measure) -> None:
    """ValueError for a criterion or metric that is a module with moving weights of the user's module inside.

    Args:
        user: the module that was handed in.
        names: of the parameters that move.
        measure: the criterion and the metrics.
    """
    own = {id(parameter): name for name, parameter in user.named_parameters() if name in names}
    for name, function in measure.functions.items():
        if isinstance(function, nn.Module):
            shared = [own[id(parameter)] for parameter in function.parameters() if id(parameter) in own]
            if shared:
                raise ValueError(reads_past(shared[0], "the criterion" if name == "loss" else f"the metric {name!r}"))


def refuse_array_views(user: nn.Module, names: Collection[str]) -> None:
    """ValueError for a numpy array that a part of the module keeps and that lies in the memory of a moving weight.

    Nobody sees it being read, and the copy has an array of its own.

    Args:
        user: the module that was handed in.
        names: of the parameters that move.
    """
    places = [(name, tensor.data_ptr(), tensor.nbytes) for name, tensor in user.named_parameters() if name in names]
    for part in user.modules():
        for value in vars(part).values():
            if isinstance(value, np.ndarray) and value.size:
                address = value.__array_interface__["data"][0]
                for name, start, size in places:
                    if start <= address < start + size:
                        raise ValueError(second_place(name))


def second_place(name: str) -> str:
    """What to say where a pass reads a parameter, by its name, from somewhere else than its attribute.

    Args:
        name: of the parameter.
    """
    return (
        f"a pass reads {name!r} from a second place where it is kept (a list, a mapping, a view or an array of "
        "parameters, a functools.partial): there it would stay as it is wherever θ goes; read it as the attribute of "
        f"its module, self.{name.rpartition('.')[2]}, when it is used"
    )


def reads_past(name: str, reader: str) -> str:
    """What to say where weights of the user's own module are read.

    Args:
        name: of the tensor.
        reader: what reads it.
    """
    owner, _, leaf = name.rpartition(".")
    path = f"get_submodule({owner!r}).{leaf}" if owner else leaf
    return (
        f"{reader} reads {name!r} of the module that was given, not of the copy whose weights move: it would stay as "
        "it is wherever θ goes. Write a term of the weights as penalty=lambda theta: ...; let forward= hand over what "
        f"else the criterion needs: forward=lambda module, batch: ((module(batch[0]), module.{path}), batch[1]); where "
        "module.forward was replaced, put a module around the module instead; what is only logged, take out"
    )
