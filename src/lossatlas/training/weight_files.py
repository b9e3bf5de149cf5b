"""Files of weights that others wrote: in the order of training, and what is in them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from lossatlas.errors import InputError

RECORDED = re.compile(r"step=(\d+)\.safetensors")  # files that a `Recorder` wrote
SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt")  # the first is taken where one name has several

_NUMBER = r"(\d+(?:\.\d+)?(?:e[-+]?\d+)?)"
NUMBER = re.compile(_NUMBER, re.IGNORECASE)
EPOCH = re.compile(rf"(?<![a-z0-9])(?:epochs?|ep|e)[ _=.:-]*{_NUMBER}", re.IGNORECASE)
STEP = re.compile(
    rf"(?<![a-z0-9])(?:steps?|iterations?|iters?|it|batch(?:es)?|updates?)[ _=.:-]*{_NUMBER}", re.IGNORECASE
)

# Levels of mappings in which a state dict is looked for: {"state": {"model": {...}}} has two.
DEEPEST = 3


def weight_files(folder: str | Path) -> list[Path]:
    """The files of weights in a folder in the order of training, which is that of the numbers in their names.

    Epochs come first, then steps ("epoch=2-step=40"), then other whole numbers from left to right, and decimals last:
    they are mostly losses. Where one file is numbered, those without a number ("best.pt") are left out, and that is
    said. Of subfolders, as some trainers write them, `<name>/model.safetensors` is taken where the folder itself holds
    no weights.

    Args:
        folder: where they lie; those of a `Recorder` are taken alone.
    """
    folder = Path(folder)
    found = [file for file in folder.glob("*") if file.suffix in SUFFIXES and not file.name.startswith(".")]
    found = (
        [file for file in found if RECORDED.fullmatch(file.name)] or found or list(folder.glob("*/model.safetensors"))
    )
    named: dict[str, Path] = {}
    for file in sorted(found, key=lambda file: SUFFIXES.index(file.suffix)):
        named.setdefault(file.relative_to(folder).with_suffix("").as_posix(), file)
    numbered = {name: file for name, file in named.items() if NUMBER.search(name)}
    others = sorted(set(named) - set(numbered))
    if numbered and others:
        warnings.warn(
            f"{folder}: {', '.join(others)} have no number in their names and are left out of the path of training; "
            "give the files in order, checkpoints=[...], where they belong to it",
            stacklevel=3,
        )
    elif len(others) > 1:
        warnings.warn(
            f"{folder}: {', '.join(others)} have no numbers in their names and are taken in the order of the alphabet; "
            "give the files in the order of training, checkpoints=[...]",
            stacklevel=3,
        )
    return [(numbered or named)[name] for name in sorted(numbered or named, key=training_order)]


def training_order(name: str) -> tuple[Any, ...]:
    """What names of checkpoints are sorted by.

    Args:
        name: without the suffix.

    >>> sorted(["loss0.31_10", "loss0.40_9"], key=training_order)
    ['loss0.40_9', 'loss0.31_10']
    """
    numbers = NUMBER.findall(name)
    whole = [int(number) for number in numbers if number.isdigit()]
    decimals = [float(number) for number in numbers if not number.isdigit()]
    epochs, steps = (list(map(float, pattern.findall(name))) for pattern in (EPOCH, STEP))
    return epochs, steps, whole, decimals, name


def load_weights(file: Path) -> Any:
    """What is in a file of weights, on the CPU; of a pickled one tensors and plain values alone, never code.

    Args:
        file: with a suffix of `SUFFIXES`, or another one that torch wrote.

    Raises:
        InputError: the end of a line that begins with what the file is.
    """
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError("is not there") from error
    except Exception as error:  # whatever a damaged file makes a reader say
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "weights_only" in str(error):
            reason = (
                "it holds more than tensors and plain values; where you trust it, give what "
                "torch.load(file, weights_only=False) gives, or the state dict in that"
            )
        raise InputError(f"cannot be read: {reason}") from error


def state_dicts(loaded: Any, depth: int = DEEPEST) -> dict[str, Mapping[str, Any]]:
    """Every mapping of names to tensors in what was loaded, by where it stands there: '' itself, '["model"]', ...

    Args:
        loaded: a state dict, or a checkpoint of a training with one or several in it.
        depth: levels that are looked into.
    """
    if not isinstance(loaded, Mapping):
        return {}
    names = [name for name in loaded if isinstance(name, str)]
    found: dict[str, Mapping[str, Any]] = {}
    if any(isinstance(loaded[name], torch.Tensor) for name in names):
        found[""] = loaded
    for name in names if depth else ():
        found |= {f'["{name}"]{place}': state for place, state in state_dicts(loaded[name], depth - 1).items()}
    return found
