"""Weights in files: written, checked, and read back as θ."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn

from lossatlas.errors import InputError
from lossatlas.files import TEMPORARY, damaged, write_bytes
from lossatlas.loss.loss import Loss
from lossatlas.parameters.layout import Layout
from lossatlas.training.weight_files import RECORDED, load_weights, weight_files
from lossatlas.training.weights import COMPILED, fitting_state, parameter_names

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


# A folder of checkpoints ----------------------------------------------------------------------------------------


def checkpoint_files(folder: str | Path) -> dict[int, Path]:
    """The checkpoints in a `folder` by their step, in this order; none where there is no folder."""
    matches = ((RECORDED.fullmatch(file.name), file) for file in Path(folder).glob("step=*.safetensors"))
    return dict(sorted((int(match[1]), file) for match, file in matches if match))


def read_checkpoints(folder: str | Path, of: Loss | Layout) -> Tensor:
    """θ of every checkpoint in a folder, `(t, P)`: those of a `Recorder`, or others in the order of their numbers.

        trajectory_plane(loss, read_checkpoints("checkpoints", loss))

    Names are found behind what torch.compile and parallel wrappers put before them, and where the loss is of one part
    of what was recorded. Costs the t · P numbers in memory, and one checkpoint.

    Args:
        folder: where the files lie, `step=<number>.safetensors` or others of `weight_files.weight_files`.
        of: says which parameters make up θ; a loss also says its type and device.

    Raises:
        ValueError: one line that names the file, when there is none, one is damaged, or one is of another architecture.
    """
    files = weight_files(folder)
    if not files:
        raise ValueError(
            f"{folder} holds no checkpoints: wanted files like step=000100.safetensors, as Recorder writes, or others "
            "of state dicts (.safetensors, .pt, .pth, .ckpt)"
        )
    layout = of.layout if isinstance(of, Loss) else of
    trajectory: Tensor | None = None
    for row, file in enumerate(files):
        theta = read_checkpoint(file, layout)
        if trajectory is None:
            trajectory = (of.theta if isinstance(of, Loss) else theta).new_empty(len(files), layout.size)
        trajectory[row] = theta
    assert trajectory is not None
    return trajectory


def read_checkpoint(file: str | Path, layout: Layout) -> Tensor:
    """θ `(P,)` of one checkpoint, on the CPU.

    Args:
        file: of weights, .safetensors or one that torch wrote.
        layout: says which parameters make up θ; in the file their names may have a prefix.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: one line, when it is damaged or of another architecture.
    """
    try:
        if Path(file).suffix != ".safetensors":
            state = fitting_state(load_weights(Path(file)), layout)
            names = parameter_names(layout, state.keys())
            return layout.flatten({name: state[names[name]].detach() for name in layout.names})
        with safe_open(file, framework="pt") as opened:  # what the loss has no use for is not read
            names = parameter_names(layout, opened.keys())
            tensors = {name: opened.get_tensor(names[name]) for name in layout.names}
        return layout.flatten(tensors)
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file} is no complete checkpoint ({error}): delete it to read the others") from error
    except InputError as error:
        raise ValueError(f"{file} {error}") from error
    except ValueError as error:
        raise ValueError(f"{file} is of another architecture: {error}") from error


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
