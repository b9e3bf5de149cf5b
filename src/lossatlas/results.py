"""What results are made of: names and units of variables, and how they are kept on disk (netCDF)."""

from __future__ import annotations

from pathlib import Path

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
    "off_plane": {"long_name": "distance from the plane / distance from the final point", "units": "1"},
    "explained_variance": {"long_name": "share of the trajectory's variance", "units": "1"},
    "eigenvalues": {"long_name": "largest eigenvalues of the Hessian", "units": "criterion / parameter²"},
    "residuals": {"long_name": "‖Hv − λv‖", "units": "criterion / parameter²"},
    "smallest": {"long_name": "smallest eigenvalue of the Hessian", "units": "criterion / parameter²"},
    "smallest_residual": {"long_name": "‖Hv − λv‖", "units": "criterion / parameter²"},
    "trace": {"long_name": "trace of the Hessian", "units": "criterion / parameter²"},
    "trace_error": {"long_name": "standard error of the trace", "units": "criterion / parameter²"},
    "increase": {"long_name": "L(θ + δ) − L(θ)", "units": "criterion"},
    "barrier": {"long_name": "maximum on the path minus the larger end loss", "units": "criterion"},
    "excess": {"long_name": "maximum above the line between the end losses", "units": "criterion"},
}


def save(result: xr.Dataset, path: Path) -> None:
    """Write a result as netCDF-4; the same result gives the same bytes."""
    result.to_netcdf(path, engine="h5netcdf")


def load(path: Path) -> xr.Dataset:
    """Read a result wholly into memory and close the file.

    Raises ValueError, naming the file, when it is no complete netCDF file.
    """
    try:
        with xr.open_dataset(path, engine="h5netcdf") as opened:
            return opened.load()
    except FileNotFoundError:
        raise
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a readable netCDF file ({error}): delete it and run again") from error
