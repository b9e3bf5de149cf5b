"""Surfaces that other programs measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from lossatlas.results.variables import UNITS

SPLITS = ("train", "test")
UNFINISHED = -1.0


def read_loss_landscape(path: str | Path) -> xr.Dataset:
    """A surface file of github.com/tomgoldstein/loss-landscape (Li et al. 2018), as `random_plane` gives its results.

    Its `plot_surface.py` writes HDF5 with `xcoordinates` `(nx,)`, `ycoordinates` `(ny,)` (none for a line), and for
    "train" and maybe "test" a mean loss and an accuracy in percent, `(nx, ny)`. It goes through the points row by row
    of a (ny, nx) grid, but counts them off in the (nx, ny) array: they are put where they belong here, which for
    square grids is the transpose. Points that it has not measured are -1 there and NaN here.

    Args:
        path: of the file.

    Returns:
        loss and accuracy, a fraction, `(split, alpha, beta)` or `(split, alpha)`. α counts the first direction; what
        the directions were is in the attribute `directions`, the name of their file.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: naming the file, when it is no such file.
    """
    try:
        with h5py.File(path, "r") as file:
            arrays = {str(name): entry[()] for name, entry in file.items() if isinstance(entry, h5py.Dataset)}
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{path} is no complete HDF5 file ({error})") from error
    splits = [split for split in SPLITS if f"{split}_loss" in arrays]
    if "xcoordinates" not in arrays or not splits:
        raise ValueError(
            f"{path} holds {', '.join(arrays) or 'nothing'}: wanted xcoordinates and train_loss, as plot_surface.py "
            "of loss-landscape writes them"
        )
    names = {"alpha": "xcoordinates", "beta": "ycoordinates"}
    axes = {axis: np.asarray(arrays[name], dtype=float) for axis, name in names.items() if name in arrays}
    counts = {"loss": "loss", "accuracy": "acc"}
    variables = {
        quantity: (
            ("split", *axes),
            np.stack([_laid_out(path, f"{split}_{short}", arrays, axes) for split in splits]),
            UNITS[quantity],
        )
        for quantity, short in counts.items()
        if all(f"{split}_{short}" in arrays for split in splits)
    }
    if "accuracy" in variables:
        dims, percent, attrs = variables["accuracy"]
        variables["accuracy"] = dims, percent / 100, attrs
    probe = "loss_landscape_plane" if "beta" in axes else "loss_landscape_line"
    return xr.Dataset(
        variables,
        {"split": splits, **{axis: (axis, places, UNITS[axis]) for axis, places in axes.items()}},
        {"probe": probe, "source": str(path), **_directions(arrays)},
    )


def _laid_out(path: str | Path, name: str, arrays: dict[str, Any], axes: dict[str, np.ndarray]) -> np.ndarray:
    """An array with α first, NaN where the point was not measured."""
    values = np.asarray(arrays[name], dtype=float)
    sizes = [len(places) for places in axes.values()]
    if values.size != np.prod(sizes) or values.ndim != len(sizes):
        raise ValueError(f"{path}: {name} has shape {values.shape}, the coordinates {tuple(sizes)}")
    return np.where(values == UNFINISHED, np.nan, values).reshape(sizes[::-1]).T


def _directions(arrays: dict[str, Any]) -> dict[str, str]:
    """Where it says which file held the directions."""
    name = arrays.get("dir_file")
    return {} if name is None else {"directions": name.decode() if isinstance(name, bytes) else str(name)}
