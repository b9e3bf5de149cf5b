"""Weights in files: written, checked, and read back as θ."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file
from torch import Tensor, nn

from lossatlas.files import (
    TEMPORARY,
    write_bytes,
)
from lossatlas.loss.loss import Loss
from lossatlas.parameters.layout import Layout


def write_theta(path: Path, layout: Layout, theta: Tensor) -> None:
    """θ as named tensors: `torch`'s own `load_state_dict(load_file(path))` reads it."""
    write_bytes(path, save({name: tensor.contiguous() for name, tensor in layout.unflatten(theta).items()}))


FILE = re.compile(r"step=(\d+)\.safetensors")


COMPILED = "_orig_mod."  # what torch.compile puts before the names of the module it wraps


PARALLEL = "module."  # what DataParallel and DistributedDataParallel do


def checkpoint_files(folder: str | Path) -> dict[int, Path]:
    """The checkpoints in a folder by their step, in this order; none where there is no folder."""
    matches = ((FILE.fullmatch(file.name), file) for file in Path(folder).glob("step=*.safetensors"))
    return dict(sorted((int(match[1]), file) for match, file in matches if match))


def read_checkpoints(folder: str | Path, of: Loss | Layout) -> Tensor:
    """θ of every checkpoint that a `Recorder` wrote to the folder, `(t, P)` in the order of steps.

        trajectory_plane(loss, read_checkpoints("checkpoints", loss))

    `of` says which parameters make up θ; a loss also says its type and device. Names are found behind what
    torch.compile and parallel wrappers put before them, and where the loss is of one part of what was recorded. Costs
    the t · P numbers in memory, and one checkpoint.

    Raises ValueError, one line that names the file, when there is none, one is damaged, or one is of another
    architecture.
    """
    files = checkpoint_files(folder)
    if not files:
        raise ValueError(
            f"{folder} holds no checkpoints: wanted files like step=000100.safetensors, as Recorder writes"
        )
    layout = of.layout if isinstance(of, Loss) else of
    trajectory: Tensor | None = None
    for row, file in enumerate(files.values()):
        theta = read_checkpoint(file, layout)
        if trajectory is None:
            trajectory = (of.theta if isinstance(of, Loss) else theta).new_empty(len(files), layout.size)
        trajectory[row] = theta
    assert trajectory is not None
    return trajectory


def read_checkpoint(file: str | Path, layout: Layout) -> Tensor:
    """θ `(P,)` of one checkpoint, on the CPU; ValueError, one line, when it is damaged or of another architecture."""
    try:
        with safe_open(file, framework="pt") as opened:
            names = parameter_names(layout, opened.keys())
            tensors = {name: opened.get_tensor(names[name]) for name in layout.names}
        return layout.flatten(tensors)
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file} is no complete checkpoint ({error}): delete it to read the others") from error
    except ValueError as error:
        raise ValueError(f"{file} is of another architecture: {error}") from error


def parameter_names(layout: Layout, names: Collection[str]) -> dict[str, str]:
    """The name in a file of every parameter of the layout.

    That is the name itself, less what a wrapper puts before it; else with the one prefix that fits all of them.
    """
    wanted = {name: name.replace(COMPILED, "") for name in layout.names}
    there = {name.replace(COMPILED, ""): name for name in names}
    if all(name.startswith(PARALLEL) for name in wanted.values()) and not set(wanted.values()) <= set(there):
        wanted = {name: bare.removeprefix(PARALLEL) for name, bare in wanted.items()}
    first = next(iter(wanted.values()))
    prefixes = [name.removesuffix(first) for name in there if f".{name}".endswith(f".{first}")]
    fitting = [prefix for prefix in prefixes if all(f"{prefix}{name}" in there for name in wanted.values())]
    if "" in fitting:
        fitting = [""]
    if not fitting:
        missing = [name for name in wanted.values() if name not in there]
        raise ValueError(f"it lacks {', '.join(missing[:3])}{' and more' if len(missing) > 3 else ''}")
    if len(fitting) > 1:
        raise ValueError(f"it holds {len(fitting)} parts that fit, {', '.join(fitting)}: take the loss of the whole")
    return {name: there[f"{fitting[0]}{bare}"] for name, bare in wanted.items()}


def named_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Copies on the CPU of all parameters, tied ones once, and of the buffers that belong to the state dict."""
    persistent = module.state_dict().keys()
    named = dict(module.named_parameters()) | {
        name: buffer for name, buffer in module.named_buffers() if name in persistent
    }
    return {
        # Copies, since tensors that share memory cannot be saved.
        name.replace(COMPILED, ""): torch.empty_like(
            tensor, device="cpu", memory_format=torch.contiguous_format, requires_grad=False
        ).copy_(tensor.detach())
        for name, tensor in named.items()
    }


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """As `files.write_bytes`, but the tensors go to the disk without another copy in memory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        save_file(tensors, partial)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
