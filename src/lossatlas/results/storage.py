"""Results on disk: netCDF, and JSON for small ones that people read."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lossatlas.errors import InputError
from lossatlas.files import damaged, read_json, write_bytes, write_json


def to_netcdf(result: xr.Dataset) -> bytes:
    """A `result` as a netCDF file in memory; the same result gives the same bytes.

    In the classic format with 64-bit offsets, which every netCDF library reads: a twentieth of the time of netCDF-4 for
    files as small as these. Integers have 32 bits there, and what is larger raises ValueError.
    """
    return bytes(result.to_netcdf(engine="scipy", format="NETCDF3_64BIT"))


def save(result: xr.Dataset, path: str | Path) -> None:
    """Write a `result` as netCDF to the file `path`; folders that are not there are made.

    Raises:
        ValueError: it holds an integer of more than 32 bits.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(to_netcdf(result))


def load(path: str | Path) -> xr.Dataset:
    """Read the result in the file `path` wholly into memory, and close the file.

    Args:
        path: a netCDF file, or the JSON that a report keeps of a small result.

    Raises ValueError, naming the file, when it is no complete one.
    """
    if Path(path).suffix == ".json":
        try:
            return from_json(json.loads(Path(path).read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a complete result ({error})") from error
    try:
        with xr.open_dataset(path, engine="scipy", mmap=False) as opened:
            return _widened(opened.load())
    except FileNotFoundError:
        raise
    except (OSError, KeyError, ValueError, TypeError, IndexError, EOFError) as error:
        raise ValueError(f"{path} is not a complete netCDF file ({error})") from error


def to_json(result: xr.Dataset) -> dict[str, Any]:
    """A small `result` as `{"attributes": ..., "variables": ..., "coordinates": ..., "dims": ..., split: {variable:
    value or list}}`, for people to read; "variables" has meaning and unit of each.

    Of the coordinates those of dimensions are written. Numbers that JSON does not know are "nan", "inf" and "-inf".
    """
    places = {str(dim): result[dim] for dim in result.dims if dim != "split" and dim in result.coords}
    described = {**places, **result.data_vars}
    written: dict[str, Any] = {
        "attributes": dict(result.attrs),
        "variables": {str(name): dict(v.attrs) for name, v in described.items() if v.attrs},
        "coordinates": {name: _plain(place.values) for name, place in places.items()},
        "dims": {str(name): list(v.dims[1:]) for name, v in result.data_vars.items() if v.ndim > 1},
    }
    for split in map(str, result.split.values):
        variables = result.sel(split=split).data_vars
        written[split] = {str(name): _plain(variable.values) for name, variable in variables.items()}
    return written


def from_json(written: dict[str, Any]) -> xr.Dataset:
    """The result that `to_json` has `written`, with a `split` dimension first; KeyError or ValueError if it is
    another."""
    splits = [name for name in written if name not in ("attributes", "variables", "coordinates", "dims")]
    if not splits:
        raise ValueError("it holds no split")
    described = written.get("variables", {})
    variables = {
        name: (
            ("split", *written["dims"].get(name, [])),
            np.array([_number(written[split][name]) for split in splits]),
            described.get(name, {}),
        )
        for name in written[splits[0]]
    }
    places = {
        name: (name, np.array(_number(values)), described.get(name, {}))
        for name, values in written["coordinates"].items()
    }
    return xr.Dataset(variables, {"split": splits, **places}, written["attributes"])


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


def write_result(path: Path, result: xr.Dataset) -> None:
    """Write a `result` to the file `path`, JSON or netCDF as its name says; it is whole or not there."""
    if path.suffix == ".json":
        write_json(path, to_json(result))
    else:
        write_bytes(path, to_netcdf(result))


def read_result(path: Path) -> xr.Dataset:
    """A result from the netCDF or JSON file at `path`; InputError, one line, when it is missing or damaged."""
    try:
        return from_json(read_json(path)) if path.suffix == ".json" else load(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: run the same command again, it makes what is missing") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(damaged(path, str(error))) from error
