"""Weights in files: written, checked, and read back as θ."""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn

from lossatlas.errors import InputError
from lossatlas.files import TEMPORARY, damaged, write_bytes
from lossatlas.loss.loss import Loss
from lossatlas.parameters.layout import Layout

Weights = nn.Module | Mapping[str, Tensor] | Tensor | str | Path  # a state dict, θ, or a file of one

FILE = re.compile(r"step=(\d+)\.safetensors")
COMPILED = "_orig_mod."  # what torch.compile puts before the names of the module it wraps
PARALLEL = "module."  # what DataParallel and DistributedDataParallel do

# θ in a file of its own -----------------------------------------------------------------------------------------


def write_theta(path: Path, layout: Layout, theta: Tensor) -> None:
    """θ as named tensors: `torch`'s own `load_state_dict(load_file(path))` reads it.

    Args:
        path: of a .safetensors file; its folder is made where it is missing.
        layout: the names and shapes of the parameters.
        theta: `(P,)`.
    """
    write_bytes(path, save({name: tensor.contiguous() for name, tensor in layout.unflatten(theta).items()}))


def read_theta(file: Path, layout: Layout, *, delete: Path) -> Tensor:
    """θ `(P,)` that `write_theta` wrote, on the CPU.

    Args:
        file: a .safetensors file.
        layout: the names and shapes of the parameters, which are those in the file.
        delete: what the message of a missing or damaged file says is to be deleted, so that it is made again.

    Raises:
        InputError: the file is missing or damaged, or has other parameters.
    """
    try:
        return layout.flatten(load_file(file))
    except FileNotFoundError as error:
        raise InputError(f"{file} is missing: delete {delete} and run again") from error
    except (SafetensorError, ValueError, OSError) as error:
        raise InputError(damaged(file, str(error), delete=delete)) from error


def check_length(file: Path, *, delete: Path) -> None:
    """Say so when a .safetensors file is not as long as its own header says. Reads the header alone.

    Args:
        file: a .safetensors file.
        delete: as in `read_theta`.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        with file.open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            (header_length,) = struct.unpack("<Q", opened.read(8))
            header = json.loads(opened.read(min(header_length, size)))
            stop = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
    except FileNotFoundError as error:
        raise InputError(f"{file} is missing: delete {delete} and run again") from error
    except (struct.error, ValueError, AttributeError, KeyError, TypeError) as error:
        raise InputError(damaged(file, "its header cannot be read", delete=delete)) from error
    wanted = 8 + header_length + stop
    if size != wanted:
        raise InputError(damaged(file, f"wanted {wanted} bytes, got {size}", delete=delete))


# Weights from elsewhere -----------------------------------------------------------------------------------------


def theta_of(source: Weights, loss: Loss, what: str) -> Tensor:
    """θ `(P,)` of weights in whatever form, in the type and on the device of a loss.

    Args:
        source: a module, a state dict, a flat vector `(P,)`, or the file of a state dict (.safetensors, .pt, .pth).
            Names may stand behind what torch.compile and parallel wrappers put before them.
        loss: says which parameters make up θ.
        what: what the weights are called in messages.

    Raises:
        InputError: the file cannot be read, or the weights are of another architecture.
    """
    if isinstance(source, (str, Path)):
        what = f"{what}, {source},"
        source = _read_state_dict(Path(source), what)
    try:
        if isinstance(source, nn.Module):
            return loss.layout.theta_of(source).to(loss.theta)
        if isinstance(source, Tensor):
            loss.layout.check(source)
            return source.detach().to(loss.theta)
        names = parameter_names(loss.layout, source.keys())
        return loss.layout.flatten({name: source[names[name]].detach() for name in loss.layout.names}).to(loss.theta)
    except (KeyError, ValueError, RuntimeError) as error:
        raise InputError(f"{what} does not fit the model: {error}") from error


def _read_state_dict(file: Path, what: str) -> Mapping[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"{what} is not there") from error
    except Exception as error:  # whatever a damaged file makes a reader say
        raise InputError(f"{what} cannot be read: {str(error).splitlines()[0]}") from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else loaded
    if not isinstance(state, Mapping):
        raise InputError(f"{what} holds a {type(state).__name__}: wanted a state dict")
    return state


# A folder of checkpoints ----------------------------------------------------------------------------------------


def checkpoint_files(folder: str | Path) -> dict[int, Path]:
    """The checkpoints in a `folder` by their step, in this order; none where there is no folder."""
    matches = ((FILE.fullmatch(file.name), file) for file in Path(folder).glob("step=*.safetensors"))
    return dict(sorted((int(match[1]), file) for match, file in matches if match))


def read_checkpoints(folder: str | Path, of: Loss | Layout) -> Tensor:
    """θ of every checkpoint that a `Recorder` wrote to the folder, `(t, P)` in the order of steps.

        trajectory_plane(loss, read_checkpoints("checkpoints", loss))

    Names are found behind what torch.compile and parallel wrappers put before them, and where the loss is of one part
    of what was recorded. Costs the t · P numbers in memory, and one checkpoint.

    Args:
        folder: where the files `step=<number>.safetensors` lie.
        of: says which parameters make up θ; a loss also says its type and device.

    Raises:
        ValueError: one line that names the file, when there is none, one is damaged, or one is of another architecture.
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
    """θ `(P,)` of one checkpoint, on the CPU.

    Args:
        file: a .safetensors file.
        layout: says which parameters make up θ; in the file their names may have a prefix.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: one line, when it is damaged or of another architecture.
    """
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

    Args:
        layout: the parameters that are wanted.
        names: what the file holds.

    Raises:
        ValueError: a parameter is missing, or several prefixes fit.
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
    """Copies on the CPU of all parameters of a `module`, tied ones once, and of the buffers in its state dict."""
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
    """As `files.write_bytes`, but the tensors go to the disk without another copy in memory.

    Args:
        tensors: on the CPU, by name; no two may share memory.
        path: of the .safetensors file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        save_file(tensors, partial)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
