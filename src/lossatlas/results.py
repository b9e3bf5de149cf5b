"""What results are made of: names and units of variables, and how they are kept on disk (netCDF)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

# Descriptions of every variable and coordinate that a probe may return.
UNITS: dict[str, dict[str, str]] = {
    "loss": {"long_name": "loss", "units": "criterion"},
    "accuracy": {"long_name": "accuracy", "units": "1"},
    "alpha": {"long_name": "position α", "units": "1"},
    "beta": {"long_name": "position β", "units": "1"},
    "path_alpha": {"long_name": "checkpoint's first coordinate", "units": "parameter"},
    "path_beta": {"long_name": "checkpoint's second coordinate", "units": "parameter"},
    "path_loss": {"long_name": "loss at the checkpoint itself", "units": "criterion"},
    "path_plane_loss": {"long_name": "loss at the checkpoint's projection on the plane", "units": "criterion"},
    "path_off_plane": {"long_name": "distance from the plane / distance from its origin", "units": "1"},
    "model_alpha": {"long_name": "model's first coordinate", "units": "parameter"},
    "model_beta": {"long_name": "model's second coordinate", "units": "parameter"},
    "model_loss": {"long_name": "loss of the model itself", "units": "criterion"},
    "model_plane_loss": {"long_name": "loss at the model's projection on the plane", "units": "criterion"},
    "model_off_plane": {"long_name": "distance from the plane / distance from its origin", "units": "1"},
    "off_plane": {"long_name": "distance from the plane / distance from the final point", "units": "1"},
    "explained_variance": {"long_name": "share of variance", "units": "1"},
    "eigenvalues": {"long_name": "eigenvalues of the Hessian", "units": "criterion / parameter²"},
    "residuals": {"long_name": "‖Hv − λv‖", "units": "criterion / parameter²"},
    "slope": {"long_name": "slope vᵀg along the direction", "units": "criterion / parameter"},
    "curvature": {"long_name": "curvature vᵀHv along the direction", "units": "criterion / parameter²"},
    "quadratic": {"long_name": "quadratic model L + gᵀδ + δᵀHδ/2", "units": "criterion"},
    "smallest": {"long_name": "smallest eigenvalue of the Hessian", "units": "criterion / parameter²"},
    "smallest_residual": {"long_name": "‖Hv − λv‖", "units": "criterion / parameter²"},
    "trace": {"long_name": "trace of the Hessian", "units": "criterion / parameter²"},
    "trace_error": {"long_name": "standard error of the trace", "units": "criterion / parameter²"},
    "parameters": {"long_name": "number of parameters", "units": "1"},
    "position": {"long_name": "eigenvalue λ of the Hessian", "units": "criterion / parameter²"},
    "axis": {"long_name": "axis of the density", "units": "1 (log) or criterion / parameter² (linear)"},
    "density": {"long_name": "spectral density", "units": "1 / unit of the axis"},
    "density_error": {"long_name": "standard error of the spectral density", "units": "1 / unit of the axis"},
    "negative": {"long_name": "share of eigenvalues below −max|λ| / 1000", "units": "1"},
    "negative_error": {"long_name": "standard error of the share below −max|λ| / 1000", "units": "1"},
    "mean": {"long_name": "mean eigenvalue of the Hessian", "units": "criterion / parameter²"},
    "mean_error": {"long_name": "standard error of the mean eigenvalue", "units": "criterion / parameter²"},
    "sigma": {"long_name": "standard deviation of the broadening", "units": "unit of the axis"},
    "increase": {"long_name": "L(θ + δ) − L(θ)", "units": "criterion"},
    "weight_decay": {"long_name": "weight decay λ", "units": "criterion / parameter²"},
    "measured": {"long_name": "whether the node was measured", "units": "1"},
    "penalty": {"long_name": "penalty λ‖θ‖²/2", "units": "criterion"},
    "objective": {"long_name": "loss + penalty", "units": "criterion"},
    "relative_length": {"long_name": "‖d‖ / ‖θ‖ of the directions", "units": "1"},
    "barrier": {"long_name": "maximum on the path minus the larger end loss", "units": "criterion"},
    "barrier_resolution": {"long_name": "what the last refinement added to the barrier", "units": "criterion"},
    "excess": {"long_name": "maximum above the line between the end losses", "units": "criterion"},
}


def to_netcdf(result: xr.Dataset) -> bytes:
    """A result as a netCDF file in memory; the same result gives the same bytes.

    In the classic format with 64-bit offsets, which every netCDF library reads: a twentieth of the time of netCDF-4 for
    files as small as these. Integers have 32 bits there, and what is larger raises ValueError.
    """
    return bytes(result.to_netcdf(engine="scipy", format="NETCDF3_64BIT"))


def save(result: xr.Dataset, path: str | Path) -> None:
    """Write a result as netCDF; folders that are not there are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(to_netcdf(result))


def load(path: str | Path) -> xr.Dataset:
    """Read a result wholly into memory and close the file.

    Raises ValueError, naming the file, when it is no complete netCDF file.
    """
    try:
        with xr.open_dataset(path, engine="scipy", mmap=False) as opened:
            return _widened(opened.load())
    except FileNotFoundError:
        raise
    except (OSError, KeyError, ValueError, TypeError, IndexError, EOFError) as error:
        raise ValueError(f"{path} is not a complete netCDF file ({error})") from error


def to_json(result: xr.Dataset) -> dict[str, Any]:
    """A small result as `{"attributes": ..., "dims": ..., split: {variable: value or list}}`, for people to read.

    Numbers that JSON does not know are written as "nan", "inf" and "-inf".
    """
    written: dict[str, Any] = {
        "attributes": dict(result.attrs),
        "dims": {str(name): list(v.dims[1:]) for name, v in result.data_vars.items() if v.ndim > 1},
    }
    for split in map(str, result.split.values):
        variables = result.sel(split=split).data_vars
        written[split] = {str(name): _plain(variable.values) for name, variable in variables.items()}
    return written


def from_json(written: dict[str, Any]) -> xr.Dataset:
    """The result that `to_json` wrote, with a `split` dimension first; KeyError or ValueError if it is another."""
    splits = [name for name in written if name not in ("attributes", "dims")]
    variables = {
        name: (
            ("split", *written["dims"].get(name, [])),
            np.array([_number(written[split][name]) for split in splits]),
            UNITS.get(name, {}),
        )
        for name in written[splits[0]]
    }
    result = xr.Dataset(variables, {"split": splits}, written["attributes"])
    counted = {dim: range(1, size + 1) for dim, size in result.sizes.items() if dim == "eigenvalue"}
    return result.assign_coords(counted)


def _widened(result: xr.Dataset) -> xr.Dataset:
    """Integers and texts in the types that they were written from."""
    wide = {np.dtype("int32"): np.int64, np.dtype("O"): np.str_}
    for name, variable in result.variables.items():
        if variable.dtype in wide:
            result[name] = variable.astype(wide[variable.dtype])
    return result.assign_attrs({n: int(v) if isinstance(v, np.integer) else v for n, v in result.attrs.items()})


def _plain(values: np.ndarray) -> Any:
    if values.ndim:
        return [_plain(value) for value in values]
    value = values.item()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: Any) -> Any:
    if isinstance(value, list):
        return [_number(entry) for entry in value]
    return float(value) if isinstance(value, str) else value
